"""How a backend is chosen, and what is said about it."""

import threading

import pytest
import torch

from mmrep.ops import (
    DepthwiseConv2d,
    available_backends,
    backend_report,
    choice,
    depthwise_conv2d,
    explain,
    use_backend,
)
from mmrep.ops.backends import BACKENDS, OWNER, base, fft, triton
from mmrep.ops.backends.fft_tiling import plan_tiling
from mmrep.ops.problem import DIRECTIONS, Problem

from .conftest import assert_close, reference

NATIVE, FFT = BACKENDS['native'], BACKENDS['fft']


@pytest.fixture(autouse=True)
def choose_anew():
    choice.forget()
    yield
    choice.forget()


def problem(shape, kernel, **kwargs):
    kwargs.setdefault('channels_last', False)
    return Problem('cpu', torch.float32, shape, (kernel, kernel), **kwargs)


def test_large_kernels_on_large_maps_take_the_fft():
    plan = choice.choose(problem((1, 128, 128, 128), 31))
    assert plan.forward == 'fft'
    assert not plan.plain
    assert plan.reuse == 'cache'


def test_small_kernels_take_the_plain_convolution():
    plan = choice.choose(problem((2, 256, 32, 32), 3))
    assert plan.plain


@pytest.mark.parametrize('device', ('mps', 'meta', 'cpu'))
def test_what_the_model_does_not_know_is_left_to_pytorch(monkeypatch, device):
    monkeypatch.setattr(torch.backends.mkl, 'is_available', lambda: False)
    one = problem((1, 128, 128, 128), 31)._replace(device=device)
    assert choice.choose(one).plain
    with pytest.raises(NotImplementedError, match='fft'):
        choice.choose(one, 'fft')


def can_run_everywhere(monkeypatch):
    for backend in BACKENDS.values():
        monkeypatch.setattr(backend, 'why_not', lambda *_: None)


def test_nothing_is_measured_while_a_cuda_graph_is_recorded(monkeypatch):
    def measure(*_):
        raise AssertionError('measured')

    monkeypatch.setattr(choice, 'measure', measure)
    can_run_everywhere(monkeypatch)
    recorded = [True]
    monkeypatch.setattr(
        torch.cuda, 'is_current_stream_capturing', lambda: bool(recorded)
    )
    one = problem((1, 8, 20, 20), 13)._replace(device='cuda')
    assert choice.choose(one, autotune=True).forward
    # what was chosen then is not what a measurement is replaced by
    recorded.clear()
    with pytest.raises(AssertionError, match='measured'):
        choice.choose(one, autotune=True)


@pytest.mark.parametrize(
    'kernel, algorithm',
    (
        ((7, 7), 'direct_nchw'),
        ((3, 21), 'direct_nchw'),
        ((9, 9), 'triton'),
        ((5, 51), 'triton'),
    ),
)
def test_a_rule_stands_where_a_gpu_was_not_measured(
    monkeypatch, kernel, algorithm
):
    can_run_everywhere(monkeypatch)
    one = problem((8, 64, 56, 56), 1, grad_weight=True)
    one = one._replace(device='cuda', kernel=kernel)
    plan = choice.choose(one)
    assert plan.forward == algorithm
    assert plan.grad_input is None
    assert plan.plain == (algorithm != 'triton')
    assert plan.plain or plan.grad_weight == 'triton'
    # where Triton cannot run, PyTorch's own is left
    choice.forget()
    monkeypatch.setattr(triton.BACKEND, 'why_not', lambda *_: 'no')
    assert choice.choose(one).plain


def test_a_table_takes_the_place_of_the_rule(monkeypatch):
    can_run_everywhere(monkeypatch)
    own = [1.0] + [0.0] * 8
    table = {
        'float32/forward/direct_nchw/3': own,
        'float32/forward/triton': [2.0, 0.0, 0.0],
    }
    monkeypatch.setitem(base.COEFFICIENTS, 'cuda', table)
    one = problem((8, 64, 56, 56), 31)._replace(device='cuda', tf32=True)
    assert choice.choose(one).plain
    table['float32/forward/triton'] = [0.5, 0.0, 0.0]
    choice.forget()
    assert choice.choose(one).forward == 'triton'
    # of the weight gradient the table knows nothing
    assert (
        choice.choose(one._replace(grad_weight=True)).grad_weight == 'triton'
    )


