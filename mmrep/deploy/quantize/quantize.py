"""Quantize an exported file to eight bits such that it keeps its score."""

import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Callable, Dict, List, Optional, Sequence

from mmengine.config import Config
from torch import Tensor

from mmrep.deploy.quantize.files import (
    FloatFile,
    check_installed,
    default_weight_bits,
)
from mmrep.deploy.quantize.graph import KernelRange, kernel_ranges
from mmrep.deploy.quantize.pictures import (
    calibration_input,
    calibration_paths,
)
from mmrep.deploy.quantize.score import Track, drop, score, silent, validation
from mmrep.deploy.quantize.search import fewest_in_float, sensitivities
from mmrep.deploy.runtime import load_exported
from mmrep.errors import UsageError
from mmrep.files import replaced
from mmrep.ops.timing import time_in_turn

# Number of calibration images for the sensitivity of layers.
SENSITIVITY_IMAGES = 4


@dataclass
class Quantized:
    """Result of :func:`quantize`, with its measurements.

    Attributes:
        path: The file.
        calibrated_on: Number of training images.
        scored_on: The set of the scores, 'val' or 'test'.
        float_score: Points of the float file.
        score: Points of the eight-bit file.
        drop: The largest loss of points.
        layers: Number of layers with weights.
        in_float: Names of the layers that stay in float.
        weight_bits: Weight bits of the others, 8 or 7.
        scorings: How often the set was run to choose the layers.
        sensitivity: The error of each layer alone, if it was measured.
        kernels: The ranges of the depth-wise kernels.
        bytes: Sizes of the float file and of this one.
        milliseconds: Time per picture in both, medians over turns.
        shape: Height and width of that picture.
    """

    path: str
    calibrated_on: int
    scored_on: str
    float_score: Dict[str, float]
    score: Dict[str, float]
    drop: float
    layers: int
    in_float: List[str]
    weight_bits: int
    scorings: int
    sensitivity: Dict[str, float]
    kernels: List[KernelRange]
    bytes: Sequence[int]
    milliseconds: Sequence[float]
    shape: Sequence[int] = field(default_factory=tuple)

    def as_dict(self) -> Dict[str, Any]:
        """The values as a dict, for JSON."""
        values = asdict(self)
        values['kernels'] = [kernel._asdict() for kernel in self.kernels]
        return values


