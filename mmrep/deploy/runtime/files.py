"""Exported files, run by ONNX Runtime, OpenVINO or PyTorch."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any, Dict, Optional, Set

import torch
from torch import Tensor

from mmrep.deploy.whole.picture import INPUTS
from mmrep.errors import UsageError, one_line

Outputs = Dict[str, Tensor]

RUNTIMES = ('onnxruntime', 'openvino')
# What a segmentor or a detector needs.
DECISIONS = (
    {'align_corners', 'num_classes', 'out_channels', 'threshold'},
    {'score_threshold', 'iou_threshold', 'mask_threshold', 'max_per_image'},
)
SUFFIXES = ('.onnx', '.pt2', '.xml')


def is_exported(path: str) -> bool:
    """Whether a path is that of an exported file, by its suffix."""
    return Path(path).suffix in SUFFIXES


class ExportedFile:
    """A whole model in a file, ready to run.

    Args:
        path (str): A file written by ``tools/export.py``, or OpenVINO's
            ``.xml`` of it.
        runtime (str, optional): 'onnxruntime' or 'openvino'. Defaults to the
            first for ``.onnx`` and the second for ``.xml``; PyTorch runs a
            ``.pt2``.
        device (str): 'cpu', or 'cuda' if ONNX Runtime supports it. Defaults to
            'cpu'.
        trust (bool): Run code that a ``.pt2`` may contain; otherwise none is
            loaded. Defaults to False.

    Attributes:
        about (dict[str, str]): The file's metadata.

    Raises:
        UsageError: If the file cannot be run, or comes from another program.
    """

    def __init__(
        self,
        path: str,
        runtime: Optional[str] = None,
        device: str = 'cpu',
        trust: bool = False,
    ) -> None:
        self.path = path
        if not Path(path).is_file():
            raise UsageError(
                f'the model must be an existing file, got {path!r}.'
            )
        suffix = Path(path).suffix
        if runtime not in (None, *RUNTIMES):
            raise ValueError(
                f'runtime must be one of {RUNTIMES}, got {runtime!r}.'
            )
        if suffix == '.pt2' and runtime is not None:
            raise UsageError(
                f'a .pt2 needs PyTorch, not {runtime}; omit --runtime.'
            )
        if suffix == '.pt2' and not trust:
            raise UsageError(
                f'{path} may run code when PyTorch loads it; pass '
                '--trust-checkpoint if you trust its source, or use an .onnx.'
            )
        if suffix == '.xml' and runtime == 'onnxruntime':
            raise UsageError('an .xml needs OpenVINO, not onnxruntime.')
        session: Any = _OnnxRuntime
        if suffix == '.pt2':
            session = _Program
        elif suffix == '.xml' or runtime == 'openvino':
            session = _OpenVino
        try:
            self._session = session(path, device)
        except UsageError:
            raise
        except Exception as error:  # each library has its own
            raise UsageError(
                f'{path} cannot be read as an exported model: '
                f'{one_line(error, kind=True)[:200]}'
            ) from error
        self.about = self._session.about
        self.decisions = _decisions(path, self.about)

    @property
    def meta(self) -> Dict[str, Any]:
        """``classes`` and ``palette``, as far as they are known."""
        known = ('classes', 'palette')
        return {k: json.loads(self.about[k]) for k in known if k in self.about}

    @property
    def channels(self) -> int:
        """Channels of the input."""
        text = self.about['channels']
        return int(text) if text.isdigit() else len(text)

    def fed(self, image: Tensor) -> Tensor:
        """The file's input for the argument of :meth:`run`."""
        kind = self.about['input']
        bytes_ = kind.startswith('picture')
        given = image
        image = image.to(torch.uint8 if bytes_ else torch.float32)
        if bytes_ and not image.to(given.dtype).equal(given):
            raise UsageError(
                f'{self.path} takes bytes, but the config prepares pictures '
                f'with values from {given.min():g} to {given.max():g} that '
                'are not; export the model with --input float.'
            )
        if kind.endswith('-rgb'):
            image = image.flip(1)
        return image.cpu().contiguous()

    def run(self, image: Tensor, needed: Set[str] = set()) -> Outputs:
        """The outputs, by name, for inputs (N, C, H, W).

        Args:
            image (Tensor): Pictures in OpenCV's channel order, 0 to 255, or
                normalised images if the file takes these.
            needed (set[str]): Names of outputs that it must have. Defaults to
                none.

        Raises:
            UsageError: If the file does not take pictures of that size, or
                lacks an output.
        """
        image = self.fed(image)
        try:
            found = self._session.run(image)
        except Exception as error:
            raise UsageError(
                f'{self.path} does not run on an input of '
                f'{tuple(image.shape)}: {one_line(error)[:200]}'
            ) from error
        if needed - found.keys():
            raise UsageError(
                f'{self.path} must have the outputs '
                f'{", ".join(sorted(needed))}, but has '
                f'{", ".join(sorted(found))}; export it again.'
            )
        return found


