"""ONNX Runtime's static quantization, calibrated once and built often."""

import contextlib
import logging
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict, Iterable, Iterator, List, Sequence

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor

from mmrep.deploy.export import export_onnx
from mmrep.deploy.models import load_model
from mmrep.deploy.quantize.graph import (
    LAYER_KINDS,
    MOVING_KINDS,
    Layer,
    check_float,
    layers_of,
    moving_nodes,
    with_outputs,
)
from mmrep.deploy.whole import whole_model
from mmrep.deploy.whole.metadata import describe_whole
from mmrep.errors import UsageError, one_line

INSTALL = 'pip install -r requirements/export.txt'
# Sizes of the float file that the intermediate files take, at most 5.0 as
# measured in a long search for float layers; on a full disk, ONNX Runtime
# writes incomplete files without an error.
ROOM = 6


def check_installed() -> None:
    """Raise an error if ONNX Runtime or onnx is not installed."""
    try:
        import onnx  # noqa: F401
        import onnxruntime.quantization  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f'quantizing needs onnx and onnxruntime ({one_line(error)}); '
            f'{INSTALL}'
        ) from error


def default_weight_bits() -> int:
    """Number of weight bits that this processor multiplies correctly.

    Without VNNI, ONNX Runtime adds two products of eight bits in sixteen bits,
    which saturate; with seven-bit weights they do not.
    """
    return 8 if torch.cpu._is_vnni_supported() else 7


def export_float(
    cfg: Config, checkpoint: str, path: str, trust: bool = False
) -> None:
    """Export a checkpoint in the form to be scored and quantized.

    Masks are raw, because their AP is measured in the original picture.

    Args:
        cfg (Config): Config of a segmentor or detector in training form.
        checkpoint (str): Its weights.
        path (str): The ``.onnx`` to write.
        trust (bool): Load a checkpoint that may run code. Defaults to False.
    """
    model = load_model(cfg, checkpoint, deploy=True, trust=trust)
    module = whole_model(model, masks='raw')
    about = describe_whole(cfg, model.dataset_meta, module)
    export_onnx(module, path, metadata=about)


class FloatFile:
    """A float file that can be quantized repeatedly.

    Args:
        path (str): An ``.onnx`` file written by ``tools/export.py``.
        folder (str): Folder for intermediate files.

    Attributes:
        layers (list[Layer]): Its layers with weights.
        names (dict[str, str]): What reports call them, by their nodes.

    Raises:
        UsageError: If it is already quantized, or has no layers, or the disk
            of the folder is too full.
    """

    def __init__(self, path: str, folder: str) -> None:
        import onnx
        from onnxruntime.quantization import quant_pre_process

        self.folder = Path(folder)
        needed = ROOM * Path(path).stat().st_size
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise UsageError(
                f'quantizing needs {needed / 1e6:.0f} MB for temporary files, '
                f'but {folder} has {free / 1e6:.0f} MB left; free some space, '
                'or set TMPDIR to another folder.'
            )
        given = onnx.load(path)
        check_float(given.graph, path)
        self.texts = {x.key: x.value for x in given.metadata_props}
        self.path = str(self.folder / 'prepared.onnx')
        with _no_warnings():
            # in a graph with free sizes, symbolic shapes cannot be inferred
            quant_pre_process(path, self.path, skip_symbolic_shape=True)
        self.model = onnx.load(self.path)
        self.layers: List[Layer] = layers_of(self.model.graph)
        if not self.layers:
            raise UsageError(f'{path} has no layers with constant weights.')
        self.names = {layer.node: layer.name for layer in self.layers}
        self.moving = moving_nodes(self.model.graph)
        self.ranges = str(self.folder / 'ranges.json')

    def calibrate(self, inputs: Iterable[Tensor]) -> None:
        """Measure the ranges of the maps, from smallest to largest value.

        Args:
            inputs (Iterable[Tensor]): Inputs of the file, each (1, C, H, W).
        """
        from onnxruntime.quantization import CalibrationMethod
        from onnxruntime.quantization.calibrate import (
            create_calibrator,
            save_tensors_data,
        )

        calibrator = create_calibrator(
            Path(self.path),
            [*LAYER_KINDS, *MOVING_KINDS],
            str(self.folder / 'augmented.onnx'),
            CalibrationMethod.MinMax,
        )
        feeds = ({'image': image.numpy()} for image in inputs)
        reader = SimpleNamespace(get_next=lambda: next(feeds, None))
        calibrator.collect_data(reader)
        save_tensors_data(calibrator.compute_data(), self.ranges)

    def quantize(
        self,
        name: str,
        in_float: Sequence[str] = (),
        per_channel: bool = True,
        moving: bool = True,
        weight_bits: int = 8,
        texts: Dict[str, str] = {},
    ) -> str:
        """Write a file whose layers compute in eight bits.

        Args:
            name (str): Name of the file.
            in_float (Sequence[str]): Nodes of the layers that stay in float.
                Defaults to none.
            per_channel (bool): A scale for each channel of a weight, instead
                of one for all. Defaults to True.
            moving (bool): Have eight bits between the layers too. Defaults
                to True.
            weight_bits (int): 8, or 7 as :func:`default_weight_bits` says.
                Defaults to 8.
            texts (dict[str, str]): Metadata beside the float file's.

        Returns:
            str: Its path.
        """
        import onnx
        from onnxruntime.quantization import (
            QuantFormat,
            QuantType,
            quantize_static,
        )

        path = str(self.folder / name)
        kept = set(in_float)
        nodes = [x.node for x in self.layers if x.node not in kept]
        with _no_warnings():
            quantize_static(
                self.path,
                path,
                None,
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=[*LAYER_KINDS, *MOVING_KINDS],
                per_channel=per_channel,
                reduce_range=weight_bits == 7,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_quantize=nodes + (self.moving if moving else []),
                calibration_cache_path=self.ranges,
            )
        model = onnx.load(path)
        del model.metadata_props[:]
        for key, text in {**self.texts, **texts}.items():
            entry = model.metadata_props.add()
            entry.key, entry.value = key, text
        onnx.save(model, path)
        return path


def values_of(
    path: str, names: Sequence[str], inputs: Sequence[Tensor]
) -> List[List[np.ndarray]]:
    """Values within a file, for each input those of the names."""
    import onnx

    model, names = with_outputs(onnx.load(path), names)
    session = _session(model.SerializeToString())
    return [session.run(names, {'image': x.numpy()}) for x in inputs]


def _session(model: Any) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        model, options, providers=['CPUExecutionProvider']
    )


@contextlib.contextmanager
def _no_warnings() -> Iterator[None]:
    """Keep ONNX Runtime's advice to the programmer from the screen."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
