"""Draw RepLKNet's large kernels before and after merging.

There is a row for the first block of each stage: the large kernel and the
parallel small one, each with its norm folded, and the merged kernel. Pixels
are the mean magnitude over the channels, with one scale per row.
"""

import argparse

from mmrep_cli.arguments import add_checkpoint_arguments, parse_arguments


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='config with a RepLKNet')
    parser.add_argument('checkpoint', help='checkpoint for that config')
    parser.add_argument('--out', required=True, help='PNG file')
    add_checkpoint_arguments(parser)
    return parse_arguments(parser)


if __name__ == '__main__':
    parse_args()  # --help is answered before the imports, which take seconds

import copy
from typing import Dict, List

import cv2
import numpy as np
import torch

from mmrep.analysis import load_backbone
from mmrep.engine import check_png, load_config
from mmrep.engine.cli import run
from mmrep.errors import UsageError
from mmrep.files import replaced, write_image
from mmrep.models import RepLKNet
from mmrep.models.layers import ReparamLargeKernelConv
from mmrep.models.layers.conv_bn import fold_bn
from mmrep.models.layers.reparam import add_kernel

SIDE, GAP, TITLE = 217, 14, 22  # pixels of a kernel, between kernels, above


def kernels_of(layer: ReparamLargeKernelConv) -> Dict[str, np.ndarray]:
    """Magnitudes (K, K) of the large kernel, the small one, and their sum."""
    large, _ = fold_bn(layer.lkb_origin.conv, layer.lkb_origin.bn)
    parts = {'large': large}
    if layer.small_conv is not None:
        small, _ = fold_bn(layer.small_conv.conv, layer.small_conv.bn)
        parts['small'] = add_kernel(torch.zeros_like(large), small)
    merged = copy.deepcopy(layer)
    merged.switch_to_deploy()
    parts['merged'] = merged.lkb_reparam.weight
    return {
        name: kernel.abs().mean((0, 1)).numpy()
        for name, kernel in parts.items()
    }


def draw(rows: List[Dict[str, np.ndarray]]) -> np.ndarray:
    """A BGR picture (H, W, 3) of kernels, brighter where larger."""
    height, width = SIDE + TITLE + GAP, SIDE + GAP
    picture = np.full((len(rows) * height, 3 * width, 3), 255, np.uint8)
    for y, row in enumerate(rows):
        most = max(kernel.max() for kernel in row.values())
        for x, (name, kernel) in enumerate(row.items()):
            # a root makes small values visible next to large ones
            grey = (255 * np.sqrt(kernel / most)).astype(np.uint8)
            heat = cv2.applyColorMap(grey, cv2.COLORMAP_INFERNO)
            heat = cv2.resize(
                heat, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST
            )
            top, left = y * height + TITLE, x * width
            picture[top : top + SIDE, left : left + SIDE] = heat
            cv2.putText(
                picture,
                f'stage {y + 1}, {len(kernel)}x{len(kernel)}: {name}',
                (left, top - 6),
                cv2.FONT_HERSHEY_SIMPLEX,
                0.45,
                (0, 0, 0),
                1,
                cv2.LINE_AA,
            )
    return picture


def main() -> None:
    args = parse_args()
    check_png('--out', args.out)
    cfg = load_config(args.config, args.cfg_options)
    backbone = load_backbone(cfg, args.checkpoint, args.trust_checkpoint)
    if not isinstance(backbone, RepLKNet) or backbone.deploy:
        raise UsageError(
            f'{args.config} must have a RepLKNet in training form.'
        )
    rows = []
    for stage in backbone.stages:
        layers = (
            module
            for module in stage.modules()
            if isinstance(module, ReparamLargeKernelConv)
        )
        rows.append(kernels_of(next(layers)))
    with replaced(args.out) as path:
        write_image(path, draw(rows))
    print(f'kernels of {len(rows)} stages are in {args.out}')


if __name__ == '__main__':
    run(main)
