"""Effective receptive field: the pixels that one point of a map depends on.

It is measured and summarised as for RepLKNet (`Scaling Up Your Kernels to
31x31
<https://arxiv.org/abs/2203.06717>`_, Table 10), so the numbers can be compared
with the paper's. Source:
https://github.com/DingXiaoH/RepLKNet-pytorch/tree/b76808a/erf
"""

from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Dict, Iterable, Iterator, List, Optional, Tuple

import numpy as np
from torch import Tensor, nn

from mmrep.errors import UsageError, one_line

THRESHOLDS = (0.2, 0.3, 0.5, 0.99)


@dataclass(frozen=True)
class ERF:
    """Result of :func:`contribution_scores`.

    Args:
        scores (np.ndarray): Contribution of each pixel, (H, W), as the mean
            over the images, before any scaling.
        map_size (tuple[int, int]): Height and width of the feature map.
        images (int): Number of images in the mean.
        skipped (int): Number of images skipped because their gradient is not
            finite.
    """

    scores: np.ndarray
    map_size: Tuple[int, int]
    images: int
    skipped: int


@dataclass(frozen=True)
class Area:
    """The smallest square around the centre that holds a share of the scores.

    Args:
        threshold (float): The share.
        side (int, optional): Side of the square in pixels; None if no square
            holds this share.
        ratio (float, optional): Its area divided by the image's.
        held (float): Share that this square holds, or that the largest square
            holds if there is none.
    """

    threshold: float
    side: Optional[int]
    ratio: Optional[float]
    held: float


def contribution_scores(
    network: nn.Module,
    images: Iterable[Tensor],
    layer: Optional[str] = None,
) -> ERF:
    """Contribution of each pixel to the centre of a feature map.

    For each batch, it takes the positive part of the map's centre, summed over
    channels, and then the positive part of its gradient with respect to the
    input, summed over images and channels. The result is the mean over the
    batches.

    Args:
        network (nn.Module): A backbone in evaluation mode.
        images (Iterable[Tensor]): Batches (N, C, H, W) of the same size.
        layer (str, optional): Name of a submodule whose output is the map.
            Defaults to None, the last map that the network returns.

    Returns:
        ERF: The scores.

    Raises:
        UsageError: If the layer does not exist or does not return a map, the
            network does not accept such images, or no gradient is finite.
    """
    if network.training:
        raise ValueError(
            'contribution_scores needs a network in evaluation mode, got one '
            'in training mode; call network.eval() first.'
        )
    total: Any = 0
    used = skipped = 0
    map_size = (0, 0)
    for batch in images:
        gradient, map_size = input_gradient(network, batch, layer)
        if gradient.isfinite().all():
            total = total + gradient.double().cpu().numpy()
            used += 1
        else:
            skipped += 1
    if not used:
        raise UsageError(
            f'no gradient of the {skipped} images is finite, so there is no '
            'contribution to show; check the weights.'
        )
    return ERF(total / used, map_size, used, skipped)


