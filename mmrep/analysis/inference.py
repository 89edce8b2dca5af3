"""The forms in which a trained network runs, as functions of an image.

Each form maps normalised images to the same maps, a segmentor's logits at the
size of the image or a detector's neck, so their times can be compared.
"""

import multiprocessing
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional, Tuple

import torch
from mmengine.config import Config
from mmengine.utils import import_modules_from_strings
from torch import Tensor, nn

from mmrep.compat.noise import silence_warnings
from mmrep.deploy import build_model, load_model, to_deploy_form
from mmrep.deploy.export import export_onnx
from mmrep.deploy.exportable import exportable
from mmrep.deploy.models import model_kind
from mmrep.deploy.quantize import quantize
from mmrep.deploy.quantize.files import FloatFile, export_float
from mmrep.deploy.quantize.score import validation
from mmrep.deploy.runtime import load_exported
from mmrep.deploy.runtime.files import open_session
from mmrep.engine import check_data
from mmrep.errors import UsageError, one_line
from mmrep.models.precision import check_precision, use_half

# Forms that are exported files, and forms in PyTorch.
FILE_FORMS = ('onnx', 'openvino', 'int8')
FORMS = ('train', 'deploy', 'compile', *FILE_FORMS)


def build_form(
    cfg: Config,
    form: str,
    shape: Tuple[int, int],
    batch_size: int = 1,
    device: str = 'cpu',
    half: Optional[str] = None,
    channels_last: bool = False,
    cuda_graph: bool = False,
) -> 'Form':
    """Build a form of a config's network with random weights.

    Args:
        cfg (Config): Config of a segmentor, detector or backbone in training
            form.
        form (str): 'train', the training form in evaluation mode; 'deploy';
            'compile', the deploy form with ``torch.compile``; 'onnx' and
            'openvino', the deploy form in ONNX Runtime and OpenVINO; 'int8',
            the deploy form in eight bits in ONNX Runtime, with ranges from
            noise.
        shape (tuple[int, int]): Height and width of the images.
        batch_size (int): Images per batch. Defaults to 1.
        device (str): 'cpu' or 'cuda'. Defaults to 'cpu'.
        half (str, optional): 'bf16' or 'fp16', see
            :func:`mmrep.models.precision.use_half`. Defaults to None, fp32.
        channels_last (bool): Layout of the weights and images. Defaults to
            False.
        cuda_graph (bool): On a GPU, record the network as a CUDA graph, or
            compile it in the mode that uses one. Defaults to False.

    Raises:
        UsageError: If the form does not exist or cannot run like this.
    """
    if form not in FORMS:
        raise UsageError(f'form must be one of {FORMS}, got {form!r}.')
    if form in FILE_FORMS:
        if device != 'cpu' or half or channels_last:
            raise UsageError(
                f'the form {form} is measured only on a CPU and in its own '
                'precision.'
            )
        return _file_form(cfg, form, shape, batch_size)
    if cuda_graph and device != 'cuda':
        raise UsageError(f'a CUDA graph needs a GPU, got {device!r}.')
    model = _random_model(cfg)
    image = torch.randn(batch_size, 3, *shape, device=device)
    if form != 'train':
        to_deploy_form(model)
    if half:
        check_precision(half, device)
        use_half(model, half)
    network = exportable(model, keep_pooling=True).to(device)
    megabytes = _megabytes(network)
    if channels_last:
        network = network.to(memory_format=torch.channels_last)
        image = image.contiguous(memory_format=torch.channels_last)
    if form == 'compile':
        mode = 'reduce-overhead' if cuda_graph else 'default'
        network = torch.compile(network, mode=mode, dynamic=False)
    elif cuda_graph:
        return Form(_cuda_graph(network, image), megabytes)

    @torch.inference_mode()
    def run() -> Any:
        return network(image)

    return Form(run, megabytes)


class Form(NamedTuple):
    """A network in a form.

    Attributes:
        run: Runs it once on a batch of noise.
        megabytes: Size of its weights or its file.
        model: A segmentor or detector, or what replaces one, if the weights
            are trained.
    """

    run: Callable[[], Any]
    megabytes: float
    model: Optional[nn.Module] = None


