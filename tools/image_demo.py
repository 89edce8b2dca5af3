"""Predict pictures with a segmentor or detector, and draw the predictions.

A segmentor's picture has the colours of the classes over the image and a
legend of their names; a detector's has boxes with labels. Files that are not
images are named and skipped, and the exit status is then 1.
"""

import argparse
import sys

from mmrep_cli.arguments import (
    add_checkpoint_arguments,
    add_runtime_argument,
    parse_arguments,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('image', help='an image, or a folder of images')
    parser.add_argument('config', help='config file')
    parser.add_argument(
        'checkpoint', help='checkpoint file, or a whole exported model'
    )
    parser.add_argument(
        '--out-dir', required=True, help='where the pictures go, as PNG'
    )
    parser.add_argument(
        '--deploy',
        action='store_true',
        help='merge and fold the model first; the prediction stays the same',
    )
    parser.add_argument(
        '--opacity',
        type=float,
        default=0.5,
        help="weight of the classes' colours, 0 to 1 (default: 0.5)",
    )
    parser.add_argument(
        '--score-thr',
        type=float,
        default=0.3,
        help='least score of the boxes that are drawn (default: 0.3)',
    )
    parser.add_argument(
        '--truth-dir',
        metavar='DIR',
        help='draw ground truth and errors beside the prediction, from label '
        "maps of the config's data set: PNG files of the images' names",
    )
    parser.add_argument(
        '--slide',
        type=int,
        nargs='+',
        metavar=('SIZE', 'STRIDE'),
        help="segment at the image's own size by windows, in little memory; "
        'the stride is two thirds of the size if not given',
    )
    parser.add_argument(
        '--device', help='such as cpu or cuda:1; the GPU if there is one'
    )
    add_runtime_argument(parser)
    add_checkpoint_arguments(parser)
    return parse_arguments(parser)


if __name__ == '__main__':
    parse_args()  # --help is answered before the imports, which take seconds

from rich.console import Console
from rich.progress import track

from mmrep.apis import Inferencer, list_images
from mmrep.deploy.runtime import is_exported
from mmrep.engine import check_folder, load_config
from mmrep.engine.cli import check_runtime, run
from mmrep.errors import UsageError


def main() -> None:
    args = parse_args()
    check_runtime(args.checkpoint, args.runtime)
    if args.deploy and is_exported(args.checkpoint):
        raise UsageError('--deploy is for checkpoints; a file is merged.')
    for name in ('opacity', 'score_thr'):
        value = getattr(args, name)
        if not 0 <= value <= 1:
            option = name.replace('_', '-')
            raise UsageError(f'--{option} must lie in 0..1, got {value}.')
    check_folder('--out-dir', args.out_dir)
    images = list_images(args.image)
    inferencer = Inferencer(
        load_config(args.config, args.cfg_options),
        args.checkpoint,
        args.deploy,
        args.device,
        args.slide,
        args.trust_checkpoint,
        args.runtime,
    )
    results = inferencer.run(
        images,
        args.out_dir,
        args.truth_dir,
        opacity=args.opacity,
        score_thr=args.score_thr,
    )
    console = Console(stderr=True)
    failed = 0
    for _, result in track(
        results, 'Predicting', total=len(images), console=console
    ):
        if isinstance(result, UsageError):
            failed += 1
            console.print(f'skipped: {result}', markup=False, soft_wrap=True)
    print(f'{len(images) - failed} pictures are in {args.out_dir}')
    if failed:
        sys.exit(f'error: {failed} of {len(images)} files were skipped')


if __name__ == '__main__':
    run(main)
