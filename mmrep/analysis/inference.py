"""The forms in which a trained network runs, as functions of an image.

Each form maps normalised images to the same maps: a segmentor's logits at the
size of the image, a detector's neck. So their times can be compared.
"""

import multiprocessing
import tempfile
from pathlib import Path
from typing import Any, Callable, Optional, Tuple

import torch
from mmengine.config import Config
from mmengine.utils import import_modules_from_strings
from torch import Tensor, nn

from mmrep.deploy import build_model, to_deploy_form
from mmrep.deploy.export import export_onnx
from mmrep.deploy.exportable import exportable
from mmrep.errors import UsageError
from mmrep.models.precision import check_precision, use_half

FORMS = ('train', 'deploy', 'onnx', 'compile')


def build_form(
    cfg: Config,
    form: str,
    shape: Tuple[int, int],
    batch_size: int = 1,
    device: str = 'cpu',
    half: Optional[str] = None,
    channels_last: bool = False,
    cuda_graph: bool = False,
) -> Callable[[], Any]:
    """Build a form of a config's network with random weights.

    Args:
        cfg (Config): Config of a segmentor, detector or backbone in training
            form.
        form (str): 'train', the training form in evaluation mode; 'deploy';
            'onnx', that form in ONNX Runtime; 'compile', that form by
            ``torch.compile``.
        shape (tuple[int, int]): Height and width of the images.
        batch_size (int): Images of a batch. Defaults to 1.
        device (str): 'cpu' or 'cuda'. Defaults to 'cpu'.
        half (str, optional): 'bf16' or 'fp16', as
            :func:`mmrep.models.precision.use_half` takes it. Defaults to
            None, fp32.
        channels_last (bool): Layout of the weights and images. Defaults to
            False.
        cuda_graph (bool): On a GPU, record the network as a CUDA graph, or
            compile it in the mode that does so. Defaults to False.

    Returns:
        Callable: Runs the network once.

    Raises:
        UsageError: If the form does not exist or cannot run so.
    """
    if form not in FORMS:
        raise UsageError(f'form must be one of {FORMS}, got {form!r}.')
    if form == 'onnx':
        if device != 'cpu' or half or channels_last:
            raise UsageError('the form onnx is measured on a CPU in fp32.')
        return _onnx_runtime(cfg, shape, batch_size)
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
    if channels_last:
        network = network.to(memory_format=torch.channels_last)
        image = image.contiguous(memory_format=torch.channels_last)
    if form == 'compile':
        mode = 'reduce-overhead' if cuda_graph else 'default'
        network = torch.compile(network, mode=mode, dynamic=False)
    elif cuda_graph:
        return _cuda_graph(network, image)

    @torch.inference_mode()
    def run() -> Any:
        return network(image)

    return run


def import_custom(cfg: Config) -> None:
    """Import what a config names, in a process that did not read it."""
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
    with torch.cuda.stream(stream):  # choices and caches are made here
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


def _onnx_runtime(
    cfg: Config, shape: Tuple[int, int], batch_size: int
) -> Callable[[], Any]:
    """A session of ONNX Runtime; the file is made in another process.

    So the peak of memory is that of the session.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise UsageError(
            'the form onnx needs onnxruntime; '
            'pip install -r requirements/export.txt'
        ) from error
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, 'model.onnx'))
        context = multiprocessing.get_context('spawn')
        child = context.Process(target=_export, args=(cfg, path, threads))
        child.start()
        child.join()
        if child.exitcode:
            raise UsageError('the network cannot be exported as ONNX.')
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(
            path, options, providers=['CPUExecutionProvider']
        )
    image = torch.randn(batch_size, 3, *shape).numpy()
    return lambda: session.run(None, {'image': image})


def _export(cfg: Config, path: str, threads: int) -> None:
    torch.set_num_threads(threads)
    import_custom(cfg)
    model = to_deploy_form(_random_model(cfg))
    # weights that were not trained may cancel out, so only gross errors count
    export_onnx(exportable(model), path, (64, 64), tolerance=1e-2)