def build_predictor(
    cfg: Config,
    checkpoint: str,
    form: str,
    shape: Tuple[int, int],
    batch_size: int = 1,
    half: Optional[str] = None,
) -> Form:
    """Build a form of a trained model on the CPU.

    Unlike in :func:`build_form`, all forms begin with pictures and end with
    labels or boxes.

    Args:
        cfg (Config): Config of a segmentor or detector in training form;
            'int8' also needs its data.
        checkpoint (str): Its weights.
        form (str): One of :data:`FORMS`. 'int8' is the exported file quantized
            by :func:`mmrep.deploy.quantize.quantize`; 'compile' compiles
            backbone and neck.
        shape (tuple[int, int]): Height and width of the pictures.
        batch_size (int): Pictures per batch. Defaults to 1.
        half (str, optional): See :func:`build_form`; for forms in PyTorch.
            Defaults to None.

    Raises:
        UsageError: If the form does not exist or cannot run like this.
    """
    if form not in FORMS:
        raise UsageError(f'form must be one of {FORMS}, got {form!r}.')
    if form in FILE_FORMS:
        if half:
            raise UsageError(f'the form {form} has its own precision.')
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder, 'model.onnx'))
            _in_child(_export_whole, cfg, checkpoint, path, form == 'int8')
            megabytes = Path(path).stat().st_size / 1e6
            runtime = 'openvino' if form == 'openvino' else None
            model = load_exported(cfg, path, runtime)
    else:
        model = load_model(cfg, checkpoint, deploy=form != 'train')
        if half:
            check_precision(half, 'cpu')
            use_half(model, half)
        megabytes = _megabytes(model)
        if form == 'compile':
            for part in (model.backbone, getattr(model, 'neck', None)):
                if part is not None:
                    part.compile()
    batch = _noise(model, shape, batch_size)

    @torch.inference_mode()
    def run() -> Any:
        return model.test_step(dict(batch))

    return Form(run, megabytes, model)


def _megabytes(model: nn.Module) -> float:
    return sum(x.nbytes for x in model.state_dict().values()) / 1e6


def _noise(model: nn.Module, shape: Tuple[int, int], count: int) -> dict:
    """A batch of pictures as from a test pipeline, of noise."""
    if model_kind(model) == 'segmentor':
        from mmseg.structures import SegDataSample as DataSample
    else:
        from mmdet.structures import DetDataSample as DataSample
    meta = dict(img_shape=shape, ori_shape=shape, scale_factor=(1.0, 1.0))
    pictures = torch.randint(0, 256, (count, 3, *shape), dtype=torch.uint8)
    return dict(
        inputs=list(pictures),
        data_samples=[DataSample(metainfo=dict(meta)) for _ in pictures],
    )


def _export_whole(
    cfg: Config, checkpoint: str, path: str, eight_bits: bool
) -> None:
    export_float(cfg, checkpoint, path)
    if eight_bits:
        check_data(cfg, 'train_dataloader', f'{validation(cfg)}_dataloader')
        quantize(cfg, path, path)


def import_custom(cfg: Config) -> None:
    """Import a config's modules in a process that did not read it."""
    if cfg.get('custom_imports'):
        import_modules_from_strings(**cfg.custom_imports)


def _random_model(cfg: Config) -> nn.Module:
    """The model with the random weights of its layers."""
    cfg.model.backbone.init_cfg = None
    return build_model(cfg)


@torch.no_grad()
def _cuda_graph(network: nn.Module, image: Tensor) -> Callable[[], Any]:
    """Record a network once, so that kernels start without Python."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # choices and caches happen here
        for _ in range(3):
            network(image)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = network(image)

    def run() -> Any:
        graph.replay()
        return out

    return run


def _file_form(
    cfg: Config, form: str, shape: Tuple[int, int], batch_size: int
) -> Form:
    """A file in its runtime; another process makes the file.

    So the peak memory is that of the runtime.
    """
    package = 'openvino' if form == 'openvino' else 'onnxruntime'
    if find_spec(package) is None:
        name = 'openvino' if form == 'openvino' else 'export'
        raise UsageError(
            f'the form {form} needs {package}; '
            f'pip install -r requirements/{name}.txt'
        )
    image = torch.randn(batch_size, 3, *shape)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, 'model.onnx'))
        _in_child(_export, cfg, path, image if form == 'int8' else None)
        megabytes = Path(path).stat().st_size / 1e6
        session = open_session(path, package)
    return Form(lambda: session.run(image), megabytes)


def _in_child(make: Callable[..., None], cfg: Config, *args: Any) -> None:
    """Make a file in another process, whose memory does not count here."""
    context = multiprocessing.get_context('spawn')
    pipe, theirs = context.Pipe(duplex=False)
    child = context.Process(
        target=_make,
        args=(theirs, make, torch.get_num_threads(), cfg, *args),
    )
    child.start()
    theirs.close()
    try:
        error = pipe.recv()
    except EOFError:
        error = 'the process that makes its file was killed.'
    child.join()
    if error:
        raise UsageError(error)


def _make(
    pipe: Any,
    make: Callable[..., None],
    threads: int,
    cfg: Config,
    *args: Any,
) -> None:
    """Make a file and send why it could not be made, or None."""
    silence_warnings()
    torch.set_num_threads(threads)
    import_custom(cfg)
    try:
        make(cfg, *args)
    except Exception as error:  # the parent tells it
        pipe.send(one_line(error, kind=not isinstance(error, UsageError)))
    else:
        pipe.send(None)


def _export(cfg: Config, path: str, image: Optional[Tensor]) -> None:
    """Export a network, in eight bits if there is an image for ranges."""
    model = to_deploy_form(_random_model(cfg))
    # untrained weights may cancel out, so only gross errors count
    export_onnx(exportable(model), path, (64, 64), tolerance=1e-2)
    if image is not None:
        with tempfile.TemporaryDirectory() as folder:
            file = FloatFile(path, folder)
            file.calibrate([image])
            shutil.copyfile(file.quantize('int8.onnx'), path)
