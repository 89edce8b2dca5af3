"""How a backend is chosen, and what is said about it."""

import threading

import pytest
import torch

from mmrep.ops import (
    DepthwiseConv2d,
    available_backends,
    backend_report,
    choice,
    cost,
    depthwise_conv2d,
    explain,
    library,
    use_backend,
)
from mmrep.ops.backends import fft
from mmrep.ops.problem import Problem


def problem(shape, kernel, **kwargs):
    kwargs.setdefault('channels_last', False)
    return Problem('cpu', torch.float32, shape, (kernel, kernel), **kwargs)


def test_large_kernels_on_large_maps_take_the_fft():
    plan = choice.choose(problem((1, 128, 128, 128), 31), 'auto')
    assert plan.forward == 'fft'
    assert not plan.plain
    assert plan.spectra == 'cache'


def test_small_kernels_take_the_plain_convolution():
    plan = choice.choose(problem((2, 256, 32, 32), 3), 'auto')
    assert plan.plain


@pytest.mark.parametrize('device', ('mps', 'meta', 'cpu'))
def test_what_the_model_does_not_know_is_left_to_pytorch(monkeypatch, device):
    monkeypatch.setattr(torch.backends.mkl, 'is_available', lambda: False)
    choice.choose.cache_clear()
    one = problem((1, 128, 128, 128), 31)._replace(device=device)
    assert choice.choose(one, 'auto').plain
    with pytest.raises(NotImplementedError, match='fft'):
        choice.choose(one, 'fft')
    choice.choose.cache_clear()


def test_nothing_is_measured_while_a_cuda_graph_is_recorded(monkeypatch):
    def measure(*_):
        raise AssertionError('measured')

    monkeypatch.setattr(choice, 'measure', measure)
    monkeypatch.setattr(choice, 'why_not', lambda *_: None)
    recorded = []
    monkeypatch.setattr(
        torch.cuda, 'is_current_stream_capturing', lambda: bool(recorded)
    )
    one = problem((1, 8, 20, 20), 13)._replace(device='cuda')
    with pytest.raises(AssertionError, match='measured'):
        choice.choose(one, 'autotune')
    recorded.append(one)
    assert choice.choose(one, 'autotune').forward
    choice.choose.cache_clear()


def test_meta_tensors_have_shapes():
    x = torch.empty(1, 3, 40, 40, device='meta')
    weight = torch.empty(3, 1, 31, 31, device='meta')
    assert depthwise_conv2d(x, weight).shape == x.shape


def test_each_spectrum_that_is_shared_is_counted_once():
    """The input's, the gradient's, and with both the kernel's too."""
    one = problem((2, 64, 64, 64), 31, grad_input=True, grad_weight=True)

    def work(direction, **state):
        return cost.estimate(one, direction, 'fft', **state)

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
        assert choice._saved(one, keep, both) == pytest.approx(saved)


def test_tensors_from_32_mib_are_counted_as_new():
    """glibc's largest threshold; 128 channels of 256x256 in fp32 are it."""
    for channels, anew in ((127, 0.0), (128, 128 * 256**2 / 1e6)):
        for algorithm in ('direct_nchw', 'fft'):
            one = problem((1, channels, 256, 256), 13)
            counts = cost.features(one, 'forward', algorithm)[1]
            assert counts[-1] == anew, (channels, algorithm)


def test_training_keeps_spectra_up_to_a_limit(monkeypatch):
    large = problem((1, 128, 128, 128), 31, grad_input=True, grad_weight=True)
    assert choice.choose(large, 'auto').spectra == 'keep'
    monkeypatch.setattr(choice, 'KEPT_BYTES', 1 << 20)
    choice.choose.cache_clear()
    assert choice.choose(large, 'auto').spectra == 'drop'
    choice.choose.cache_clear()