def test_meta_tensors_have_shapes():
    x = torch.empty(1, 3, 40, 40, device='meta')
    weight = torch.empty(3, 1, 31, 31, device='meta')
    assert depthwise_conv2d(x, weight).shape == x.shape


def test_each_spectrum_that_is_shared_is_counted_once():
    """The input's, the gradient's, and with both the kernel's too."""
    one = problem((2, 64, 64, 64), 31, grad_input=True, grad_weight=True)

    def work(direction, **state):
        return base.estimate(one, FFT.features(one, direction, **state))

    full = work('grad_weight')
    kept = full - work('grad_weight', kept=True)
    shared = full - work('grad_weight', shared=True)
    kernel = work('grad_input') - work('grad_input', kept=True)
    assert min(kept, shared, kernel) > 0
    for keep, both, saved in (
        (True, False, kept),
        (False, True, shared),
        (True, True, kept + shared + kernel),
    ):
        assert FFT.saved(one, keep, both) == pytest.approx(saved)


def test_tensors_from_32_mib_are_counted_as_new():
    """glibc's largest threshold; 128 channels of 256x256 in fp32 are it."""
    for channels, anew in ((127, 0.0), (128, 128 * 256**2 / 1e6)):
        for algorithm in ('direct_nchw', 'fft'):
            one = problem((1, channels, 256, 256), 13)
            owner = OWNER[algorithm]
            counts = owner.features(one, 'forward', algorithm)[1]
            assert counts[-1] == anew, (channels, algorithm)


def test_training_keeps_spectra_up_to_a_limit(monkeypatch):
    large = problem((1, 128, 128, 128), 31, grad_input=True, grad_weight=True)
    assert choice.choose(large).reuse == 'keep'
    monkeypatch.setattr(fft, 'KEPT_BYTES', 1 << 20)
    choice.forget()
    assert choice.choose(large).reuse == 'drop'


def test_spectra_of_doubles_take_twice_the_room(monkeypatch):
    weight = torch.randn(4, 1, 31, 31)
    tiling = plan_tiling((40, 40), (31, 31))
    single = fft.transform_weight(weight, tiling).nbytes
    training = problem((1, 4, 40, 40), 31, grad_input=True, grad_weight=True)
    # between those of single and of double precision
    monkeypatch.setattr(fft, 'CACHED_BYTES', 1.5 * single)
    monkeypatch.setattr(fft, 'KEPT_BYTES', 3 * single)
    for dtype, fits in ((torch.float32, True), (torch.float64, False)):
        cached = fft.SpectrumCache().get(weight.to(dtype), tiling)
        assert (cached is not None) is fits
        plan = choice.choose(training._replace(dtype=dtype), 'fft')
        assert plan.reuse == ('keep' if fits else 'drop')


def test_only_a_cached_spectrum_costs_nothing(monkeypatch):
    table = dict(base.COEFFICIENTS['cpu AVX2'])
    monkeypatch.setitem(base.COEFFICIENTS, 'cuda', table)
    one = problem((1, 8, 40, 40), 31)

    def is_cheaper(problem):
        full = base.estimate(problem, FFT.features(problem, 'forward'))
        return FFT.cost(problem, 'forward', 'fft') < full

    assert is_cheaper(one)
    assert not is_cheaper(one._replace(grad_weight=True))
    assert not is_cheaper(one._replace(device='cuda'))
    monkeypatch.setattr(fft, 'CACHED_BYTES', 1)
    assert not is_cheaper(one)


def costs(one, direction):
    return choice._costs(
        one, direction, [BACKENDS['native'], BACKENDS['fft']]
    ).values()


@pytest.mark.parametrize('kernel', (3, 13, 31))
@pytest.mark.parametrize('direction', DIRECTIONS)
def test_estimates_are_positive_and_grow(direction, kernel):
    small = costs(problem((1, 64, 32, 32), kernel), direction)
    large = costs(problem((4, 256, 64, 64), kernel), direction)
    for little, much in zip(small, large, strict=True):
        assert 0 < little < much


@pytest.mark.parametrize('instructions', ('AVX2', 'AVX512'))
@pytest.mark.parametrize('dtype', (torch.float32, torch.bfloat16))
def test_every_algorithm_has_an_estimate(monkeypatch, instructions, dtype):
    monkeypatch.setattr(
        torch.backends.cpu, 'get_cpu_capability', lambda: instructions
    )
    for kernel in (1, 7, 11, 51):
        one = problem((1, 64, 56, 56), kernel)._replace(dtype=dtype)
        for direction in DIRECTIONS:
            assert max(costs(one, direction)) < 1e6


