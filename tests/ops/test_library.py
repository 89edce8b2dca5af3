"""The operator under PyTorch's own machinery."""

import pytest
import torch
import torch.nn.functional as F
from sweep import sweep
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.autograd import forward_ad
from torch.func import grad, jvp, vmap

from mmrep.ops import DepthwiseConv2d, depthwise_conv2d, use_backend

from .conftest import assert_close, reference


def make(channels=3, size=20, kernel=13, **kwargs):
    x = torch.randn(2, channels, size, size + 1, **kwargs)
    weight = torch.randn(channels, 1, kernel, kernel, **kwargs)
    return x.requires_grad_(), weight.requires_grad_()


@pytest.mark.parametrize('backend', ('native', 'fft', 'auto'))
@pytest.mark.parametrize('with_bias', sweep((True, False)))
def test_opcheck_forward(backend, with_bias):
    x, weight = make(2, 8, 5)
    bias = torch.randn(2, requires_grad=True) if with_bias else None
    torch.library.opcheck(
        torch.ops.mmrep.depthwise_conv2d.default,
        (x, weight, bias, True, backend, False, 'reuse=drop'),
    )


def test_opcheck_forward_that_keeps_spectra():
    x, weight = make(2, 8, 5)
    plan = 'forward=fft grad_input=fft grad_weight=fft reuse=keep'
    torch.library.opcheck(
        torch.ops.mmrep.depthwise_conv2d.default,
        (x, weight, None, False, 'fft', False, plan),
        test_utils=(
            'test_schema',
            'test_autograd_registration',
            'test_faketensor',
        ),
    )


@pytest.mark.parametrize(
    'need', sweep(((True, True), (True, False), (False, True)))
)
@pytest.mark.parametrize('backend', ('native', 'fft', 'auto'))
@pytest.mark.parametrize('transposed', sweep((False, True)))
@pytest.mark.parametrize('plan', sweep(('', 'grad_input=fft grad_weight=fft')))
def test_opcheck_backward(need, backend, transposed, plan):
    x, weight = make(2, 8, 5)
    if transposed:
        weight = weight.detach().transpose(2, 3).requires_grad_()
    tensors = torch.randn_like(x), x, weight, torch.empty(0), torch.empty(0)
    torch.library.opcheck(
        torch.ops.mmrep.depthwise_conv2d_backward.default,
        (*tensors, *need, backend, False, plan),
    )


