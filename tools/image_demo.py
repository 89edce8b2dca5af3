"""Predict pictures or a video with a segmentor or detector, and draw them.

For a segmentor, a picture shows the colours of the classes over the image and
a legend of their names; for a detector, boxes with labels. Files that are not
images are named and skipped, and the exit status is then 1. A video becomes
one with the same rate and number of frames; Ctrl-C ends the video of a camera.
"""

import argparse
import sys
from pathlib import Path

from mmrep_cli.arguments import (
    add_checkpoint_arguments,
    add_precision_argument,
    add_runtime_argument,
    parse_arguments,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'image',
        help='an image, a folder of images, a video, or the number of a '
        'camera',
    )
    parser.add_argument('config', help='config file')
    parser.add_argument(
        'checkpoint', help='checkpoint, or a whole exported model'
    )
    parser.add_argument(
        '--out-dir',
        required=True,
        help='folder for the results: pictures as PNG, videos as MP4',
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
        help="opacity of the classes' colours, 0 to 1 (default: 0.5)",
    )
    parser.add_argument(
        '--score-thr',
        type=float,
        default=0.3,
        help='minimum score of the boxes that are drawn (default: 0.3)',
    )
    parser.add_argument(
        '--truth-dir',
        metavar='DIR',
        help='draw ground truth and errors beside the prediction; DIR holds '
        "label maps of the config's data set, as PNG files with the names of "
        'the images',
    )
    parser.add_argument(
        '--fps',
        type=float,
        metavar='RATE',
        help='make a video from a folder of frames, at this many per second; '
        'or the frame rate of a camera',
    )
    parser.add_argument(
        '--slide',
        type=int,
        nargs='+',
        metavar=('SIZE', 'STRIDE'),
        help="segment at the image's own size, window by window, in little "
        'memory (default stride: two thirds of the size)',
    )
    parser.add_argument(
        '--device',
        help='such as cpu or cuda:1 (default: the GPU if there is one)',
    )
    add_precision_argument(parser)
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
from mmrep.engine.cli import check_file_options, run
from mmrep.errors import UsageError, counted, share
from mmrep.watching import Clip, is_video, open_clip, write_video


def main() -> None:
    args = parse_args()
    check_file_options(args.checkpoint, args.runtime, args.amp)
    if args.deploy and is_exported(args.checkpoint):
        raise UsageError(
            '--deploy needs a checkpoint; an exported file is already merged.'
        )
    for name in ('opacity', 'score_thr'):
        value = getattr(args, name)
        if not 0 <= value <= 1:
            option = name.replace('_', '-')
            raise UsageError(f'--{option} must be from 0 to 1, got {value}.')
    check_folder('--out-dir', args.out_dir)
    clip = images = None
    if args.fps is not None or is_video(args.image):
        if args.truth_dir:
            raise UsageError(
                '--truth-dir works with pictures, not with videos.'
            )
        clip = open_clip(args.image, args.fps)
    else:
        images = list_images(args.image)
    inferencer = Inferencer(
        load_config(args.config, args.cfg_options),
        args.checkpoint,
        args.deploy,
        args.device,
        args.slide,
        args.trust_checkpoint,
        args.runtime,
        args.amp,
    )
    console = Console(stderr=True)
    if clip is not None:
        write_clip(inferencer, clip, args, console)
        return
    results = inferencer.run(
        images,
        args.out_dir,
        args.truth_dir,
        opacity=args.opacity,
        score_thr=args.score_thr,
    )
    failed, scores = 0, []
    for _, result in track(
        results, 'Predicting', total=len(images), console=console
    ):
        if isinstance(result, UsageError):
            failed += 1
            console.print(f'skipped: {result}', markup=False, soft_wrap=True)
        elif 'pred_instances' in result:
            scores += [0.0, *result.pred_instances.scores.tolist()]
    if scores and max(scores) < args.score_thr:
        print(
            f'no box is drawn: the best score is {max(scores):.2f}, below '
            f'--score-thr {args.score_thr}; lower it, or train longer'
        )
    print(f'{args.out_dir} has {counted(len(images) - failed, "picture")}')
    if failed:
        sys.exit(f'error: {share(failed, len(images), "file")} skipped')


def write_clip(
    inferencer: Inferencer,
    clip: Clip,
    args: argparse.Namespace,
    console: Console,
) -> None:
    """Write the video of a clip, and report on it."""
    if clip.is_camera:
        console.print('Press Ctrl-C to end the video.')
    frames = write_video(
        inferencer,
        clip,
        args.out_dir,
        args.opacity,
        args.score_thr,
        lambda frames: track(
            frames, 'Predicting', total=clip.total or None, console=console
        ),
    )
    if clip.total and frames < clip.total:
        console.print(f'{clip.source} ends after {frames} of {clip.total}.')
    path = Path(args.out_dir, clip.name)
    count = counted(frames, 'frame')
    print(f'{path} has {count} at {clip.rate:g} a second')


if __name__ == '__main__':
    run(main)