def test_spectra_of_doubles_take_twice_the_room(monkeypatch):
    weight = torch.randn(4, 1, 31, 31)
    tiling = fft.plan_tiling((40, 40), (31, 31))
    single = fft.transform_weight(weight, tiling).nbytes
    training = problem((1, 4, 40, 40), 31, grad_input=True, grad_weight=True)
    # between those of single and of double precision
    monkeypatch.setattr(fft, 'CACHED_BYTES', 1.5 * single)
    monkeypatch.setattr(choice, 'KEPT_BYTES', 3 * single)
    choice.choose.cache_clear()
    for dtype, fits in ((torch.float32, True), (torch.float64, False)):
        cached = fft.SpectrumCache().get(weight.to(dtype), tiling)
        assert (cached is not None) is fits
        plan = choice.choose(training._replace(dtype=dtype), 'fft')
        assert plan.spectra == ('keep' if fits else 'drop')
    choice.choose.cache_clear()


def test_only_a_cached_spectrum_costs_nothing(monkeypatch):
    asked = []

    def estimate(problem, direction, name, kept=False, **state):
        asked.append((problem.device, name, kept))
        return 1.0

    monkeypatch.setattr(cost, 'estimate', estimate)
    monkeypatch.setattr(choice, 'why_not', lambda *_: None)
    choice.choose.cache_clear()
    one = problem((1, 8, 40, 40), 31)
    for device in ('cpu', 'cuda'):
        choice.choose(one._replace(device=device), 'auto')
    monkeypatch.setattr(fft, 'CACHED_BYTES', 1)
    choice.choose(one._replace(kernel=(29, 29)), 'auto')
    choice.choose.cache_clear()
    assert [call for call in asked if call[2]] == [('cpu', 'fft', True)]


@pytest.mark.parametrize('kernel', (3, 13, 31))
@pytest.mark.parametrize('direction', cost.DIRECTIONS)
def test_estimates_are_positive_and_grow(direction, kernel):
    small = problem((1, 64, 32, 32), kernel)
    large = problem((4, 256, 64, 64), kernel)
    for name in cost.algorithms('cpu', direction):
        little = cost.estimate(small, direction, name)
        assert 0 < little < cost.estimate(large, direction, name)


@pytest.mark.parametrize('device', ('cpu', 'cuda'))
@pytest.mark.parametrize('dtype', (torch.float32, torch.bfloat16))
def test_every_algorithm_has_an_estimate(device, dtype):
    for kernel in (1, 7, 11, 51):
        one = Problem(device, dtype, (1, 64, 56, 56), (kernel, kernel), False)
        for direction in cost.DIRECTIONS:
            for name in cost.algorithms(device, direction):
                assert cost.estimate(one, direction, name) < 1e6


def test_explain_names_every_backend_and_the_choice():
    answer = explain(torch.randn(1, 8, 64, 64), torch.randn(8, 1, 31, 31))
    assert set(answer) == {'native', 'fft', 'triton', 'auto'}
    assert answer['native'] == answer['fft'] == 'can run'
    assert 'forward by' in answer['auto']


def test_explain_where_nothing_is_measured():
    x = torch.empty(1, 8, 64, 64, device='meta')
    answer = explain(x, torch.empty(8, 1, 31, 31, device='meta'))
    assert 'not on meta' in answer['fft']
    assert answer['auto'].startswith('forward by direct_nchw')
    with pytest.raises(ValueError, match='weight must have shape'):
        explain(x, torch.empty(4, 1, 31, 31))


@pytest.mark.parametrize('gain, plain', ((0.05, True), (0.2, False)))
@pytest.mark.parametrize('last', (False, True))
def test_a_small_gain_is_no_reason_to_leave_conv2d(
    monkeypatch, last, gain, plain
):
    own = 'direct_nhwc' if last else 'direct_nchw'
    monkeypatch.setattr(
        cost,
        'estimate',
        lambda problem, direction, name, **state: (
            10.0 if name == own else 10.0 * (1 - gain)
        ),
    )
    choice.choose.cache_clear()
    one = problem((1, 7, 40, 40), 15, channels_last=last)
    assert choice.choose(one, 'auto').plain is plain
    choice.choose.cache_clear()


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
    monkeypatch.setattr(
        cost,
        'estimate',
        lambda problem, direction, name, **state: (
            10.0 * (1 - gain) if name == 'transposed_nhwc' else 10.0
        ),
    )
    forward = direction == 'forward'
    choice.choose.cache_clear()
    one = problem(
        (1, 7, 40, 40), width, channels_last=forward, grad_weight=not forward
    )
    plan = choice.choose(one, 'auto')
    assert (getattr(plan, direction) == 'transposed_nhwc') is taken
    choice.choose.cache_clear()