@pytest.mark.parametrize('kernel', (3, 13))
@pytest.mark.parametrize('channels_last', (False, True))
def test_compile_is_one_node(channels_last, kernel):
    layer = DepthwiseConv2d(3, 3, kernel, padding=kernel // 2, groups=3)
    x, _ = make()
    if channels_last:
        x = x.detach().to(memory_format=torch.channels_last).requires_grad_()
    compiled = torch.compile(layer, fullgraph=True, backend='aot_eager')
    out = compiled(x)
    assert out.stride() == layer(x).stride()
    grad = torch.randn_like(out)
    got = (out, *torch.autograd.grad(out, (x, layer.weight, layer.bias), grad))
    for a, b in zip(
        got, reference(x, layer.weight, layer.bias, grad), strict=False
    ):
        assert_close(a, b)


@pytest.mark.slow
def test_compile_on_another_device():
    """'meta' stands for those that have no kernel of the operator."""
    targets = []

    def compiler(graph, inputs):
        targets.extend(n.target for n in graph.graph.nodes)
        return graph

    x = torch.empty(1, 3, 40, 40, device='meta')
    weight = torch.empty(3, 1, 31, 31, device='meta')
    conv = torch.compile(depthwise_conv2d, backend=compiler, fullgraph=True)
    assert conv(x, weight).shape == x.shape
    assert torch.conv2d in targets, targets
    with pytest.raises(NotImplementedError, match='on meta'):
        torch.compile(depthwise_conv2d)(x, weight, backend='fft')


def test_compile_once_for_many_sizes():
    counter = CompileCounterWithBackend('aot_eager')
    layer = DepthwiseConv2d(3, 3, 13, padding=6, groups=3)
    compiled = torch.compile(
        layer, fullgraph=True, dynamic=True, backend=counter
    )
    for size in (20, 27, 64):
        x = torch.randn(1, 3, size, size + 1)
        assert_close(compiled(x), layer(x).double())
    assert counter.frame_count == 1


@pytest.mark.parametrize('dtype', (torch.bfloat16, torch.float16))
@pytest.mark.parametrize('backend', ('native', 'fft', 'auto'))
def test_autocast(dtype, backend):
    x, weight = make()
    with torch.autocast('cpu', dtype):
        out = depthwise_conv2d(x, weight, backend=backend)
    assert out.dtype == dtype
    grad = torch.randn_like(out)
    got = torch.autograd.grad(out, (x, weight), grad)
    assert got[0].dtype == got[1].dtype == torch.float32
    want = reference(x.to(dtype), weight.to(dtype), None, grad)
    for a, b in zip((out, *got), want, strict=False):
        assert_close(a, b, dtype)


def test_checkpointing_gives_the_same_gradients():
    from torch.utils.checkpoint import checkpoint

    x, weight = make()
    with use_backend('fft'):
        plain = depthwise_conv2d(x, weight).square().sum()
        again = (
            checkpoint(depthwise_conv2d, x, weight, use_reentrant=False)
            .square()
            .sum()
        )
        for a, b in zip(
            torch.autograd.grad(plain, (x, weight)),
            torch.autograd.grad(again, (x, weight)),
            strict=False,
        ):
            assert torch.equal(a, b)


def test_export_gives_a_plain_convolution():
    layer = DepthwiseConv2d(3, 3, 31, padding=15, groups=3).eval()
    program = torch.export.export(layer, (torch.randn(1, 3, 40, 40),))
    targets = [
        str(n.target) for n in program.graph.nodes if n.op == 'call_function'
    ]
    assert targets == ['aten.conv2d.default'], targets


@pytest.mark.filterwarnings('error::torch.jit.TracerWarning')
@pytest.mark.parametrize('kernel', (3, 7, 31))
def test_trace_gives_a_plain_convolution(kernel):
    layer = DepthwiseConv2d(3, 3, kernel, padding=kernel // 2, groups=3)
    traced = torch.jit.trace(layer.eval(), torch.randn(1, 3, 40, 40))
    assert 'aten::_convolution' in str(traced.inlined_graph)


def test_onnx_has_a_plain_convolution(tmp_path):
    onnx = pytest.importorskip('onnx', reason='onnx is not installed')
    layer = DepthwiseConv2d(3, 3, 31, padding=15, groups=3).eval()
    path = str(tmp_path / 'layer.onnx')
    x = torch.randn(1, 3, 40, 40)
    torch.onnx.export(layer, (x,), path, dynamo=False)
    nodes = onnx.load(path).graph.node
    assert [node.op_type for node in nodes] == ['Conv']


def train_one_step(rank, path):
    """Gradients of a DistributedDataParallel layer are the mean."""
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{path}', rank=rank, world_size=2
    )
    torch.manual_seed(0)
    layer = DepthwiseConv2d(3, 3, 27, padding=13, groups=3, backend='fft')
    model = nn.parallel.DistributedDataParallel(layer)
    x = torch.randn(2, 3, 24, 24)
    model(x[rank : rank + 1]).square().sum().backward()
    plain = nn.Conv2d(3, 3, 27, padding=13, groups=3)
    plain.load_state_dict(layer.state_dict())
    (plain(x).square().sum() / 2).backward()
    for a, b in zip(layer.parameters(), plain.parameters(), strict=True):
        assert_close(a.grad, b.grad.double())
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_distributed_data_parallel(tmp_path):
    torch.multiprocessing.spawn(
        train_one_step, args=(str(tmp_path / 'store'),), nprocs=2
    )


def test_autocast_leaves_double_alone():
    x, weight = make(dtype=torch.double)
    with torch.autocast('cpu', torch.bfloat16):
        out = depthwise_conv2d(x, weight, backend='fft')
        with pytest.raises(TypeError, match='float64'):
            depthwise_conv2d(x, weight.float())
    assert_close(out, reference(x, weight))
    assert out.dtype == torch.double


def test_torch_func_transforms():
    x, weight = make(kernel=21)

    def loss(weight, x):
        return depthwise_conv2d(x, weight).square().sum()

    def plain(weight, x):
        padding = weight.size(2) // 2
        return F.conv2d(x, weight, padding=padding, groups=3).square().sum()

    xs = torch.stack([x, 2 * x]).detach()
    weight = weight.detach()
    for transform in (
        lambda f: vmap(f, (None, 0))(weight, xs),
        lambda f: vmap(grad(f), (None, 0))(weight, xs),
        lambda f: jvp(lambda w: f(w, xs[0]), (weight,), (weight,))[1],
    ):
        assert_close(transform(loss), transform(plain).double())
    with use_backend('fft'):
        with pytest.raises(NotImplementedError, match='torch.func'):
            grad(loss)(weight, xs[0])


@pytest.mark.parametrize(
    'transform',
    sweep(
        (
            lambda f, w, v: grad(lambda w: f(w).square().sum())(w),
            lambda f, w, v: jvp(f, (w,), (v,))[1],
            lambda f, w, v: vmap(f)(torch.stack((w, v))),
        )
    ),
    ids=('grad', 'jvp', 'vmap'),
)
def test_compiled_torch_func_transforms(transform):
    x, weight = (t.detach() for t in make(kernel=7))

    def by(backend):
        def conv(weight):
            return depthwise_conv2d(x, weight, backend=backend)

        return lambda w, v: transform(conv, w, v)

    compiled = torch.compile(by('auto'), fullgraph=True, backend='aot_eager')
    args = weight, torch.randn_like(weight)
    assert_close(compiled(*args), by('auto')(*args).double())
    compiled = torch.compile(by('fft'), backend='aot_eager')
    with pytest.raises(NotImplementedError, match='torch.func'):
        compiled(*args)


def test_forward_mode_differentiation():
    x, weight = (t.detach() for t in make(kernel=21))
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x, torch.ones_like(x))
        out = depthwise_conv2d(dual, weight)
        tangent = forward_ad.unpack_dual(out).tangent
    assert_close(tangent, reference(torch.ones_like(x), weight))
