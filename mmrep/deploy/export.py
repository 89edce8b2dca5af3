"""Write a model as ONNX or as a torch.export program, and check it."""

import io
import json
import re
import warnings
from pathlib import Path
from typing import (
    Any,
    Callable,
    Dict,
    List,
    NamedTuple,
    Sequence,
    Tuple,
    Union,
)

import torch
from torch import Tensor

from mmrep.deploy.compare import Difference
from mmrep.deploy.exportable import (
    Exportable,
    keep_operator,
    named,
    symbolic_resizing,
)
from mmrep.deploy.whole import WholeModel
from mmrep.deploy.whole.operators import onnx_translations
from mmrep.errors import UsageError, listed, one_line
from mmrep.files import replaced
from mmrep.models.layers import WindowProduct

# The lowest version that torch's exporter writes.
OPSET = 18
INSTALL = 'pip install -r requirements/export.txt'
# Most bytes of weights in a file: protobuf's limit, less some for the graph.
LARGEST = 2**31 - 2**24

Module = Union[Exportable, WholeModel]


class Exported(NamedTuple):
    """An exported file.

    Attributes:
        path: The file.
        differences: Differences of the outputs, for each input of the check;
            none where a detector finds nothing.
        operators: Number of nodes of each kind.
        dynamic: Whether batch size and image size are free.
    """

    path: Path
    differences: Dict[str, List[Difference]]
    operators: Dict[str, int]
    dynamic: bool


