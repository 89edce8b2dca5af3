"""Export the models of configs whole, with random weights, and compare.

Each model is built in deploy form, written as ONNX to a folder for temporary
files, and its results are compared with the model's as tools/export.py does
it. The results are stored after each config; a config whose results are in
the JSON already is left out.

    tools/benchmarks/check_exports.py CONFIG [CONFIG ...] --out JSON
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any, Dict, List

from mmrep_cli.arguments import add_config_options, parse_arguments


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'configs',
        nargs='+',
        metavar='CONFIG',
        help='configs of segmentors or detectors',
    )
    parser.add_argument(
        '--out', required=True, metavar='JSON', help='file for the results'
    )
    parser.add_argument(
        '--shape',
        type=int,
        nargs=2,
        default=(128, 160),
        metavar=('H', 'W'),
        help='size of the first image of the check (default: 128 160)',
    )
    add_config_options(parser)
    return parse_arguments(parser)


if __name__ == '__main__':
    parse_args()  # --help is answered before the imports, which take seconds

import torch
from mmengine.config import Config
from torch import nn

from mmrep.deploy import build_model, to_deploy_form
from mmrep.deploy.export import export_onnx
from mmrep.deploy.whole import WholeModel, whole_model
from mmrep.engine import load_config
from mmrep.engine.cli import run
from mmrep.errors import UsageError, one_line
from mmrep.files import write_json
from mmrep.machine import facts
from mmrep.models.initialise import randomise

# Random weights give each of COCO's 80 classes and the background a softmax
# score of about 1/81, far below the usual threshold.
SCORE = 0.0125
PROPOSALS = 100
BOXES = 20


def find_something(model: nn.Module) -> None:
    """Change the limits of a two-stage detector, so that it finds boxes."""
    rules = getattr(model, 'test_cfg', None)
    if isinstance(rules, dict) and 'rcnn' in rules:
        model.rpn_head.test_cfg.max_per_img = PROPOSALS
        model.roi_head.test_cfg.score_thr = SCORE
        model.roi_head.test_cfg.max_per_img = BOXES


def count_boxes(module: WholeModel) -> List[List[int]]:
    """A list to which each comparison adds how many boxes each image has."""
    counts: List[List[int]] = []
    compare = module.compare

    def counting(name: str, expected: Dict[str, Any], *others: Any) -> Any:
        if 'found' in expected:
            counts.append([len(one.boxes) for one in expected['found']])
        return compare(name, expected, *others)

    module.compare = counting  # type: ignore[method-assign]
    return counts


def check(cfg: Config, size: tuple) -> Dict[str, Any]:
    """Export a config's model, and return what the comparison gave."""
    torch.manual_seed(0)
    model = to_deploy_form(randomise(build_model(cfg))).eval()
    find_something(model)
    module = whole_model(model)
    counts = count_boxes(module)
    with tempfile.TemporaryDirectory() as folder:
        done = export_onnx(module, f'{folder}/model.onnx', size)
    row: Dict[str, Any] = dict(nodes=sum(done.operators.values()))
    if counts:
        row['detections'] = counts
    row['differences'] = {
        name: {d.name: d.max_abs for d in differences}
        for name, differences in done.differences.items()
    }
    return row


def read(path: Path) -> Dict[str, Any]:
    """The results so far."""
    if not path.exists():
        return {**facts(), 'threads': torch.get_num_threads(), 'rows': []}
    try:
        found = json.loads(path.read_text())
        if not all(row['config'] for row in found['rows']):
            raise ValueError('a row has no config')
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UsageError(
            f'--out must be new or hold results of this tool, got {path}: '
            f'{one_line(error, kind=True)}'
        ) from error
    return found


def main() -> None:
    args = parse_args()
    results = read(Path(args.out))
    done = {row['config'] for row in results['rows']}
    for name in args.configs:
        if name in done:
            print(f'{name}: compared before')
            continue
        cfg = load_config(name, args.cfg_options)
        try:
            row = check(cfg, tuple(args.shape))
        except UsageError as error:
            raise UsageError(f'{name}: {error}') from error
        results['rows'].append({'config': name, **row})
        results['rows'].sort(key=lambda row: row['config'])
        write_json(args.out, results)
        worst: Dict[str, float] = {}
        for differences in row['differences'].values():
            for key, value in differences.items():
                worst[key] = max(value, worst.get(key, 0.0))
        found = ', '.join(f'{key} {value:.2e}' for key, value in worst.items())
        boxes = sum(sum(counts) for counts in row.get('detections', []))
        if 'detections' in row:
            found = f'{found}, {boxes} boxes' if boxes else 'no detections'
        print(f'{name}: {found}')


if __name__ == '__main__':
    run(main)
