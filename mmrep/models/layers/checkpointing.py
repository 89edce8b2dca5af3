"""Activation checkpointing that leaves batch-norm statistics alone."""

from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


class _FrozenBNStatistics:
    """Let batch norms use batch statistics without recording them.

    It is entered at each recomputation, for example when a retained graph runs
    backward twice.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __enter__(self) -> None:
        self.found = [
            (m, m.momentum, m.num_batches_tracked.clone())
            for m in self.module.modules()
            if isinstance(m, _BatchNorm) and m.track_running_stats
        ]
        for norm, _, _ in self.found:
            norm.momentum = 0.0

    def __exit__(self, *_) -> None:
        for norm, momentum, num_batches in self.found:
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(num_batches)


def checkpoint_forward(
    module: nn.Module, x: Tensor, with_cp: bool, *others: Tensor
) -> Tensor:
    """Run ``module(x)``, recomputing it in the backward pass if asked to.

    Checkpointing happens only in training and when gradients are recorded. The
    recomputation does not update running statistics, so the buffers after a
    step are the same with and without it.

    Args:
        module (nn.Module): A block that maps tensors to one tensor.
        x (Tensor): Its input.
        with_cp (bool): Whether to trade computation for memory.
        *others (Tensor): Its other inputs.

    Returns:
        Tensor: The block's output.
    """
    if not (with_cp and module.training and torch.is_grad_enabled()):
        return module(x, *others)
    if torch.compiler.is_compiling():
        # it takes no contexts, and does not record statistics again
        return checkpoint(module, x, *others, use_reentrant=False)
    return checkpoint(
        module,
        x,
        *others,
        use_reentrant=False,
        context_fn=lambda: (nullcontext(), _FrozenBNStatistics(module)),
    )
