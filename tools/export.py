"""Export a model's deploy form as ONNX (OUT.onnx) or torch.export (OUT.pt2).

A segmentor is exported whole: normalised images in, logits of their size out.
A detector is exported with its neck, or a one-stage one with its head's maps;
docs/deployment.md says how boxes are decoded. The file is run on three inputs
and compared with PyTorch before it gets its name.
"""

import argparse
from pathlib import Path

from mmrep.deploy import load_model
from mmrep.deploy.export import (
    OPSET,
    describe_input,
    export_onnx,
    export_program,
)
from mmrep.deploy.exportable import PARTS, exportable
from mmrep.engine import load_config
from mmrep.engine.cli import add_checkpoint_arguments, parse_arguments, run
from mmrep.errors import UsageError


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='config of either form')
    parser.add_argument('checkpoint', help='checkpoint of that config')
    parser.add_argument('out', help='a path that ends in .onnx or .pt2')
    parser.add_argument(
        '--part',
        choices=PARTS,
        help="what is exported; the segmentor, or a detector's neck (with "
        'the backbone) if not given',
    )
    parser.add_argument(
        '--shape',
        type=int,
        nargs=2,
        default=(256, 256),
        metavar=('H', 'W'),
        help='size of the first image of the check; 256 256 if not given',
    )
    parser.add_argument(
        '--static',
        action='store_true',
        help='fix a batch of 1 and --shape instead of leaving them free',
    )
    parser.add_argument(
        '--opset',
        type=int,
        default=OPSET,
        help=f"version of ONNX's operators; {OPSET} if not given",
    )
    parser.add_argument(
        '--operator',
        choices=['lowered', 'node'],
        help='in a .pt2, whether the large kernels are plain convolutions '
        '(the default) or nodes of the operator, which is faster and needs '
        'mmrep.ops',
    )
    parser.add_argument(
        '--tolerance',
        type=float,
        default=1e-4,
        help='largest difference of an output, divided by its largest value, '
        'with which the file is written; 1e-4 if not given',
    )
    add_checkpoint_arguments(parser)
    return parse_arguments(parser)


def main() -> None:
    args = parse_args()
    suffix = Path(args.out).suffix
    if suffix not in ('.onnx', '.pt2'):
        raise UsageError(f'OUT must end in .onnx or .pt2, got {args.out!r}.')
    if suffix == '.onnx' and args.operator == 'node':
        raise UsageError(
            '--operator node is for .pt2; ONNX has standard operators only.'
        )
    if suffix == '.pt2' and args.opset != OPSET:
        raise UsageError('--opset is for .onnx.')
    if min(args.shape) < 64:
        raise UsageError(f'--shape takes sizes from 64, got {args.shape}.')
    cfg = load_config(args.config, args.cfg_options)
    model = load_model(
        cfg, args.checkpoint, deploy=True, trust=args.trust_checkpoint
    )
    metadata = describe_input(cfg, model.dataset_meta)
    module = exportable(model, args.part)
    settings = dict(
        size=tuple(args.shape),
        dynamic=not args.static,
        metadata=metadata,
        tolerance=args.tolerance,
    )
    if suffix == '.onnx':
        done = export_onnx(module, args.out, opset=args.opset, **settings)
        about = f'opset {args.opset}, standard operators only'
    else:
        operator = args.operator or 'lowered'
        done = export_program(module, args.out, operator=operator, **settings)
        kept = done.operators.get('mmrep.depthwise_conv2d.default', 0)
        about = f'{kept} nodes of the operator' if kept else 'plain operators'
    for name, differences in done.differences.items():
        print(
            f'{name}: differs from PyTorch by at most '
            f'{max(d.max_abs for d in differences):.2e}, relative '
            f'{differences[0].relative:.2e} ({differences[0].name})'
        )
    sizes = 'batch and size free' if done.dynamic else 'fixed size'
    print(
        f'{module.part}, {sum(done.operators.values())} nodes, {sizes}, '
        f'{about}: {done.path}'
    )


if __name__ == '__main__':
    run(main)