def test_each_instruction_set_has_its_own_table():
    assert cost.machine('cuda') == 'cuda'
    assert cost.machine('cpu', 'AVX512') == 'cpu AVX512'
    assert cost.machine('cpu', 'DEFAULT') == 'cpu AVX2'
    for name in ('cpu AVX2', 'cpu AVX512', 'cuda'):
        assert 'float32/fft' in cost.COEFFICIENTS[name]


def test_available_backends_and_report():
    assert available_backends('cpu')[:2] == ('native', 'fft')
    for name in ('native', 'fft', 'triton'):
        assert name in backend_report()


def test_use_backend_nests_and_stays_in_its_thread():
    assert choice.resolve('auto') == 'auto'
    with use_backend('fft'):
        with use_backend('native'):
            assert choice.resolve('auto') == 'native'
            assert choice.resolve('fft') == 'fft'
        assert choice.resolve('auto') == 'fft'
        other = []
        thread = threading.Thread(
            target=lambda: other.append(choice.resolve('auto'))
        )
        thread.start()
        thread.join()
        assert other == ['auto']
    assert choice.resolve('auto') == 'auto'
    with pytest.raises(ValueError, match='cutlass'):
        with use_backend('cutlass'):
            pass


def test_a_backend_that_cannot_run_says_why(monkeypatch):
    monkeypatch.setattr(
        choice.triton, 'why_not', lambda *args: 'needs a CUDA device'
    )
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
    plan = choice.choose(Problem.of(x, weight), 'autotune')
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


def test_auto_survives_a_kernel_that_fails(monkeypatch):
    one = Problem('cpu', torch.float32, (1, 2, 9, 9), (5, 5), False)
    plans = [choice.Plan('triton', 'fft', 'fft')]
    monkeypatch.setattr(choice.triton, '_FAILURE', [])
    monkeypatch.setattr(
        library, 'choose', Choices(plans, choice.Plan('fft', 'fft', 'fft'))
    )
    runs = []

    def run(plan):
        runs.append(plan.forward)
        if plan.forward == 'triton':
            raise RuntimeError('no kernel image is available')
        return 'done'

    pytest.importorskip('triton', reason='Triton is not installed')
    assert library._run(run, one, 'auto', 'forward') == 'done'
    assert runs == ['triton', 'fft']
    reason = choice.why_not('triton', 'cuda', torch.float32)
    assert 'no kernel image' in reason
    plans.append(choice.Plan('triton', 'fft', 'fft'))
    with pytest.raises(RuntimeError, match='no kernel image'):
        library._run(run, one, 'triton', 'forward')


def test_autotune_survives_a_kernel_that_fails(monkeypatch, caplog):
    """Triton is the only one that seems worth measuring."""
    pytest.importorskip('triton', reason='Triton is not installed')

    def fails(*args):
        raise RuntimeError('no kernel image is available')

    def why_not(device, dtype):
        return choice.triton._FAILURE[0] if choice.triton._FAILURE else ''

    names = 'direct_nchw', 'transposed_nchw', 'triton'
    monkeypatch.setattr(choice.triton, '_FAILURE', [])
    monkeypatch.setattr(choice.triton, 'why_not', why_not)
    monkeypatch.setattr(choice.triton, 'tune', fails)
    monkeypatch.setattr(cost, 'algorithms', lambda *args: names)
    monkeypatch.setattr(
        cost,
        'estimate',
        lambda problem, direction, name, **state: (
            0.01 if name == 'triton' else 1.0
        ),
    )
    plan = choice.choose(problem((1, 3, 18, 21), 11), 'autotune')
    choice.choose.cache_clear()
    assert plan.forward in names[:2]
    assert [record.levelname for record in caplog.records] == ['WARNING']
    assert 'no kernel image' in caplog.text


class Choices:
    """Stands in for the cached choose()."""

    def __init__(self, plans, later):
        self.plans, self.later = plans, later

    def __call__(self, problem, backend):
        return self.plans.pop() if self.plans else self.later

    def cache_clear(self):
        pass
