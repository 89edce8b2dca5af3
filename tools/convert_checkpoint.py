"""Convert a released checkpoint for a config's model.

It reads the authors' backbone files, MMPretrain's classifiers, and segmentors
and detectors of MMSegmentation and MMDetection (including 0.x and 2.x), in
training or deploy form. Nothing is written unless every key is explained. OUT
holds tensors and plain metadata: the data set's classes and the SHA-256 of
SRC.
"""

import argparse

from mmrep_cli.arguments import add_checkpoint_arguments, parse_arguments


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('src', metavar='SRC', help='checkpoint to convert')
    parser.add_argument('out', metavar='OUT', help='file to write')
    parser.add_argument(
        '--config', required=True, help='config of the model it is for'
    )
    parser.add_argument(
        '--ema',
        action='store_true',
        help='use the averaged weights (model_ema) if SRC holds both; not '
        'needed for files of MMCV and MMEngine',
    )
    add_checkpoint_arguments(parser)
    return parse_arguments(parser)


if __name__ == '__main__':
    parse_args()  # --help is answered before the imports, which take seconds

from mmrep.checkpoint import convert
from mmrep.data.datasets import dataset_meta
from mmrep.deploy import build_model
from mmrep.engine import load_config
from mmrep.engine.cli import run


def main() -> None:
    args = parse_args()
    cfg = load_config(args.config, args.cfg_options)
    model = build_model(cfg, meta=True)
    conversion = convert(args.src, model, args.ema, args.trust_checkpoint)
    if not conversion.dataset_meta and conversion.match.has_heads:
        conversion.dataset_meta = dataset_meta(cfg, {})
    print(conversion.match.report())
    conversion.write(args.out)
    print(f'sha256 of {args.src}: {conversion.sha256}')
    print(f'written: {args.out}')
    if conversion.match.deploy:
        print('use it with --cfg-options model.backbone.deploy=True')


if __name__ == '__main__':
    run(main)