def _decisions(path: str, about: Dict[str, str]) -> Dict[str, Any]:
    """The decisions in a file's metadata.

    Raises:
        UsageError: If the metadata is not of tools/export.py.
    """
    missing = {'channels', 'model', 'input', 'decisions'} - set(about)
    if missing:
        raise UsageError(
            f'{path} must be a whole model written by tools/export.py, '
            f'but has no {", ".join(sorted(missing))} in its metadata.'
        )
    values: Dict[str, Any] = {}
    for key in ('decisions', 'classes', 'palette'):
        with suppress(ValueError):
            values[key] = json.loads(about.get(key, '[]'))
    wrong = {'decisions', 'classes', 'palette'} - set(values)
    decided = values.get('decisions')
    if not isinstance(decided, dict) or not any(
        decided.keys() >= keys for keys in DECISIONS
    ):
        wrong.add('decisions')
    if about['input'] not in INPUTS:
        wrong.add('input')
    if wrong:
        found = ', '.join(
            f'{key} {about[key][:60]!r}' for key in sorted(wrong)
        )
        raise UsageError(
            f'{path} must have the metadata that tools/export.py writes, but '
            f'has {found}; export it again.'
        )
    return values['decisions']


def open_session(path: str, runtime: str, device: str = 'cpu') -> Any:
    """Open a file in ONNX Runtime or OpenVINO, whatever it contains.

    Returns:
        Any: Its ``run(image)`` returns the outputs by name.

    Raises:
        UsageError: If the runtime is not installed.
    """
    kind = _OpenVino if runtime == 'openvino' else _OnnxRuntime
    return kind(path, device)


class _OnnxRuntime:
    def __init__(self, path: str, device: str) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise UsageError(
                'running an .onnx file needs onnxruntime; pip install -r '
                'requirements/export.txt'
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        providers = ['CPUExecutionProvider']
        if device != 'cpu':
            known = onnxruntime.get_available_providers()
            if 'CUDAExecutionProvider' in known:
                providers.insert(0, 'CUDAExecutionProvider')
        self.session = onnxruntime.InferenceSession(
            path, options, providers=providers
        )
        self.names = [output.name for output in self.session.get_outputs()]
        self.about = self.session.get_modelmeta().custom_metadata_map

    def run(self, image: Tensor) -> Dict[str, Tensor]:
        values = self.session.run(None, {'image': image.numpy()})
        return {
            name: torch.from_numpy(value)
            for name, value in zip(self.names, values, strict=True)
        }


class _OpenVino:
    def __init__(self, path: str, device: str) -> None:
        try:
            import openvino
        except ImportError as error:
            raise UsageError(
                'running a model with OpenVINO needs openvino; pip install '
                '-r requirements/openvino.txt'
            ) from error
        core = openvino.Core()
        model = core.read_model(path)
        self.about = {}
        # where OpenVINO puts the metadata of an ONNX file
        if model.has_rt_info(['framework']):
            self.about = model.get_rt_info(['framework']).value
        settings = {'INFERENCE_NUM_THREADS': torch.get_num_threads()}
        # as exact as the other runtimes
        settings['INFERENCE_PRECISION_HINT'] = 'f32'
        self.compiled = core.compile_model(model, 'CPU', settings)

    def run(self, image: Tensor) -> Dict[str, Tensor]:
        values = self.compiled({'image': image.numpy()})
        return {
            output.get_any_name(): torch.from_numpy(value.copy())
            for output, value in values.items()
        }


class _Program:
    def __init__(self, path: str, device: str) -> None:
        import mmrep.deploy.whole.operators  # noqa: F401, it may have them
        import mmrep.ops  # noqa: F401

        extra = {'mmrep.json': ''}
        program = torch.export.load(path, extra_files=extra)
        self.about = json.loads(extra['mmrep.json'] or '{}')
        self.module = program.module()
        self.names = json.loads(self.about.get('outputs', '[]'))

    def run(self, image: Tensor) -> Dict[str, Tensor]:
        with torch.no_grad():
            return dict(zip(self.names, self.module(image), strict=True))
