"""Optimizer wrappers that watch the gradients, on GPUs and CPUs."""

import logging
import math
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Optional, Union

import torch
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper as _OptimWrapper
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from mmrep.registry import OPTIM_WRAPPERS
from mmrep.runner.faults import Agreement

DTYPES = dict(
    fp16='float16',
    bf16='bfloat16',
    float16='float16',
    bfloat16='bfloat16',
)


class NonFiniteError(RuntimeError):
    """The loss or the gradients are infinite or not numbers."""


def _total_norm(grads: List[Tensor]) -> Tensor:
    """Norm of all gradients as one vector."""
    norms = torch._foreach_norm(grads)
    norm = torch.stack([n.to(norms[0]) for n in norms]).norm()
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


@OPTIM_WRAPPERS.register_module()
class OptimWrapper(_OptimWrapper):
    """MMEngine's OptimWrapper, which also logs and checks the gradient norm.

    A step is skipped if the loss or a gradient of any process is not finite.

    Args:
        max_skips (int): Number of steps in a row that may be skipped before
            :class:`NonFiniteError` is raised. Defaults to 0.
        **kwargs: Arguments of MMEngine's.
    """

    def __init__(self, *args, max_skips: int = 0, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if max_skips < 0:
            raise ValueError(
                f'max_skips must not be negative, got {max_skips}.'
            )
        self.max_skips = max_skips
        self.skips = 0
        self._finite = True
        self.agreement: Optional[Agreement] = None

    def backward(self, loss: Tensor, **kwargs) -> None:
        """Backpropagate, and note whether the loss is finite."""
        self._note_loss(loss)
        super().backward(loss, **kwargs)

    def _note_loss(self, loss: Tensor) -> None:
        self._finite = self._finite and bool(torch.isfinite(loss).all())

    def step(self, **kwargs) -> None:
        """Update the parameters if the gradients are finite.

        Raises:
            NonFiniteError: If they were not finite more than ``max_skips``
                times in a row.
        """
        if self._check_gradients():
            super().step(**kwargs)

    def _gradients(self) -> List[Tensor]:
        return [
            p.grad
            for group in self.optimizer.param_groups
            for p in group['params']
            if p.grad is not None
        ]

    def _check_gradients(self) -> bool:
        """Whether to take the step; all processes agree."""
        if self.agreement is None:
            self.agreement = Agreement()
        grads = self._gradients()
        norm = float(_total_norm(grads)) if grads else 0.0
        if not self.clip_grad_kwargs:  # otherwise MMEngine logs it
            self.message_hub.update_scalar('train/grad_norm', norm)
        what = (
            'the gradients are not finite'
            if self._finite
            else 'the loss is not finite'
        )
        finite = self._finite and math.isfinite(norm)
        self._finite = True
        (bad,) = self.agreement.highest(int(not finite))
        self.skips = self.skips + 1 if bad else 0
        if self.skips > self.max_skips:
            raise NonFiniteError(
                f'{what}, {self.skips} times in a row'
                if self.max_skips
                else what
            )
        if bad:
            print_log(
                f'{what}: step {self.skips} of at most {self.max_skips} in a '
                'row is skipped',
                logger='current',
                level=logging.WARNING,
            )
        return not bad


@OPTIM_WRAPPERS.register_module()
class AmpOptimWrapper(OptimWrapper):
    """Mixed precision in fp16 or bf16, on the GPU and the CPU.

    State dicts are those of MMEngine's AmpOptimWrapper, which runs only on
    GPUs.

    Args:
        loss_scale (float | dict | str): Scale of the loss in fp16, arguments
            of ``GradScaler``, or 'dynamic'. bf16 does not need it. Defaults to
            'dynamic'.
        dtype (str | torch.dtype, optional): 'float16' or 'bfloat16'. Defaults
            to None, which is float16 on a GPU and bfloat16 on the CPU.
        max_skips (int): Number of steps in a row that may be skipped because
            gradients are not finite. A scaler that starts at 65536 and halves
            needs up to 16. Defaults to 20.
        **kwargs: Arguments of MMEngine's OptimWrapper.
    """

    def __init__(
        self,
        *args,
        loss_scale: Union[float, Dict[str, Any], str] = 'dynamic',
        dtype: Union[str, torch.dtype, None] = None,
        max_skips: int = 20,
        **kwargs,
    ) -> None:
        super().__init__(*args, max_skips=max_skips, **kwargs)
        self.device = get_device()
        if dtype is None:
            dtype = 'bfloat16' if self.device == 'cpu' else 'float16'
        name = str(dtype).replace('torch.', '')
        if name not in DTYPES:
            raise ValueError(
                f'dtype must be one of {sorted(DTYPES)}, got {dtype}.'
            )
        self.dtype = getattr(torch, DTYPES[name])
        self._fixed_scale: Optional[float] = None
        options: Dict[str, Any] = {}
        if isinstance(loss_scale, dict):
            options = dict(loss_scale)
        elif loss_scale != 'dynamic':
            self._fixed_scale = float(loss_scale)
            options = dict(init_scale=self._fixed_scale)
        self.loss_scaler = torch.amp.GradScaler(
            self.device, enabled=self.dtype is torch.float16, **options
        )

    def backward(self, loss: Tensor, **kwargs) -> None:
        """Backpropagate the scaled loss."""
        self._note_loss(loss)
        self.loss_scaler.scale(loss).backward(**kwargs)
        self._inner_count += 1

    def step(self, **kwargs) -> None:
        """Update the scale, and the parameters if the gradients are finite.

        Raises:
            NonFiniteError: If they were not finite more than ``max_skips``
                times in a row.
        """
        self.loss_scaler.unscale_(self.optimizer)
        if self._check_gradients():
            if self.clip_grad_kwargs:
                self._clip_grad()
            self.loss_scaler.step(self.optimizer, **kwargs)
        self.loss_scaler.update(self._fixed_scale)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Compute the forward pass in mixed precision."""
        with (
            super().optim_context(model),
            torch.autocast(self.device, dtype=self.dtype),
        ):
            yield

    def state_dict(self) -> dict:
        """The optimizer's state and the scaler's."""
        state = super().state_dict()
        state['loss_scaler'] = self.loss_scaler.state_dict()
        return state

    def load_state_dict(self, state_dict: dict) -> None:
        """Load the optimizer's state, and the scaler's if there is one."""
        state_dict = dict(state_dict)
        scaler = state_dict.pop('loss_scaler', None)
        if scaler:
            self.loss_scaler.load_state_dict(scaler)
        super().load_state_dict(state_dict)
