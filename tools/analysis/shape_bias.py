"""Measure the shape bias of a classifier on cue-conflict images.

The images have the shape of one class and the texture of another, in the
layout of https://github.com/rgeirhos/texture-vs-shape: a folder for each class
of shapes, with files such as cat/cat7-elephant1.png, a cat with an elephant's
skin. Shape bias is shape decisions / (shape + texture decisions). An
ImageNet-1K classifier decides among 16 categories, by the mean probability of
their classes; any other classifier decides among its own classes.
"""

import argparse

from mmrep_cli.arguments import add_checkpoint_arguments, parse_arguments


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='config of a classifier')
    parser.add_argument('checkpoint', help='its checkpoint')
    parser.add_argument(
        '--images',
        required=True,
        metavar='DIR',
        help='folder of cue-conflict images',
    )
    parser.add_argument(
        '--classes',
        nargs='+',
        metavar='NAME',
        help="names of the classes in the order of the classifier's outputs, "
        'if it is not for ImageNet-1K and its checkpoint does not name them',
    )
    parser.add_argument(
        '--size',
        type=int,
        help='width and height to which the images are warped (default: that '
        "of the config's test)",
    )
    parser.add_argument(
        '--batch-size',
        type=int,
        default=32,
        help='images per batch (default: 32)',
    )
    parser.add_argument(
        '--out', metavar='FILE', help='write counts and decisions as JSON'
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
from rich.console import Console
from rich.progress import track

from mmrep.analysis.shape_bias import (
    ShapeBias,
    categories_of,
    count_decisions,
    input_size,
    list_stimuli,
    predict,
)
from mmrep.deploy import load_model
from mmrep.engine import load_config
from mmrep.engine.cli import run
from mmrep.errors import UsageError
from mmrep.files import write_json
from mmrep.models import ImageClassifier


def percent(share: float) -> str:
    return '-' if share is None else f'{share:.1%}'


def print_result(result: ShapeBias) -> None:
    print('| shape | shape decisions | texture decisions | shape bias |')
    print('| --- | --- | --- | --- |')
    for name in result.shape:
        print(
            f'| {name} | {result.shape[name]} | {result.texture[name]} | '
            f'{percent(result.of(name))} |'
        )
    by_shape, by_texture = result.hits
    print(
        f'\n{result.images} images with a conflict ({result.agreeing} without '
        f'one are skipped): {by_shape} times the shape, {by_texture} times '
        f'the texture, {result.images - by_shape - by_texture} times neither'
    )
    if result.bias is None:
        print('shape bias: undefined, because no decision follows either cue')
    else:
        print(f'shape bias: {percent(result.bias)}')


def main() -> None:
    args = parse_args()
    if args.batch_size < 1 or (args.size is not None and args.size < 1):
        raise UsageError('--size and --batch-size must be at least 1.')
    cfg = load_config(args.config, args.cfg_options)
    size = args.size or input_size(cfg)
    device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    model = load_model(
        cfg, args.checkpoint, device=device, trust=args.trust_checkpoint
    )
    if not isinstance(model, ImageClassifier):
        raise UsageError(
            'shape bias is measured on an mmrep.ImageClassifier, got '
            f'{type(model).__name__}.'
        )
    outputs, classes = model.head.fc.out_features, args.classes
    if outputs != 1000 and not classes:
        classes = model.dataset_meta.get('classes')
    categories = categories_of(outputs, classes)
    stimuli = list_stimuli(args.images, list(categories))
    decisions = list(
        track(
            predict(model, cfg, stimuli, size, categories, args.batch_size),
            'Deciding',
            total=len(stimuli),
            console=Console(stderr=True),
        )
    )
    result = count_decisions(stimuli, decisions)
    print_result(result)
    if args.out:
        report = dict(
            config=args.config,
            checkpoint=args.checkpoint,
            images=result.images,
            shape_bias=result.bias,
            shape=result.shape,
            texture=result.texture,
            decisions={
                str(stimulus.path.relative_to(args.images)): decision
                for stimulus, decision in zip(stimuli, decisions, strict=True)
            },
        )
        write_json(args.out, report)


if __name__ == '__main__':
    run(main)
