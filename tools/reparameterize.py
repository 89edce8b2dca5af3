"""Merge a trained segmentor or detector into its deploy form.

Parallel branches are merged into the large kernels, and batch norms are folded
into the convolutions next to them. The merged weights go to OUT, and a config
that loads them goes to the same name with the suffix .py; it inherits from no
file, so both can be moved. Before they get their names, both are read back and
compared with the training form, on random and on real input.
"""

import argparse

from mmrep_cli.arguments import add_checkpoint_arguments, parse_arguments


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='config of the training form')
    parser.add_argument('checkpoint', help='checkpoint for that config')
    parser.add_argument(
        'out', help='file for the merged weights; its name must end in .pth'
    )
    parser.add_argument(
        '--image',
        help='picture for the real input (default: the first one of the test '
        'set)',
    )
    parser.add_argument(
        '--data-root', help="folder of the data set (default: the config's)"
    )
    parser.add_argument(
        '--shape',
        type=int,
        nargs=2,
        default=(192, 256),
        metavar=('H', 'W'),
        help='size of the random input (default: 192 256)',
    )
    parser.add_argument(
        '--tolerance',
        type=float,
        default=1e-4,
        help='largest difference allowed in an output, divided by its '
        'largest value (default: 1e-4)',
    )
    add_checkpoint_arguments(parser)
    return parse_arguments(parser)


if __name__ == '__main__':
    parse_args()  # --help is answered before the imports, which take seconds

from mmrep.data.heads import input_channels
from mmrep.deploy.inputs import (
    first_test_image,
    picture_input,
    random_input,
)
from mmrep.deploy.merge import reparameterize
from mmrep.deploy.models import build_model, model_kind
from mmrep.engine import load_config, set_data_root
from mmrep.engine.cli import run
from mmrep.errors import UsageError


def main() -> None:
    args = parse_args()
    if min(args.shape) < 32:
        raise UsageError(f'--shape must be at least 32, got {args.shape}.')
    if not args.tolerance > 0:
        raise UsageError(
            f'--tolerance must be positive, got {args.tolerance}.'
        )
    cfg = load_config(args.config, args.cfg_options)
    if args.data_root:
        set_data_root(cfg, args.data_root, ['test_dataloader'])
    model = build_model(cfg)
    model_kind(model)  # raises an error for other models
    image = args.image or first_test_image(cfg)
    if image is None:
        raise UsageError(
            "the config's test set was not found, so give a picture with "
            '--image or the folder of the data with --data-root.'
        )
    noise = random_input(args.shape, channels=input_channels(model))
    inputs = {
        f'random {args.shape[0]}x{args.shape[1]}': noise,
        f'real ({image})': picture_input(cfg, model, image),
    }
    done = reparameterize(
        cfg,
        args.checkpoint,
        args.out,
        inputs,
        args.tolerance,
        args.trust_checkpoint,
    )
    for name, differences in done.differences.items():
        worst = differences[0]
        print(
            f'{name}: {len(differences)} outputs differ by at most '
            f'{max(d.max_abs for d in differences):.2e}, relative '
            f'{worst.relative:.2e} ({worst.name})'
        )
    print(
        f'batch norms: {done.norms[0]} -> {done.norms[1]}, parameters: '
        f'{done.parameters[0] / 1e6:.2f} M -> {done.parameters[1] / 1e6:.2f} M'
    )
    print(f'weights are in {done.checkpoint}, the config in {done.config}')


if __name__ == '__main__':
    run(main)
