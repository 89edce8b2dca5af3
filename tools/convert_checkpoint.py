"""Convert a released checkpoint for a config's model.

Takes the authors' backbone files, MMPretrain's classifiers, and segmentors
and detectors of MMSegmentation and MMDetection (0.x and 2.x too), in training
or deploy form. Every key must be explained, or nothing is written. OUT holds
tensors and plain metadata: the data set's classes, and the SHA-256 of SRC.
"""

import argparse

from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope

from mmrep.analysis import build_on_meta
from mmrep.checkpoint import convert
from mmrep.engine import load_config
from mmrep.engine.cli import OptionsAction, run


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('src', metavar='SRC', help='checkpoint to convert')
    parser.add_argument('out', metavar='OUT', help='file to write')
    parser.add_argument(
        '--config', required=True, help='config whose model it is for'
    )
    parser.add_argument(
        '--ema',
        action='store_true',
        help='take the averaged weights (model_ema) where SRC holds both; '
        'files of MMCV and MMEngine need it not',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OptionsAction,
        default={},
        metavar='KEY=VALUE',
        help='override settings of the config, e.g. model.backbone.arch=31L',
    )
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='load a checkpoint that may run code; only if you trust its '
        'source',
    )
    try:
        return parser.parse_args()
    except ValueError as error:  # from OptionsAction
        parser.error(f'--cfg-options takes KEY=VALUE ({error})')


def dataset_meta_of_config(cfg: Config) -> dict:
    """Classes and palette of the config's test set, {} if it names none."""
    dataset = (cfg.get('test_dataloader') or {}).get('dataset') or {}
    meta = dict(dataset.get('metainfo') or {})
    if not meta and 'type' in dataset:
        scope = cfg.get('default_scope') or 'mmengine'
        with DefaultScope.overwrite_default_scope(scope):
            with DATASETS.switch_scope_and_registry(None) as registry:
                kind = registry.get(dataset['type'])
        meta = getattr(kind, 'METAINFO', {})
    plain = {}
    if 'classes' in meta:
        plain['classes'] = tuple(meta['classes'])
    if 'palette' in meta:
        plain['palette'] = [[int(c) for c in p] for p in meta['palette']]
    return plain


def main() -> None:
    args = parse_args()
    cfg = load_config(args.config, args.cfg_options)
    model = build_on_meta(cfg)
    conversion = convert(args.src, model, args.ema, args.trust_checkpoint)
    if conversion.dataset_meta is None and conversion.match.has_heads:
        conversion.dataset_meta = dataset_meta_of_config(cfg)
    print(conversion.match.report())
    conversion.write(args.out)
    print(f'sha256 of {args.src}: {conversion.sha256}')
    print(f'written: {args.out}')
    if conversion.match.deploy:
        print('use it with --cfg-options model.backbone.deploy=True')


if __name__ == '__main__':
    run(main)