def quantize(
    cfg: Config,
    path: str,
    out: str,
    images: int = 64,
    max_drop: float = 0.5,
    weight_bits: Optional[int] = None,
    track: Track = silent,
    note: Callable[[str], None] = lambda text: None,
) -> Quantized:
    """Write an eight-bit file if it keeps its score.

    ONNX Runtime quantizes the layers and what is between them (static, QDQ, a
    scale for each channel of a weight). If the score drops by more than
    ``max_drop``, as many of the layers with the largest errors as necessary
    stay in float.

    Args:
        cfg (Config): Config of the model, with training set, validation set
            and evaluator.
        path (str): Its ``.onnx`` file, written by ``tools/export.py``.
        out (str): Path of the new file.
        images (int): Number of training images to calibrate on. Defaults to
            64.
        max_drop (float): Largest loss allowed, in points of mIoU or AP.
            Defaults to 0.5.
        weight_bits (int, optional): 8 or 7. Defaults to None, the result of
            :func:`mmrep.deploy.quantize.files.default_weight_bits`.
        track (Callable): Shows progress. By default nothing is shown.
        note (Callable): Called with notes on the progress.

    Returns:
        Quantized: The measurements.

    Raises:
        UsageError: If an argument is wrong, a file is missing, or no layer can
            be quantized; nothing is written then.
    """
    check_installed()
    weight_bits = weight_bits or default_weight_bits()
    stand_in = load_exported(cfg, path)
    with TemporaryDirectory(prefix='mmrep.quantize.') as folder:
        file = FloatFile(path, folder)
        paths = calibration_paths(cfg, images)
        stand_in.file.run(calibration_input(cfg, stand_in, paths[0]))
        file.calibrate(
            calibration_input(cfg, stand_in, one)
            for one in track(paths, 'Calibrating', len(paths))
        )
        before = score(cfg, stand_in, 'Score in float', track)
        note(f'in float: {_points(before)}')
        attempt = _Attempt(
            cfg, file, before, max_drop, weight_bits, track, note
        )
        errors: Dict[str, float] = {}
        count = 0
        if not attempt.holds_with(count):
            inputs = [
                calibration_input(cfg, stand_in, one)
                for one in paths[:SENSITIVITY_IMAGES]
            ]
            errors = sensitivities(file, inputs, weight_bits, track)
            note(
                f'sensitivity: {len(errors)} files with one quantized layer, '
                f'{len(inputs)} images each'
            )
            attempt.order = list(errors)
            count = fewest_in_float(len(errors), attempt.holds_with)
            if count == len(errors):
                raise UsageError(
                    f'no layer of {path} can be quantized with a loss of '
                    f'{max_drop} points or less; nothing was written. Give a '
                    'larger --max-drop.'
                )
        in_float, after, written = attempt.held
        bytes_ = [Path(x).stat().st_size for x in (path, written)]
        image = calibration_input(cfg, stand_in, paths[0])
        milliseconds = _times(cfg, [path, written], image)
        with replaced(out) as unfinished:
            shutil.copyfile(written, unfinished)
        return Quantized(
            out,
            len(paths),
            validation(cfg),
            before,
            after,
            drop(before, after),
            len(file.layers),
            [file.names[node] for node in in_float],
            weight_bits,
            attempt.scorings,
            {file.names[node]: error for node, error in errors.items()},
            kernel_ranges(file.layers),
            bytes_,
            milliseconds,
            tuple(image.shape[2:]),
        )


class _Attempt:
    """Files with different numbers of float layers, and their scores.

    Only the last file that holds is kept, as a search wants fewer layers.
    """

    def __init__(
        self,
        cfg: Config,
        file: FloatFile,
        before: Dict[str, float],
        max_drop: float,
        weight_bits: int,
        track: Track,
        note: Callable[[str], None],
    ) -> None:
        self.cfg, self.file, self.before = cfg, file, before
        self.max_drop, self.weight_bits = max_drop, weight_bits
        self.track, self.note = track, note
        self.order: List[str] = []
        self.scorings = 0
        self.held: Any = None  # layers in float, score, path
        self.path = str(file.folder / 'quantized.onnx')

    def holds_with(self, count: int) -> bool:
        """Whether a file with the first ``count`` layers in float holds."""
        in_float = self.order[:count]
        about = dict(
            weight_bits=self.weight_bits,
            in_float=[self.file.names[node] for node in in_float],
        )
        path = self.file.quantize(
            'attempt.onnx',
            in_float,
            weight_bits=self.weight_bits,
            texts=dict(quantized=json.dumps(about)),
        )
        text = f'Score in eight bits, {count} layers in float'
        after = score(
            self.cfg, load_exported(self.cfg, path), text, self.track
        )
        self.scorings += 1
        lost = drop(self.before, after)
        holds = lost <= self.max_drop
        if holds:  # then no file with more layers in float is needed
            os.replace(path, self.path)
            self.held = in_float, after, self.path
        self.note(
            f'{count} of {len(self.file.layers)} layers in float: '
            f'{_points(after)}, {lost:.2f} lost'
        )
        return holds


def _points(values: Dict[str, float]) -> str:
    return ', '.join(f'{name} {value:.2f}' for name, value in values.items())


def _times(cfg: Config, paths: Sequence[str], image: Tensor) -> List[float]:
    """Median milliseconds of an image in each file, run in turn."""
    runs = {
        path: partial(load_exported(cfg, path).file.run, image)
        for path in paths
    }
    return list(time_in_turn(runs, 'cpu', seconds=0, least=7).values())
