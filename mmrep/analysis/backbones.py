"""Load a config's backbone with weights, and images for it."""

import os
from pathlib import Path
from typing import Dict, Iterator, List, Optional

import numpy as np
import torch
from mmengine.config import Config
from PIL import Image
from torch import Tensor, nn

from mmrep.checkpoint import (
    check_fit,
    fit_pretrained,
    get_state_dict,
    load_checkpoint,
    safe_loaders,
)
from mmrep.deploy import build_model
from mmrep.errors import UsageError
from mmrep.models.backbones.base import StagedBackbone

_SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')
# ImageNet's, in RGB
_MEAN = (123.675, 116.28, 103.53)
_STD = (58.395, 57.12, 57.375)


def load_backbone(
    cfg: Config, checkpoint: Optional[str] = None, trust: bool = False
) -> nn.Module:
    """Build the backbone of a config, in evaluation mode.

    Args:
        cfg (Config): Config of a segmentor, detector, classifier or backbone,
            of any registry.
        checkpoint (str, optional): Checkpoint of that config or of its
            backbone; for our backbones, any released file. Defaults to None,
            the random weights of the layers.
        trust (bool): Run code that the checkpoint may contain. Defaults to
            False.

    Returns:
        nn.Module: The backbone; its parameters need no gradients.

    Raises:
        UsageError: If it cannot be built, or the checkpoint does not fit.
    """
    with safe_loaders(trust):
        model = build_model(cfg)
        backbone = getattr(model, 'backbone', model)
        if checkpoint is not None:
            state = _backbone_state(backbone, checkpoint, trust)
            backbone.load_state_dict(state, strict=False)
    return backbone.requires_grad_(False)


def _backbone_state(
    backbone: nn.Module, checkpoint: str, trust: bool
) -> Dict[str, Tensor]:
    found = get_state_dict(load_checkpoint(checkpoint, trust=trust))
    prefix = 'backbone.'
    inner = {
        key[len(prefix) :]: value
        for key, value in found.items()
        if key.startswith(prefix)
    }
    inner = inner or found
    if isinstance(backbone, StagedBackbone):
        if not backbone.state_dict().keys() <= inner.keys():
            return fit_pretrained(backbone, checkpoint).state
    check_fit(backbone, inner)
    return inner


def find_images(folder: str, count: Optional[int] = None) -> List[Path]:
    """The images of a folder and its subfolders, ordered by name.

    Args:
        folder (str): The folder.
        count (int, optional): Number of images. Defaults to None, all.

    Returns:
        list[Path]: The files, without hidden ones.

    Raises:
        UsageError: If the folder does not exist or has no images.
    """
    root = Path(folder)
    if not root.is_dir():
        raise UsageError(
            f'the images must be in an existing folder, got {folder!r}.'
        )
    found = sorted(
        path
        for path in _files(root)
        if path.suffix.lower() in _SUFFIXES
        and path.is_file()
        and not path.name.startswith('.')
    )
    if not found:
        raise UsageError(
            f'the folder {folder!r} has no images ({", ".join(_SUFFIXES)}).'
        )
    return found[:count]


def _files(root: Path) -> Iterator[Path]:
    """Files below a folder, including linked folders."""
    seen = set()
    for folder, subfolders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link to a parent folder
            subfolders.clear()
            continue
        seen.add(real)
        yield from (Path(folder, name) for name in names)


def read_images(paths: List[Path], size: int, cfg: Config) -> Iterator[Tensor]:
    """Images warped to a square and normalised.

    Args:
        paths (list[Path]): The files.
        size (int): Width and height.
        cfg (Config): Its ``model.data_preprocessor``, or
            ``data_preprocessor``, has the mean, the standard deviation and the
            channel order. If there is none, ImageNet's values and RGB are
            used.

    Yields:
        Tensor: Shape (1, 3, size, size).

    Raises:
        UsageError: If a file is not an image.
    """
    prepared = cfg.model.get('data_preprocessor')
    prepared = prepared or cfg.get('data_preprocessor') or {}
    if prepared.get('mean') is None:
        prepared = dict(mean=_MEAN, std=_STD, bgr_to_rgb=True)
    mean, std = (np.float32(prepared[key]) for key in ('mean', 'std'))
    # MMPretrain's key, and that of the others
    rgb = prepared.get('to_rgb') or prepared.get('bgr_to_rgb')
    for path in paths:
        try:
            with Image.open(path) as image:
                image = image.convert('RGB')
                image = image.resize((size, size), Image.Resampling.BICUBIC)
        except (OSError, Image.DecompressionBombError) as error:
            raise UsageError(
                f'{path} is not a readable image: {error}'
            ) from error
        pixels = np.asarray(image, np.float32)
        if not rgb:
            pixels = pixels[..., ::-1]
        pixels = np.ascontiguousarray(((pixels - mean) / std))
        yield torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous()


def noise_images(channels: int, size: int, count: int) -> Iterator[Tensor]:
    """Standard normal noise (1, C, size, size), the same in each call."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(count):
        yield torch.randn(1, channels, size, size, generator=generator)
