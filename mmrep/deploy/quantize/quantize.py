"""From an exported file to one in eight bits that keeps its score."""

import json
import shutil
import statistics
import time
from dataclasses import asdict, dataclass, field
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
from mmrep.deploy.quantize.search import (
    fewest_in_float,
    names_of,
    sensitivities,
)
from mmrep.deploy.runtime import load_exported
from mmrep.errors import UsageError
from mmrep.files import replaced

# Calibration images that the sensitivity of layers is measured on.
SENSITIVITY_IMAGES = 4


@dataclass
class Quantized:
    """What :func:`quantize` wrote, and what it measured.

    Attributes:
        path: The file.
        calibrated_on: Number of training images.
        scored_on: 'val' or 'test', the set of the scores.
        float_score: Points of the float file.
        score: Points of the one in eight bits.
        drop: The largest loss of points.
        layers: Number of layers with weights.
        in_float: Names of those that stay in float.
        weight_bits: Of the others: 8, or 7.
        scorings: How often the set was run for the choice of the layers.
        sensitivity: The error of each layer alone, if that was measured.
        kernels: The ranges of the depth-wise kernels.
        bytes: Sizes of the float file and of this one.
        milliseconds: Of a picture in both, medians of turns.
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
        """For JSON."""
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
    """Write a file in eight bits if it keeps its score.

    Layers and what lies between them are quantized by ONNX Runtime (static,
    QDQ, a scale for each channel of a weight). If the score drops by more
    than ``max_drop``, those that cause the largest error stay in float, as
    many as it takes.

    Args:
        cfg (Config): Config of the model, with training set, validation set
            and evaluator.
        path (str): An ``.onnx`` of it that ``tools/export.py`` wrote.
        out (str): Path of the new file.
        images (int): Training images to calibrate on. Defaults to 64.
        max_drop (float): Most points of mIoU or AP that may be lost. Defaults
            to 0.5.
        weight_bits (int, optional): 8 or 7. Defaults to None, what
            :func:`mmrep.deploy.quantize.files.default_weight_bits` says.
        track (Callable): Shows progress. Defaults to nothing.
        note (Callable): Is told what was found on the way.

    Returns:
        Quantized: What was measured.

    Raises:
        UsageError: If something that was given is missing or wrong, or no
            layer can be quantized; nothing is written then.
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
        in_float, after, written = attempt.done[count]
        bytes_ = [Path(x).stat().st_size for x in (path, written)]
        image = calibration_input(cfg, stand_in, paths[0])
        milliseconds = _times(cfg, [path, written], image)
        with replaced(out) as partial:
            shutil.copyfile(written, partial)
        names = {layer.node: layer.name for layer in file.layers}
        return Quantized(
            out,
            len(paths),
            validation(cfg),
            before,
            after,
            drop(before, after),
            len(file.layers),
            names_of(file, in_float),
            weight_bits,
            len(attempt.done),
            {names[node]: error for node, error in errors.items()},
            kernel_ranges(file.layers),
            bytes_,
            milliseconds,
            tuple(image.shape[2:]),
        )


class _Attempt:
    """Files with more and more layers in float, and their scores."""

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
        self.done: Dict[int, Any] = {}

    def holds_with(self, count: int) -> bool:
        """Whether a file with the ``count`` first layers in float does."""
        in_float = self.order[:count]
        about = dict(
            weight_bits=self.weight_bits,
            in_float=names_of(self.file, in_float),
        )
        path = self.file.quantize(
            f'{count}.onnx',
            in_float,
            weight_bits=self.weight_bits,
            texts=dict(quantized=json.dumps(about)),
        )
        text = f'Score in eight bits, {count} layers in float'
        after = score(
            self.cfg, load_exported(self.cfg, path), text, self.track
        )
        self.done[count] = in_float, after, path
        lost = drop(self.before, after)
        self.note(
            f'{count} of {len(self.file.layers)} layers in float: '
            f'{_points(after)}, {lost:.2f} lost'
        )
        return lost <= self.max_drop


def _points(values: Dict[str, float]) -> str:
    return ', '.join(f'{name} {value:.2f}' for name, value in values.items())


def _times(
    cfg: Config, paths: Sequence[str], image: Tensor, turns: int = 7
) -> List[float]:
    """Milliseconds of an image in each file, in turn; medians."""
    files = [load_exported(cfg, path).file for path in paths]
    times: List[List[float]] = [[] for _ in files]
    for _ in range(turns):
        for file, found in zip(files, times, strict=True):
            begin = time.perf_counter()
            file.run(image)
            found.append((time.perf_counter() - begin) * 1e3)
    return [statistics.median(found[1:]) for found in times]