def test_explain_names_every_backend_and_the_choice():
    x, weight = torch.randn(1, 8, 64, 64), torch.randn(8, 1, 31, 31)
    answer = explain(x, weight)
    assert set(answer) == {'native', 'fft', 'triton', 'auto'}
    assert answer['native'] == answer['fft'] == 'can run'
    assert answer['auto'].startswith('forward by fft (about ')
    assert answer['auto'].endswith(
        'grad_input not needed, grad_weight not needed'
    )
    weight.requires_grad_()
    assert 'grad_weight by fft (about' in explain(x, weight)['auto']
    assert answer['auto'].count('not needed') == 2
    with torch.no_grad():
        assert explain(x, weight)['auto'] == answer['auto']


def test_explain_says_what_is_left_to_conv2d():
    x, weight = torch.randn(1, 64, 14, 14), torch.randn(64, 1, 9, 9)
    answer = explain(x, weight)['auto']
    assert answer.startswith('nn.Conv2d: forward by direct_nchw')
    # in half precision a CPU's nn.Conv2d is slow
    answer = explain(x.half(), weight.half())['auto']
    assert answer.startswith('forward by')


def test_explain_knows_the_context():
    x, weight = torch.randn(1, 8, 24, 24), torch.randn(8, 1, 5, 5)
    with use_backend('fft'):
        assert explain(x, weight)['auto'].startswith('forward by fft')
    with use_backend('triton'):
        answer = explain(x, weight)
    if answer['triton'] == 'can run':
        assert answer['auto'].startswith('forward by triton')
    else:
        assert answer['auto'].startswith("backend 'triton' cannot run here")


@pytest.mark.parametrize('trains', (False, True))
@pytest.mark.parametrize('kernel', (3, 9, 13, 31))
def test_explain_says_what_the_operator_runs(monkeypatch, kernel, trains):
    ran = set()
    for name in ('native', 'fft'):
        monkeypatch.setattr(BACKENDS[name], 'forward', spy(name, ran, 4))
        monkeypatch.setattr(BACKENDS[name], 'backward', spy(name, ran, 3, 4))
    layer = DepthwiseConv2d(
        64, 64, kernel, padding=kernel // 2, groups=64, bias=False
    )
    x = torch.randn(2, 64, 40, 40, requires_grad=trains)
    with torch.set_grad_enabled(trains):
        said = explain(x, layer.weight)['auto']
        out = layer(x)
        if trains:
            out.sum().backward()
    if said.startswith('nn.Conv2d: '):
        assert not ran
    else:
        parts = said.partition(';')[0].split(', ')
        assert ran == {part.split()[2] for part in parts if ' by ' in part}


def spy(name, ran, *places):
    """A method that also notes the algorithms among its arguments."""
    method = {4: BACKENDS[name].forward, 3: BACKENDS[name].backward}[places[0]]

    def call(*args):
        ran.update(args[i] for i in places if args[i])
        return method(*args)

    return call


def test_explain_where_nothing_is_measured():
    x = torch.empty(1, 8, 64, 64, device='meta')
    answer = explain(x, torch.empty(8, 1, 31, 31, device='meta'))
    assert 'not on meta' in answer['fft']
    assert answer['auto'].startswith(
        'nn.Conv2d: forward by direct_nchw (not measured)'
    )
    with pytest.raises(ValueError, match='weight must have shape'):
        explain(x, torch.empty(4, 1, 31, 31))


def set_costs(monkeypatch, cost):
    for backend in BACKENDS.values():
        monkeypatch.setattr(
            backend, 'cost', lambda problem, direction, name: cost(name)
        )
        monkeypatch.setattr(backend, 'saved', lambda *_: 0.0)


@pytest.mark.parametrize('gain, plain', ((0.05, True), (0.2, False)))
@pytest.mark.parametrize('last', (False, True))
def test_a_small_gain_is_no_reason_to_leave_conv2d(
    monkeypatch, last, gain, plain
):
    own = 'direct_nhwc' if last else 'direct_nchw'
    set_costs(
        monkeypatch, lambda name: 10.0 if name == own else 10.0 * (1 - gain)
    )
    one = problem((1, 7, 40, 40), 15, channels_last=last)
    assert choice.choose(one).plain is plain


