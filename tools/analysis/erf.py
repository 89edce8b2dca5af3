"""Measure the effective receptive field of backbones.

The gradient of the centre of a feature map with respect to the image shows
which pixels it depends on. For each config, --out-dir receives the
contribution of each pixel as a matrix (.npy) and as a heat map (.png), and for
all of them erf.md and erf.json: the area of the smallest square around the
centre that holds 20, 30, 50 and 99 percent of the contribution, divided by the
area of the image. Larger values mean a wider field.
"""

import argparse
import sys
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional, Tuple

from mmrep_cli.arguments import add_checkpoint_arguments, parse_arguments

RANDOM = 'random'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'configs',
        nargs='+',
        metavar='CONFIG',
        help='configs of segmentors, detectors, classifiers or backbones',
    )
    parser.add_argument(
        '--checkpoint',
        nargs='+',
        metavar='FILE',
        help='a checkpoint for each config, in the same order, or the word '
        f'{RANDOM} (default: random weights)',
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        '--images',
        metavar='DIR',
        help='folder of images, searched recursively; each image is resized '
        'to a square',
    )
    source.add_argument(
        '--random',
        action='store_true',
        help='standard normal noise instead of images',
    )
    parser.add_argument(
        '--num-images',
        type=int,
        default=50,
        help='number of images to use, the first by name (default: 50, as in '
        'the paper)',
    )
    parser.add_argument(
        '--size',
        type=int,
        default=1024,
        help='width and height of the images (default: 1024, as in the paper)',
    )
    parser.add_argument(
        '--layer',
        nargs='+',
        help='submodule of the backbone whose output is the map, one for all '
        'configs or one for each (default: the last map of the backbone)',
    )
    parser.add_argument(
        '--out-dir',
        default='work_dirs/erf',
        help='folder for the files (default: work_dirs/erf)',
    )
    parser.add_argument(
        '--device',
        help='such as cpu or cuda:1 (default: the GPU if there is one)',
    )
    add_checkpoint_arguments(parser)
    return parse_arguments(parser)


if __name__ == '__main__':
    parse_args()  # --help is answered before the imports, which take seconds

import torch
from mmengine.config import Config
from rich.console import Console
from rich.progress import track
from torch import nn

from mmrep.analysis.backbones import (
    find_images,
    load_backbone,
    noise_images,
    read_images,
)
from mmrep.analysis.erf import (
    contribution_scores,
    high_contribution_areas,
    notes_on,
    rescale,
)
from mmrep.analysis.erf_report import draw_erf, write_report, write_scores
from mmrep.data.heads import input_channels
from mmrep.engine import load_config
from mmrep.engine.cli import run
from mmrep.errors import UsageError, one_line


def one_each(
    option: str, values: Optional[List[str]], count: int, one_for_all: bool
) -> List[Optional[str]]:
    """The values of an option, one for each config."""
    if values is None:
        return [None] * count
    if one_for_all and len(values) == 1:
        return values * count
    if len(values) != count:
        also = 'one, or ' if one_for_all else ''
        raise UsageError(
            f'{option} takes {also}one for each of {count} configs, got '
            f'{len(values)}.'
        )
    return list(values)


def names_of(configs: List[str]) -> List[str]:
    """Names for the files: those of the configs, numbered if repeated."""
    stems = [Path(config).stem for config in configs]
    names: List[str] = []
    for stem in stems:
        numbered = (f'{stem}-{i}' for i in count(1))
        taken = {*names, *stems}
        unique = stems.count(stem) == 1
        names.append(
            stem if unique else next(n for n in numbered if n not in taken)
        )
    return names


def load(
    args: argparse.Namespace, config: str, checkpoint: Optional[str]
) -> Tuple[Config, nn.Module]:
    """A config and its backbone, on the CPU."""
    cfg = load_config(config, args.cfg_options)
    torch.manual_seed(0)
    network = load_backbone(cfg, checkpoint, args.trust_checkpoint)
    channels = input_channels(network)
    if args.images and channels != 3:
        raise UsageError(
            f'{config} takes images of {channels} channels, but those of a '
            'folder have 3; use --random.'
        )
    return cfg, network


def measure(
    args: argparse.Namespace,
    name: str,
    config: str,
    checkpoint: Optional[str],
    layer: Optional[str],
    cfg: Config,
    network: nn.Module,
) -> Dict[str, Any]:
    """Measure one backbone and write its matrix and its heat map."""
    device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        network.to(device)
    except (AssertionError, RuntimeError) as error:
        raise UsageError(
            f'the device {device!r} cannot be used: '
            f'{one_line(error, first=True)}'
        ) from error
    images: Iterable[torch.Tensor]
    total = args.num_images
    if args.random:
        images = noise_images(input_channels(network), args.size, total)
    else:
        paths = find_images(args.images, total)
        total = len(paths)
        images = read_images(paths, args.size, cfg)
    console = Console(stderr=True)
    # closed before an error is shown
    with closing(track(images, name, total=total, console=console)) as shown:
        found = contribution_scores(
            network, (image.to(device) for image in shown), layer
        )
    network.cpu()  # room for the next one
    scaled = rescale(found.scores)
    areas = high_contribution_areas(scaled)
    folder = Path(args.out_dir)
    write_scores(found.scores, folder / f'{name}.npy')
    draw_erf(scaled, folder / f'{name}.png', name)
    return dict(
        name=name,
        config=config,
        checkpoint=checkpoint,
        weights='random' if checkpoint is None else Path(checkpoint).name,
        layer=layer,
        map=list(found.map_size),
        images=found.images,
        areas=areas,
        notes=notes_on(found, areas),
    )


def main() -> None:
    args = parse_args()
    if args.num_images < 1 or args.size < 3:
        raise UsageError(
            '--num-images must be at least 1 and --size at least 3, got '
            f'{args.num_images} and {args.size}.'
        )
    configs = args.configs
    checkpoints = [
        None if checkpoint == RANDOM else checkpoint
        for checkpoint in one_each(
            '--checkpoint', args.checkpoint, len(configs), False
        )
    ]
    layers = one_each('--layer', args.layer, len(configs), True)
    # read all inputs before the first network runs
    if args.images:
        find_images(args.images, 1)
    loaded = [
        load(args, *row) for row in zip(configs, checkpoints, strict=True)
    ]
    models = [
        measure(args, *row, *networks)
        for row, networks in zip(
            zip(names_of(configs), configs, checkpoints, layers, strict=True),
            loaded,
            strict=True,
        )
    ]
    source = 'standard normal noise' if args.random else args.images
    text = write_report(models, Path(args.out_dir), args.size, source)
    sys.stdout.reconfigure(errors='replace')  # a terminal without ×
    print(text)
    print(f'\nmatrices, pictures, erf.md and erf.json are in {args.out_dir}')


if __name__ == '__main__':
    run(main)