def check_sizes(size: Tuple[int, int], dynamic: bool) -> List[Tuple]:
    """Batch, height and width of the three inputs of a check."""
    height, width = size
    if not dynamic:
        return [(1, height, width)] * 3
    return [
        (1, height, width),
        # odd, and not a multiple of the strides
        (2, height * 3 // 4 + 1, width // 2 + 17),
        (1, height + 64, width * 3 // 2),
    ]


def _inputs(
    module: Module,
    size: Tuple[int, int],
    dynamic: bool,
    pictures: Dict[str, Tensor],
) -> Dict[str, Tensor]:
    """The inputs of a check, with pictures if the file takes them."""
    inputs = {
        name: picture
        for name, picture in pictures.items()
        if dynamic or tuple(picture.shape[2:]) == tuple(size)
    }
    for i, (batch, *shape) in enumerate(check_sizes(size, dynamic)):
        name = f'{batch}x{module.channels}x{shape[0]}x{shape[1]}'
        if not dynamic:
            name += f' #{i + 1}'
        inputs[name] = module.example(tuple(shape), batch, i)
    return inputs


def _program(
    module: Module, size: Tuple[int, int], dynamic: bool
) -> torch.export.ExportedProgram:
    """The graph of a module; sizes are free if ``dynamic``."""
    _check_weights(module)
    free = torch.export.Dim.DYNAMIC
    if dynamic and isinstance(module, WholeModel):
        # a side of one would be one in every picture, and so would one window
        windows = [
            part.window_size
            for part in module.modules()
            if isinstance(part, WindowProduct)
        ]
        least = (max(windows, default=1) + 1) * module.stride
        height, width = (max(side, least) for side in size)
        size = height, width
    image = module.example(size, 2 if dynamic else 1)
    _check_repeats(module, image)
    shapes = ({0: free, 2: free, 3: free},) if dynamic else None
    try:
        with torch.no_grad(), symbolic_resizing(module):
            return torch.export.export(module, (image,), dynamic_shapes=shapes)
    except Exception as error:  # of many kinds, depending on the model
        advice = '; try --static' if dynamic else ''
        raise UsageError(
            'the model cannot be exported: '
            f'{one_line(error, kind=True, first=True)}{advice}.'
        ) from error


def _check_weights(module: Module) -> None:
    """Refuse weights of a diverged training, with which nothing is found."""
    wrong = [
        name
        for name, value in module.state_dict().items()
        if value.is_floating_point() and not value.isfinite().all()
    ]
    if wrong:
        raise UsageError(
            f'the weights must be finite, but {listed(wrong, 3)} have NaN or '
            'infinite values; use an earlier checkpoint.'
        )


def _check_repeats(module: Module, image: Tensor) -> None:
    """Refuse a model that computes with random numbers."""
    with torch.no_grad():
        first, second = module.expected(image), module.expected(image)
    for name, value in first.items():
        if isinstance(value, Tensor) and not value.equal(second[name]):
            raise UsageError(
                f'{name} of the model are different each time for the same '
                'image, so a file cannot be checked against them. In a '
                "SegNeXt's head set ham_kwargs.rand_init=False."
            )


def _check(
    module: Module,
    run: Callable[[Tensor], Any],
    names: Sequence[str],
    inputs: Dict[str, Tensor],
    tolerance: float,
) -> Dict[str, List[Difference]]:
    """Compare the outputs of a file with those of the model."""
    differences = {}
    for name, image in inputs.items():
        with torch.no_grad():
            expected = module.expected(image)
        try:
            found = named(names, run(image))
        except Exception as error:
            raise UsageError(
                f'the exported file does not run on the {name} input: '
                f'{one_line(error)[:300]}; nothing was written.'
            ) from error
        differences[name] = module.compare(name, expected, found, tolerance)
    return differences


def export_onnx(
    module: Module,
    out: str,
    size: Tuple[int, int] = (256, 256),
    dynamic: bool = True,
    opset: int = OPSET,
    metadata: Dict[str, str] = {},
    tolerance: float = 1e-4,
    pictures: Dict[str, Tensor] = {},
) -> Exported:
    """Write ONNX, and compare ONNX Runtime's outputs with PyTorch's.

    Args:
        module (Exportable | WholeModel): The module to export.
        out (str): Path of the file.
        size (tuple[int, int]): Height and width of the first image of the
            check. Defaults to (256, 256).
        dynamic (bool): Leave batch size and image size free. Defaults to
            True.
        opset (int): Version of ONNX's operators. Defaults to 18.
        metadata (dict[str, str]): Texts to store in the file.
        tolerance (float): Largest relative difference; for the scores of a
            whole detector, the largest absolute one. Defaults to 1e-4.
        pictures (dict[str, Tensor]): More inputs of the check, by name.

    Returns:
        Exported: Path, differences and nodes.

    Raises:
        UsageError: If it cannot be exported, needs operators that are not
            standard, or differs; nothing is written then.
    """
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401, torch's exporter needs it
    except ImportError as error:
        raise UsageError(
            f'ONNX export needs {error.name}; {INSTALL}'
        ) from error
    newest = onnx.defs.onnx_opset_version()
    if not OPSET <= opset <= newest:
        raise UsageError(
            f'the opset must be {OPSET} to {newest}, the newest that onnx '
            f'{onnx.__version__} supports, got {opset}.'
        )
    weights = sum(value.nbytes for value in module.state_dict().values())
    if weights > LARGEST:
        raise UsageError(
            f'the weights take {weights / 2**30:.2f} GB, and an ONNX file '
            f'holds at most {LARGEST / 2**30:.2f} GB; a .pt2 has no limit.'
        )
    names = module.output_names(module.example(size))
    program = _program(module, size, dynamic)
    with replaced(Path(out)) as path:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            graph = torch.onnx.export(
                program,
                (),
                input_names=['image'],
                output_names=names,
                opset_version=opset,
                dynamo=True,
                custom_translation_table=onnx_translations(),
                verbose=False,
            ).model_proto
        operators = _standard_operators(graph)
        _finish(graph, dynamic, metadata)
        onnx.save(graph, str(path))
        try:
            onnx.checker.check_model(str(path), full_check=True)
        except onnx.checker.ValidationError as error:
            # versions that torch's exporter cannot convert to
            raise UsageError(
                f'the graph is not valid in opset {opset} '
                f'({one_line(error, first=True)}); nothing was written. Try '
                f'--opset {OPSET}.'
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(
            str(path), options, providers=['CPUExecutionProvider']
        )

        def run(x: Tensor) -> List[Tensor]:
            found = session.run(names, {'image': x.numpy()})
            return [torch.from_numpy(value) for value in found]

        inputs = _inputs(module, size, dynamic, pictures)
        differences = _check(module, run, names, inputs, tolerance)
    return Exported(Path(out), differences, operators, dynamic)


def _standard_operators(graph: Any) -> Dict[str, int]:
    """Count the nodes; raise if one is not in ONNX's own domain."""
    count: Dict[str, int] = {}
    for node in graph.graph.node:
        name = (
            f'{node.domain}::{node.op_type}' if node.domain else (node.op_type)
        )
        count[name] = count.get(name, 0) + 1
    other = [f.name for f in graph.functions]
    other += [name for name in count if '::' in name]
    if other:
        raise UsageError(
            f'the graph needs operators that are not standard: {other}; '
            'nothing was written.'
        )
    return count


def _finish(graph: Any, dynamic: bool, metadata: Dict[str, str]) -> None:
    """Name the free sizes, and add the texts."""
    names = {}
    if dynamic:
        dims = graph.graph.input[0].type.tensor_type.shape.dim
        for place, name in ((0, 'batch'), (2, 'height'), (3, 'width')):
            names[dims[place].dim_param] = name
    for value in (
        *graph.graph.input,
        *graph.graph.output,
        *graph.graph.value_info,
    ):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = re.sub(
                    r'\w+', lambda m: names.get(m[0], m[0]), dim.dim_param
                )
    for key, text in metadata.items():
        entry = graph.metadata_props.add()
        entry.key, entry.value = key, text


def export_program(
    module: Module,
    out: str,
    size: Tuple[int, int] = (256, 256),
    dynamic: bool = True,
    operator: str = 'lowered',
    metadata: Dict[str, str] = {},
    tolerance: float = 1e-4,
    pictures: Dict[str, Tensor] = {},
) -> Exported:
    """Write a torch.export program, load it, and compare its outputs.

    Args:
        module (Exportable | WholeModel): The module to export; it is changed
            in place.
        out (str): Path of the file, ending in ``.pt2``.
        size (tuple[int, int]): Height and width of the first image of the
            check. Defaults to (256, 256).
        dynamic (bool): Leave batch size and image size free. Defaults to
            True.
        operator (str): 'lowered' turns the large kernels into plain
            convolutions, which need only PyTorch; 'node' keeps them as
            ``mmrep::depthwise_conv2d``, for which ``mmrep.ops`` must be
            imported before the file is loaded. Defaults to 'lowered'.
        metadata (dict[str, str]): Texts that the file carries, as
            ``mmrep.json``.
        tolerance (float): Largest relative difference; for the scores of a
            whole detector, the largest absolute one. Defaults to 1e-4.
        pictures (dict[str, Tensor]): More inputs of the check, by name.

    Returns:
        Exported: Path, differences and nodes.

    Raises:
        UsageError: If it cannot be exported or differs; nothing is written
            then.
    """
    if operator not in ('lowered', 'node'):
        raise ValueError(
            f"operator must be 'lowered' or 'node', got {operator!r}."
        )
    if operator == 'node' and keep_operator(module) == 0:
        raise UsageError('the model has no large kernels to keep as nodes.')
    names = module.output_names(module.example(size))
    metadata = {**metadata, 'outputs': json.dumps(names)}
    program = _program(module, size, dynamic)
    operators: Dict[str, int] = {}
    for node in program.graph.nodes:
        if node.op == 'call_function':
            name = str(node.target)
            operators[name] = operators.get(name, 0) + 1
    with replaced(Path(out)) as path:
        extra = {'mmrep.json': json.dumps(metadata)}
        buffer = io.BytesIO()  # with a path, a full disk aborts in C++
        torch.export.save(program, buffer, extra_files=extra)
        path.write_bytes(buffer.getbuffer())
        loaded = torch.export.load(str(path)).module()
        inputs = _inputs(module, size, dynamic, pictures)
        differences = _check(module, loaded, names, inputs, tolerance)
    return Exported(Path(out), differences, operators, dynamic)