@pytest.mark.parametrize(
    'direction, width, gain, taken',
    (
        ('grad_weight', 5, 0.4, False),
        ('grad_weight', 5, 0.5, True),
        ('forward', 9, 0.4, False),
        ('forward', 9, 0.5, True),
        ('forward', 11, 0.4, True),
    ),
)
def test_a_doubtful_estimate_needs_a_larger_gain(
    monkeypatch, direction, width, gain, taken
):
    set_costs(
        monkeypatch,
        lambda name: 10.0 * (1 - gain) if name == 'transposed_nhwc' else 10.0,
    )
    forward = direction == 'forward'
    one = problem(
        (2, 64, 40, 40), width, channels_last=forward, grad_weight=not forward
    )
    plan = choice.choose(one)
    assert (getattr(plan, direction) == 'transposed_nhwc') is taken


def test_each_instruction_set_has_its_own_table():
    assert base.machine('cuda') == 'cuda'
    assert base.machine('cpu', 'AVX512') == 'cpu AVX512'
    assert base.machine('cpu', 'DEFAULT') == 'cpu AVX2'
    assert sorted(base.COEFFICIENTS) == ['cpu AVX2', 'cpu AVX512']


def test_available_backends_and_report():
    assert available_backends('cpu')[:2] == ('native', 'fft')
    for name in ('native', 'fft', 'triton'):
        assert name in backend_report()


def test_use_backend_nests_and_stays_in_its_thread():
    def resolved(backend='auto', autotune=False):
        return choice.resolve(backend, autotune)

    assert resolved() == ('auto', False)
    assert resolved(autotune=True) == ('auto', True)
    with use_backend('fft', autotune=True):
        with use_backend('native'):
            assert resolved() == ('native', False)
            assert resolved('fft') == ('fft', False)
        assert resolved() == ('fft', False)
        other = []
        thread = threading.Thread(target=lambda: other.append(resolved()))
        thread.start()
        thread.join()
        assert other == [('auto', False)]
    with use_backend('auto', autotune=True):
        assert resolved() == ('auto', True)
        assert resolved('native') == ('native', False)
    assert resolved() == ('auto', False)
    with pytest.raises(ValueError, match='cutlass'):
        with use_backend('cutlass'):
            pass


def test_a_call_is_decided_once(monkeypatch):
    """The gradients are by what the forward's plan says."""
    x = torch.randn(1, 3, 24, 24, requires_grad=True)
    weight = torch.randn(3, 1, 27, 27)
    with use_backend('fft'):
        out = depthwise_conv2d(x, weight)
    monkeypatch.setattr(choice, '_choose', None)
    ran = set()
    monkeypatch.setattr(FFT, 'backward', spy('fft', ran, 3, 4))
    with use_backend('native'):
        out.sum().backward()
    assert ran == {'fft'}


def test_a_plan_survives_the_way_to_the_operator():
    for plan in (
        choice.Plan(),
        choice.Plan(reuse='drop'),
        choice.Plan('fft'),
        choice.Plan('direct_nchw', None, 'fft', 'drop'),
        choice.Plan('fft', 'fft', 'fft', 'keep'),
    ):
        assert choice.decode(choice.encode(plan)) == plan
    assert choice.encode(choice.Plan()) == ''


def test_a_backend_that_cannot_run_says_why(monkeypatch):
    monkeypatch.setattr(triton, 'why_not', lambda *args: 'needs a CUDA device')
    with pytest.raises(NotImplementedError, match='needs a CUDA device'):
        depthwise_conv2d(
            torch.randn(1, 3, 9, 9),
            torch.randn(3, 1, 27, 27),
            backend='triton',
        )


def test_autotune_measures_once_and_takes_the_fastest(monkeypatch):
    calls = []

    def measure(problem, direction, names):
        calls.extend((direction, name) for name in names)
        return {n: 1.0 if n == 'transposed_nchw' else 2.0 for n in names}

    monkeypatch.setattr(choice, 'measure', measure)
    monkeypatch.setattr(choice, 'WORTH_MEASURING', 1e9)
    x, weight = torch.randn(1, 5, 21, 23), torch.randn(5, 1, 15, 15)
    depthwise_conv2d(x, weight, autotune=True)
    asked = len(calls)
    assert ('forward', 'fft') in calls
    with use_backend('auto', autotune=True):
        depthwise_conv2d(x, weight)
    assert len(calls) == asked
    plan = choice.choose(Problem.of(x, weight), autotune=True)
    assert plan.forward == 'transposed_nchw'


