"""Export a model for signals other than images to ONNX, in deploy form.

The file takes preprocessed inputs in batches of the config's test batch size,
and returns the same as the model's mode 'tensor'. It is compared with the
model on a batch of the test set before it gets its name.
"""

import argparse
import contextlib
import io
from pathlib import Path

from mmrep_cli.arguments import add_checkpoint_arguments, parse_arguments


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='config of the model')
    parser.add_argument('checkpoint', help='checkpoint of the model')
    parser.add_argument('out', type=Path, help='.onnx file to write')
    parser.add_argument(
        '--tolerance',
        type=float,
        default=1e-4,
        help='largest difference between file and model, relative to the '
        'largest output (default: 1e-4)',
    )
    add_checkpoint_arguments(parser)
    return parse_arguments(parser)


if __name__ == '__main__':
    parse_args()  # --help is answered before the imports, which take seconds

import numpy as np
import torch
from mmengine.runner import Runner
from torch import Tensor, nn

from mmrep.deploy import load_model
from mmrep.engine import check_data, load_config
from mmrep.engine.cli import run
from mmrep.errors import UsageError, one_line
from mmrep.files import replaced


def export(
    model: nn.Module, inputs: dict, out: Path, tolerance: float
) -> float:
    """Export a model and compare the file with it.

    Args:
        model (nn.Module): A model in evaluation mode.
        inputs (dict): ``inputs``: a tensor, or a dict of tensors.
        out (Path): The file to write.
        tolerance (float): Largest difference, relative to the largest
            output.

    Returns:
        float: The difference.

    Raises:
        UsageError: If a package is missing, the model has an operator that
            ONNX lacks, or the difference is larger.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  PyTorch's exporter needs it
    except ImportError as e:
        raise UsageError(
            f'ONNX needs the package {e.name}: pip install -r '
            'requirements/export.txt'
        ) from e
    given = inputs['inputs']
    named = dict(inputs=given) if isinstance(given, Tensor) else given
    with torch.no_grad():
        expected = model(given).numpy()
    with replaced(out) as path:
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                torch.onnx.export(
                    model,
                    (),
                    path,
                    kwargs=dict(inputs=given),
                    input_names=list(named),
                    opset_version=18,
                    dynamo=True,
                    external_data=False,
                    verbose=False,
                )
        except torch.onnx.errors.OnnxExporterError as e:
            raise UsageError(
                f'the model cannot be exported: {one_line(e, first=True)}.'
            ) from e
        session = onnxruntime.InferenceSession(path)
        (found,) = session.run(None, {k: v.numpy() for k, v in named.items()})
        scale = np.abs(expected).max().clip(1e-12)
        difference = float(np.abs(found - expected).max() / scale)
        if not difference <= tolerance:
            raise UsageError(
                f'the file differs from the model by {difference:.1e} of the '
                f'largest output, more than {tolerance:.0e}; nothing was '
                'written.'
            )
    return difference


def main() -> None:
    args = parse_args()
    cfg = load_config(args.config, args.cfg_options)
    check_data(cfg, 'test_dataloader')
    model = load_model(
        cfg, args.checkpoint, deploy=True, trust=args.trust_checkpoint
    )
    loader = Runner.build_dataloader(cfg.test_dataloader)
    batch = model.data_preprocessor(next(iter(loader)), False)
    difference = export(model, batch, args.out, args.tolerance)
    print(
        f'{args.out} differs from the model by {difference:.1e} of its '
        'largest output'
    )


if __name__ == '__main__':
    run(main)
