"""Batch norms for runs that those of torch do not support."""

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class _SumOverProcesses(torch.autograd.Function):
    """The sum over the processes' tensors; the gradient is a sum, too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        total = grad.clone()
        dist.all_reduce(total)
        return total


class CPUSyncBatchNorm(_BatchNorm):
    """SyncBatchNorm for CPU tensors: statistics over all processes.

    It is not a subclass of torch's, which DDP refuses on the CPU.
    """

    def _check_input_dim(self, x: Tensor) -> None:
        if x.dim() < 2:
            raise ValueError(f'the input must be (N, C, ...), got {x.dim()}D.')

    def forward(self, x: Tensor) -> Tensor:
        """Normalise a map (N, C, ...); equal to BN on the joined batch."""
        if not (self.training and dist.is_initialized()):
            return super().forward(x)
        dtype = x.dtype
        if dtype in (torch.float16, torch.bfloat16):
            # like torch's: sums over many pixels need more digits
            x = x.float()
        dims = [0, *range(2, x.dim())]
        shape = [1, -1] + [1] * (x.dim() - 2)
        count = torch.tensor(float(x.numel() // x.shape[1]))
        dist.all_reduce(count)
        mean = _SumOverProcesses.apply(x.sum(dims)) / count
        centred = x - mean.reshape(shape)
        var = _SumOverProcesses.apply(centred.square().sum(dims)) / count
        if self.track_running_stats:
            with torch.no_grad():
                self.num_batches_tracked += 1
                momentum = self.momentum
                if momentum is None:
                    momentum = 1 / float(self.num_batches_tracked)
                unbiased = var * count / (count - 1).clamp(min=1)
                self.running_mean.lerp_(mean, momentum)
                self.running_var.lerp_(unbiased, momentum)
        out = centred * (var + self.eps).rsqrt().reshape(shape)
        if self.affine:
            out = out * self.weight.reshape(shape) + self.bias.reshape(shape)
        return out.to(dtype)

    @classmethod
    def convert(cls, module: nn.Module) -> nn.Module:
        """Turn every SyncBatchNorm of a model into this one, in place."""
        for child in module.modules():
            if isinstance(child, nn.SyncBatchNorm):
                # its tensors, hooks and places in the model stay the same
                child.__class__ = cls
        return module


class SingleImageBatchNorm(_BatchNorm):
    """BN for a total batch of one image.

    UperNet pools the map to 1x1, where one image gives one value per channel
    and no variance, so torch raises an error. This one uses its running
    statistics there and is the same as torch's BN everywhere else.
    """

    def _check_input_dim(self, x: Tensor) -> None:
        if x.dim() < 2:
            raise ValueError(f'the input must be (N, C, ...), got {x.dim()}D.')

    def forward(self, x: Tensor) -> Tensor:
        """Normalise a map (N, C, ...)."""
        if self.training and x.numel() == x.size(1):
            return F.batch_norm(
                x,
                self.running_mean,
                self.running_var,
                self.weight,
                self.bias,
                eps=self.eps,
            )
        return super().forward(x)

    @classmethod
    def convert(cls, module: nn.Module) -> nn.Module:
        """Turn every batch norm of a model into this one, in place."""
        for child in module.modules():
            if isinstance(child, _BatchNorm) and child.track_running_stats:
                # its tensors, hooks and places in the model stay the same
                child.__class__ = cls
        return module