def test_a_context_that_names_a_backend_measures_nothing(monkeypatch):
    def measure(*_):
        raise AssertionError('measured')

    monkeypatch.setattr(choice, 'measure', measure)
    layer = DepthwiseConv2d(3, 3, 27, padding=13, groups=3, autotune=True)
    compiled = torch.compile(layer, fullgraph=True, backend='aot_eager')
    x = torch.zeros(1, 3, 22, 24)
    x[..., 0, 0] = float('nan')
    for run in (layer, compiled):
        # only an FFT spreads a NaN over the whole map
        with use_backend('fft'):
            assert run(x).isnan().all()
        with use_backend('native'):
            assert not run(x).isnan().all()
        with pytest.raises(AssertionError, match='measured'):
            run(x)


def test_measuring_draws_no_random_numbers_of_the_run():
    x, weight = torch.ones(1, 3, 25, 25), torch.ones(3, 1, 17, 17)
    state = torch.get_rng_state()
    with torch.autocast('cpu', torch.bfloat16):
        depthwise_conv2d(x, weight, autotune=True)
    assert torch.equal(state, torch.get_rng_state())


def triton_fails(monkeypatch, *names):
    """Triton seems to be the fastest, and functions of it fail."""
    pytest.importorskip('triton', reason='Triton is not installed')

    def fails(*args, **kwargs):
        raise RuntimeError('no kernel image is available')

    def why_not(device, dtype):
        return triton._FAILURE[0] if triton._FAILURE else None

    monkeypatch.setattr(triton, '_FAILURE', [])
    monkeypatch.setattr(triton, 'why_not', why_not)
    for name in names:
        monkeypatch.setattr(triton, name, fails)
    set_costs(monkeypatch, lambda name: 0.01 if name == 'triton' else 1.0)


# Stand in for the functions of triton.py, whatever this machine can run.
BY_NATIVE = {
    'forward': lambda x, weight, bias, relu: NATIVE.forward(
        x, weight, bias, relu, 'direct_nchw', 'drop'
    )[0],
    'grad_input': lambda *tensors: NATIVE.backward(
        *tensors, 'direct_nchw', None, None, None
    )[0],
    'grad_weight': lambda *tensors: NATIVE.backward(
        *tensors, None, 'transposed_nchw', None, None
    )[1],
}


@pytest.mark.parametrize('name', BY_NATIVE)
def test_auto_survives_a_kernel_that_fails(monkeypatch, caplog, name):
    triton_fails(monkeypatch, name)
    for other in set(BY_NATIVE) - {name}:
        monkeypatch.setattr(triton, other, BY_NATIVE[other])
    x = torch.randn(1, 2, 19, 19, requires_grad=True)
    weight = torch.randn(2, 1, 11, 11, requires_grad=True)
    grad = torch.randn_like(x)
    out = depthwise_conv2d(x, weight)
    got = out, *torch.autograd.grad(out, (x, weight), grad)
    for a, b in zip(got, reference(x, weight, None, grad), strict=True):
        assert_close(a, b)
    assert [record.levelname for record in caplog.records] == ['WARNING']
    reason = choice.why_not('triton', 'cuda', torch.float32)
    assert 'no kernel image' in reason
    assert choice.choose(Problem.of(x, weight)).forward != 'triton'


def test_a_named_backend_that_fails_raises(monkeypatch):
    triton_fails(monkeypatch, 'forward')
    with pytest.raises(RuntimeError, match='no kernel image'):
        depthwise_conv2d(
            torch.randn(1, 2, 9, 9), torch.randn(2, 1, 5, 5), backend='triton'
        )
    assert not triton._FAILURE


def test_autotune_survives_a_kernel_that_fails(monkeypatch, caplog):
    """Triton is the only one that seems worth measuring."""
    triton_fails(monkeypatch, 'tune')
    plan = choice.choose(problem((1, 3, 18, 21), 11), autotune=True)
    assert plan.forward in BACKENDS['native'].algorithms + ('fft',)
    assert [record.levelname for record in caplog.records] == ['WARNING']
    assert 'no kernel image' in caplog.text
