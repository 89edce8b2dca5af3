"""Torchvision's kernels, if torchvision is installed and loads."""

import functools
import logging
from typing import Optional

import torch

LOGGER = logging.getLogger(__name__)
# operator of mmcv -> kernel of torchvision
KERNELS = {
    'nms': 'nms',
    'roi_align_forward': 'roi_align',
    'roi_align_backward': '_roi_align_backward',
}


@functools.lru_cache(maxsize=None)
def version() -> Optional[str]:
    """Version of torchvision, or None if it is absent or does not load."""
    try:
        import torchvision
    except ImportError as error:
        LOGGER.debug('torchvision is not used: %s', error)
        return None
    except Exception as error:  # built for another torch: fails in many ways
        LOGGER.warning('torchvision does not load: %s', error)
        return None
    return torchvision.__version__


def has_kernel(operator: str, device_type: str) -> bool:
    """Whether torchvision has a kernel for an mmcv operator and a device.

    Args:
        operator (str): Name in ``mmcv._ext``.
        device_type (str): Such as 'cpu' and 'cuda'.
    """
    if operator not in KERNELS or device_type not in ('cpu', 'cuda'):
        return False
    if version() is None:
        return False
    # a CPU build of torchvision with a CUDA build of torch has only one
    return torch._C._dispatch_has_kernel_for_dispatch_key(
        f'torchvision::{KERNELS[operator]}', device_type.upper()
    )


def describe(operator: str) -> str:
    """The implementation that a substitute operator uses here."""
    device_type = 'cuda' if torch.cuda.is_available() else 'cpu'
    if has_kernel(operator, device_type):
        return f'torchvision {version()}'
    return 'torch'
