"""Export a model's deploy form as ONNX (OUT.onnx) or torch.export (OUT.pt2).

A segmentor or detector is exported as a whole: from a picture to labels or
boxes and masks; docs/deployment.md says how to use the file. Before the file
gets its name, it runs on noise of three sizes and on a picture of the test
set, and its results are compared with the model's predictions.
"""

import argparse
import sys
from pathlib import Path
from typing import Dict, Optional

from mmrep_cli.arguments import add_checkpoint_arguments, parse_arguments


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='config of either form')
    parser.add_argument('checkpoint', help='checkpoint for that config')
    parser.add_argument(
        'out', help='file to write; its name must end in .onnx or .pt2'
    )
    parser.add_argument(
        '--part',
        choices=['model', 'backbone', 'neck', 'head'],
        default='model',
        help='what to export: the whole model (the default), or the maps of '
        "the backbone, the neck, or a one-stage detector's head from "
        'normalised images',
    )
    parser.add_argument(
        '--input',
        choices=[
            'picture',
            'picture-rgb',
            'float',
            'float-rgb',
            'normalised',
        ],
        help="what a whole model takes: bytes in OpenCV's channel order (the "
        'default), floats from 0 to 255, either of these in RGB order, or '
        'normalised images',
    )
    parser.add_argument(
        '--masks',
        choices=['pasted', 'raw'],
        help="masks of the picture's size (the default), or probabilities "
        'within the boxes, which are fast to copy',
    )
    parser.add_argument(
        '--image',
        help='picture to compare with (default: the first of the test set, '
        'if there is one)',
    )
    parser.add_argument(
        '--shape',
        type=int,
        nargs=2,
        default=(256, 256),
        metavar=('H', 'W'),
        help='size of the first image of the check (default: 256 256)',
    )
    parser.add_argument(
        '--static',
        action='store_true',
        help='fix the batch size to 1 and the size to --shape instead of '
        'leaving them free',
    )
    parser.add_argument(
        '--opset',
        type=int,
        help="version of ONNX's operators (default: 18)",
    )
    parser.add_argument(
        '--operator',
        choices=['lowered', 'node'],
        help='in a .pt2, whether large kernels are plain convolutions (the '
        "default) or nodes of mmrep's operator, which is faster and needs "
        'mmrep.ops',
    )
    parser.add_argument(
        '--tolerance',
        type=float,
        default=1e-4,
        help='largest difference allowed in an output, divided by its '
        'largest value, and in the scores of a detector, whose boxes may '
        'differ by 100 times as many pixels (default: 1e-4)',
    )
    add_checkpoint_arguments(parser)
    return parse_arguments(parser)


if __name__ == '__main__':
    parse_args()  # --help is answered before the imports, which take seconds

from mmengine.config import Config
from torch import Tensor

from mmrep.deploy import load_model
from mmrep.deploy.export import OPSET, export_onnx, export_program
from mmrep.deploy.exportable import exportable
from mmrep.deploy.inputs import first_test_image, prepared_picture
from mmrep.deploy.runtime import is_exported
from mmrep.deploy.whole import WholeModel, whole_model
from mmrep.deploy.whole.metadata import describe_input, describe_whole
from mmrep.engine import load_config
from mmrep.engine.cli import run
from mmrep.errors import UsageError


def main() -> None:
    args = parse_args()
    suffix = Path(args.out).suffix
    if suffix not in ('.onnx', '.pt2'):
        raise UsageError(f'OUT must end in .onnx or .pt2, got {args.out!r}.')
    if suffix == '.onnx' and args.operator == 'node':
        raise UsageError(
            '--operator node needs a .pt2; ONNX has only standard operators.'
        )
    if suffix == '.pt2' and args.opset is not None:
        raise UsageError('--opset needs an .onnx.')
    if min(args.shape) < 64:
        raise UsageError(
            f'the sides of --shape must be at least 64, got {args.shape}.'
        )
    if not 0 < args.tolerance < 1:
        raise UsageError(
            f'--tolerance must be between 0 and 1, got {args.tolerance}.'
        )
    if args.part != 'model':
        for option in ('input', 'masks', 'image'):
            if getattr(args, option) is not None:
                raise UsageError(
                    f'--{option} applies only to whole models, without --part.'
                )
    if is_exported(args.checkpoint):
        raise UsageError(
            'CHECKPOINT must be a checkpoint, got the exported file '
            f'{args.checkpoint!r}.'
        )
    cfg = load_config(args.config, args.cfg_options)
    model = load_model(
        cfg, args.checkpoint, deploy=True, trust=args.trust_checkpoint
    )
    if args.part == 'model':
        module = whole_model(
            model, args.input or 'picture', args.masks or 'pasted'
        )
        if args.masks == 'raw' and 'masks' not in module.names:
            raise UsageError(
                '--masks raw needs a model with masks, got a '
                f'{type(model).__name__} without.'
            )
        metadata = describe_whole(cfg, model.dataset_meta, module)
        pictures = _pictures(cfg, module, args.image)
    else:
        module = exportable(model, args.part)
        metadata = describe_input(cfg, model.dataset_meta)
        pictures = {}
    settings = dict(
        size=tuple(args.shape),
        dynamic=not args.static,
        metadata=metadata,
        tolerance=args.tolerance,
        pictures=pictures,
    )
    if suffix == '.onnx':
        opset = args.opset or OPSET
        done = export_onnx(module, args.out, opset=opset, **settings)
        about = f'opset {opset}, standard operators only'
    else:
        operator = args.operator or 'lowered'
        done = export_program(module, args.out, operator=operator, **settings)
        kept = done.operators.get('mmrep.depthwise_conv2d.default', 0)
        about = f'{kept} nodes of the operator' if kept else 'plain operators'
    for name, differences in done.differences.items():
        if not differences:
            print(f'{name}: no detection to compare')
            continue
        found = ', '.join(
            f'{d.name} {d.max_abs:.2e}'
            if args.part == 'model'
            else f'{d.name} {d.max_abs:.2e}, relative {d.relative:.2e}'
            for d in differences[: 3 if args.part == 'model' else 1]
        )
        print(f'{name}: differs from PyTorch by at most {found}')
    if args.part == 'model' and not pictures:
        print(
            'no picture was compared, because that of the test set is not '
            'there; --image names one'
        )
    elif pictures.keys() - done.differences.keys():
        print(
            'no picture was compared, because the file takes only images of '
            '--shape, and the test pipeline makes '
            f'{" x ".join(map(str, next(iter(pictures.values())).shape[2:]))}'
        )
    if not any(done.differences.values()):
        print(
            'warning: no box was compared, because the model finds nothing in '
            'these inputs; pass a picture with objects as --image',
            file=sys.stderr,
        )
    sizes = (
        ('free batch size, height and width') if done.dynamic else 'fixed size'
    )
    print(
        f'{module.part}, {sum(done.operators.values())} nodes, {sizes}, '
        f'{about}: {done.path}'
    )


def _pictures(
    cfg: Config, module: WholeModel, path: Optional[str]
) -> Dict[str, Tensor]:
    """The picture of the check, prepared by the test pipeline."""
    path = path or first_test_image(cfg)
    if path is None:
        return {}
    picture = prepared_picture(cfg, path)[None]
    return {Path(path).name: module.input_of(picture)}


if __name__ == '__main__':
    run(main)