def input_gradient(
    network: nn.Module, image: Tensor, layer: Optional[str] = None
) -> Tuple[Tensor, Tuple[int, int]]:
    """Positive gradient of the map's centre, (H, W), and the map's size."""
    image = image.detach().clone().requires_grad_()
    found = _feature_map(network, image, layer)
    height, width = found.shape[2:]
    centre = found[:, :, height // 2, width // 2]
    # not autograd.grad, which some activation checkpoints refuse
    centre.relu().sum().backward()
    if image.grad is None:
        raise UsageError('the feature map does not depend on the image.')
    return image.grad.relu().sum((0, 1)), (height, width)


def _feature_map(
    network: nn.Module, image: Tensor, layer: Optional[str]
) -> Tensor:
    outputs: Dict[str, Any] = {}
    try:
        with _kept(network, layer, outputs):
            out = network(image)
    except (AssertionError, IndexError, RuntimeError, ValueError) as error:
        if isinstance(error, UsageError):
            raise
        size = ' x '.join(map(str, image.shape[2:]))
        raise UsageError(
            f'{type(network).__name__} cannot take an image of {size}: '
            f'{one_line(error)}'
        ) from error
    name = 'the network' if layer is None else f'the layer {layer!r}'
    if layer is not None:
        if layer not in outputs:
            raise UsageError(
                f'{name} does not run when the network gets an image.'
            )
        out = outputs[layer]
    if isinstance(out, (list, tuple)) and out:
        out = out[-1]
    if not isinstance(out, Tensor) or out.ndim != 4:
        kind = tuple(out.shape) if isinstance(out, Tensor) else type(out)
        raise UsageError(f'{name} must give a map (N, C, H, W), got {kind}.')
    return out


@contextmanager
def _kept(
    network: nn.Module, layer: Optional[str], outputs: Dict[str, Any]
) -> Iterator[None]:
    """Store the outputs of a submodule in ``outputs``."""
    if layer is None:
        yield
        return
    modules = dict(network.named_modules())
    if layer not in modules:
        names = get_close_matches(layer, modules, 3) or [
            name for name, _ in network.named_children()
        ]
        raise UsageError(
            f'{type(network).__name__} has no layer {layer!r}; it has '
            f'{", ".join(names)}, and others.'
        )

    def keep(module: nn.Module, args: tuple, out: Any) -> None:
        outputs[layer] = out

    handle = modules[layer].register_forward_hook(keep)
    try:
        yield
    finally:
        handle.remove()


def rescale(scores: np.ndarray) -> np.ndarray:
    """log10(x + 1), divided by its maximum, as in the paper's figures.

    Raises:
        UsageError: If every score is zero.
    """
    # log1p keeps values far below 1, where x + 1 would round to 1
    scaled = np.log1p(scores.astype(np.float64)) / np.log(10)
    if not scaled.max() > 0:
        raise UsageError(
            'no pixel contributes to the centre of the map: all features '
            'there are negative or do not depend on the image. Use other '
            'images, other weights, or another layer.'
        )
    return scaled / scaled.max()


def high_contribution_areas(
    scores: np.ndarray, thresholds: Iterable[float] = THRESHOLDS
) -> List[Area]:
    """High-contribution areas of scores; small ones mean a narrow field.

    Squares have odd sides from 3 on and are centred on pixel (H // 2, W // 2).
    In a map of even size the largest square misses a row and a column, so a
    field as wide as a small map may have no square for a high threshold.

    Args:
        scores (np.ndarray): Contributions (H, W), scaled (:func:`rescale`).
        thresholds (Iterable[float]): Shares of the sum of the scores.
            Defaults to 0.2, 0.3, 0.5 and 0.99, as in the paper.

    Returns:
        list[Area]: One for each threshold.

    Raises:
        UsageError: If no square fits, or no pixel contributes.
    """
    height, width = scores.shape
    if min(height, width) < 3:
        raise UsageError(
            'the smallest square has 3 x 3 pixels, and the image has only '
            f'{height} x {width}.'
        )
    if not scores.sum() > 0:
        raise UsageError('no pixel contributes, so there are no areas.')
    row, column = height // 2, width // 2
    reach = min(height - 1 - row, width - 1 - column)
    sums = np.pad(scores.astype(np.float64), ((1, 0), (1, 0)))
    sums = sums.cumsum(0).cumsum(1)
    i = np.arange(1, reach + 1)
    top, bottom, left, right = row - i, row + i + 1, column - i, column + i + 1
    held = (
        sums[bottom, right]
        - sums[top, right]
        - sums[bottom, left]
        + sums[top, left]
    ) / sums[-1, -1]
    areas = []
    for threshold in thresholds:
        enough = np.flatnonzero(held > threshold)
        if not len(enough):
            areas.append(Area(threshold, None, None, float(held[-1])))
            continue
        side = 2 * int(i[enough[0]]) + 1
        ratio = side * side / (height * width)
        areas.append(Area(threshold, side, ratio, float(held[enough[0]])))
    return areas


def notes_on(found: ERF, areas: Iterable[Area]) -> List[str]:
    """Notes for readers of the ratios: sentences without a full stop."""
    notes = []
    if found.skipped:
        notes.append(
            f'{found.skipped} images are skipped because their gradients are '
            'not finite'
        )
    if min(found.map_size) < 3:
        size = ' x '.join(map(str, found.map_size))
        notes.append(
            f'the map is {size}, so its centre is a large part of the image; '
            'use a larger image (--size) or an earlier map (--layer)'
        )
    missing = [area for area in areas if area.side is None]
    if missing:
        height, width = found.scores.shape
        side = min(height, width) - 1 + min(height, width) % 2
        shares = ', '.join(f'{area.threshold:.0%}' for area in missing)
        notes.append(
            f'the largest square around the centre, {side} x {side} of '
            f'{height} x {width}, holds {missing[0].held:.1%} of the '
            f'contribution and so none holds more than {shares}; the field is '
            'as wide as the image, so use a larger one (--size)'
        )
    return notes
