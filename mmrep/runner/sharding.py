"""Parameters, gradients and optimizer state split across processes."""

from typing import Any, Iterator, List

import torch
from mmengine._strategy import FSDPStrategy as _FSDPStrategy
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.hooks import Hook
from mmengine.optim import BaseOptimWrapper
from mmengine.runner import FlexibleRunner, set_random_seed
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils._pytree import tree_map

from mmrep.errors import UsageError
from mmrep.models.layers.norms import CPUSyncBatchNorm
from mmrep.registry import HOOKS, STRATEGIES

_STRATEGY = 'mmrep.FSDPStrategy'


def prepare_sharding(cfg: Config, mode: str) -> None:
    """Prepare a config if it names our FSDPStrategy.

    Args:
        cfg (Config): Config of the run, with ``launcher``, changed in place.
            Tests run complete models, in any number of processes.
        mode (str): 'train' or 'test'.

    Raises:
        UsageError: If something in the config does not work with it.
    """
    if (cfg.get('strategy') or {}).get('type') != _STRATEGY:
        return
    if mode == 'test':
        cfg.pop('strategy')
        cfg.pop('runner_type', None)
        return
    if cfg.get('runner_type') != 'FlexibleRunner':
        raise UsageError(
            f"strategy {_STRATEGY} needs runner_type='FlexibleRunner', got "
            f'{cfg.get("runner_type")!r}.'
        )
    if cfg.launcher == 'none':
        raise UsageError(
            f'strategy {_STRATEGY} splits the model across several processes: '
            'start them with tools/dist_train.sh or tools/slurm_train.sh.'
        )
    kinds = [str(hook.get('type')) for hook in cfg.get('custom_hooks') or ()]
    if any(kind.endswith('EMAHook') for kind in kinds):
        raise UsageError(f'EMAHook does not work with strategy {_STRATEGY}.')
    cfg.custom_hooks = [
        *(cfg.get('custom_hooks') or ()),
        dict(type='mmrep.GatherForValidationHook'),
    ]


@STRATEGIES.register_module()
class FSDPStrategy(_FSDPStrategy):
    """MMEngine's FSDPStrategy with PyTorch's ``fully_shard``, CPUs included.

    Parameters keep their names and shapes, on which layer decay and the like
    depend. Checkpoints are those of DDP: every tool reads them, and a run may
    continue with another number of processes, or with DDP.

    The blocks of the backbone are gathered one at a time, when they are
    needed; the rest, such as the heads, is one more part.

    Args:
        min_num_params (int): Smaller blocks belong to the last part. Defaults
            to 1,000,000.
        **kwargs: MMEngine's arguments for working folder and log.
    """

    def __init__(self, *, min_num_params: int = 1_000_000, **kwargs) -> None:
        super().__init__(state_dict_cfg='full', **kwargs)
        self.min_num_params = min_num_params

    def build_model(self, model: Any) -> nn.Module:
        """Build the model, with the same random weights in every process."""
        # and the same as without sharding, whatever random numbers were drawn
        # before
        set_random_seed(self.seed)
        return super().build_model(model)

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        model = model.to(get_device())
        if not torch.cuda.is_available():
            CPUSyncBatchNorm.convert(model)
        total = _num_params(model)
        blocks = [
            block
            for block in _blocks(getattr(model, 'backbone', model))
            if _num_params(block) >= self.min_num_params
        ]
        for block in blocks:
            fully_shard(block)
        fully_shard(model)
        own = sum(p.to_local().numel() for p in model.parameters())
        self.logger.info(
            f'rank {self.rank} holds {own} of {total} parameters; '
            f'{len(blocks)} blocks are gathered one at a time'
        )
        return model

    def build_optim_wrapper(self, *args, **kwargs) -> BaseOptimWrapper:
        """Build it as without sharding, because parameters look the same."""
        return super(_FSDPStrategy, self).build_optim_wrapper(*args, **kwargs)

    def model_state_dict(self) -> dict:
        """Complete parameters, gathered from all processes."""
        return _gather(self.model.state_dict())

    def optim_state_dict(self) -> dict:
        """Complete optimizer state, gathered from all processes."""
        return _gather(self.optim_wrapper.state_dict())

    def load_checkpoint(self, filename: str, **kwargs) -> dict:
        """Load a checkpoint; each process keeps its part."""
        # no GPU has to hold all of it
        return super().load_checkpoint(
            filename, **{**kwargs, 'map_location': 'cpu'}
        )

    def load_model_state_dict(self, state_dict: dict, **kwargs) -> None:
        """Load complete parameters; arguments are MMEngine's."""
        own = self.model.state_dict()
        state_dict = {
            key: _part(value, own[key]) if key in own else value
            for key, value in state_dict.items()
        }
        super(_FSDPStrategy, self).load_model_state_dict(state_dict, **kwargs)

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Load the complete state of an optimizer."""
        params: List[Tensor] = []
        for group in self.optim_wrapper.optimizer.param_groups:
            params += group['params']
        state = {
            i: {key: _part(value, params[i]) for key, value in entry.items()}
            for i, entry in state_dict['state'].items()
        }
        self.optim_wrapper.load_state_dict({**state_dict, 'state': state})


@HOOKS.register_module()
class GatherForValidationHook(Hook):
    """Keep parameters gathered while a sharded model is validated.

    Otherwise processes that need more forward passes than others, for larger
    images in sliding windows, would wait for them.
    """

    def before_val(self, runner: FlexibleRunner) -> None:
        """Keep each part gathered after its first use."""
        for module in runner.model.modules():
            if isinstance(module, FSDPModule):
                module.set_reshard_after_forward(False, recurse=False)

    def after_val(self, runner: FlexibleRunner) -> None:
        """Split the parts again."""
        for module in runner.model.modules():
            if isinstance(module, FSDPModule):
                module.reshard()
                if module is not runner.model:
                    module.set_reshard_after_forward(True, recurse=False)


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    """A backbone's repeated blocks, from lists nested to any depth."""
    for child in module.children():
        lists = any(isinstance(m, nn.ModuleList) for m in child.modules())
        if lists or isinstance(child, nn.Sequential):
            yield from _blocks(child)
        else:
            yield child


def _num_params(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _gather(state: Any) -> Any:
    """Gather complete tensors on the CPU; all processes take part."""

    def whole(value: Any) -> Any:
        if isinstance(value, DTensor):
            value = value.full_tensor()
        return value.cpu() if isinstance(value, Tensor) else value

    return tree_map(whole, state)


def _part(value: Any, like: Tensor) -> Any:
    """The part of a parameter's tensor that this process holds."""
    if (
        isinstance(value, Tensor)
        and isinstance(like, DTensor)
        and value.shape == like.shape
    ):
        return distribute_tensor(value, like.device_mesh, like.placements)
    return value
