"""Where the stand-in is found, and what it holds."""

import importlib
import importlib.util
import pickle
import subprocess
import sys

import mmcv
import pytest

from mmrep import compat
from mmrep.compat import mmcv_ext, torchvision
from mmrep.compat.mmcv_ext import Finder


@pytest.fixture
def standin():
    """The module itself, also where mmcv is compiled."""
    module = importlib.util.module_from_spec(Finder.find_spec('mmcv._ext'))
    Finder.exec_module(module)
    return module


@pytest.fixture
def not_imported():
    """As if nobody had imported ``mmcv._ext`` yet."""
    before = sys.modules.pop('mmcv._ext', None)
    yield
    sys.modules.pop('mmcv._ext', None)
    mmcv.__dict__.pop('_ext', None)
    if before is not None:
        sys.modules['mmcv._ext'] = mmcv._ext = before


def is_compiled():
    return importlib.util.find_spec('mmcv._ext').origin != mmcv_ext.__name__


def test_is_asked_last_and_for_one_module():
    assert sys.meta_path.count(Finder) == 1
    compat.install()
    assert sys.meta_path.count(Finder) == 1
    assert Finder.find_spec('mmcv._extra') is None
    assert Finder.find_spec('mmcv') is None


def test_never_shadows_compiled_operators(monkeypatch, tmp_path, not_imported):
    (tmp_path / '_ext.py').write_text('nms = "compiled"')
    monkeypatch.setattr(mmcv, '__path__', [str(tmp_path)])
    importlib.invalidate_caches()
    assert importlib.import_module('mmcv._ext').nms == 'compiled'
    assert compat.report() == (
        f'mmcv operators: compiled, {tmp_path / "_ext.py"}'
    )


def test_broken_compiled_operators_are_not_hidden(
    monkeypatch, tmp_path, not_imported
):
    (tmp_path / '_ext.py').write_text('raise ImportError("undefined symbol")')
    monkeypatch.setattr(mmcv, '__path__', [str(tmp_path)])
    importlib.invalidate_caches()
    with pytest.raises(ImportError, match='undefined symbol'):
        importlib.import_module('mmcv._ext')


def test_is_a_module_as_others(monkeypatch, not_imported):
    if is_compiled():
        pytest.skip('mmcv has compiled operators here')
    from mmcv.utils.ext_loader import check_ops_exist
    from mmengine.utils.dl_utils import mmcv_full_available

    spec = importlib.util.find_spec('mmcv._ext')
    assert spec.name == 'mmcv._ext' and spec.loader is Finder
    assert check_ops_exist() and mmcv_full_available()
    module = importlib.import_module('mmcv._ext')
    assert module is sys.modules['mmcv._ext'] is mmcv._ext
    assert importlib.reload(module) is module
    assert not hasattr(module, '__path__')
    for name in mmcv_ext.OPERATORS:
        operator = getattr(module, name)
        assert pickle.loads(pickle.dumps(operator)) is operator


def test_other_operators_fail_when_called(standin):
    operator = standin.ball_query_forward
    with pytest.raises(ImportError, match="'ball_query_forward'.*pip install"):
        operator(1, radius=2)
    with pytest.raises(AttributeError, match='_private'):
        _ = standin._private


def test_mmcv_reads_only_names_that_are_there(standin):
    from mmcv import ops

    assert standin.get_compiler_version() == 'n/a'
    assert standin.get_compiling_cuda_version() == 'n/a'
    # importing it looked up all its operators
    assert ops.nms and ops.RoIAlign and ops.MultiScaleDeformableAttention


@pytest.mark.parametrize(
    'package, requirement',
    [
        ('onedl-mmcv', f'onedl-mmcv=={mmcv.__version__}'),
        ('mmcv-lite', f'mmcv=={mmcv.__version__}'),
    ],
)
def test_remedy_names_the_package(monkeypatch, standin, package, requirement):
    monkeypatch.setattr(
        mmcv_ext, 'find_distribution', lambda name: name == package
    )
    with pytest.raises(ImportError, match=f' {requirement}`'):
        standin.top_pool_forward()


def test_report(monkeypatch, standin):
    monkeypatch.delitem(sys.modules, 'mmcv._ext', raising=False)
    assert compat.report() == 'mmcv operators: not loaded'
    monkeypatch.setitem(sys.modules, 'mmcv._ext', standin)
    monkeypatch.setattr(torchvision, 'version', lambda: None)
    operators = ', '.join(f'{n}: torch' for n in mmcv_ext.OPERATORS)
    assert compat.report().endswith(f'replaced by {operators}')


def test_report_of_torchvision(monkeypatch, standin, with_torchvision):
    monkeypatch.setitem(sys.modules, 'mmcv._ext', standin)
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    line = compat.report() + ', '
    version = torchvision.version()
    assert f' nms: torchvision {version}, ' in line
    assert f' roi_align_backward: torchvision {version}, ' in line
    assert ' softnms: torch, ' in line


@pytest.mark.parametrize(
    'error', [ImportError('no'), RuntimeError('no torchvision::nms')]
)
def test_torchvision_that_does_not_load(monkeypatch, error):
    class Broken:
        @staticmethod
        def find_spec(name, path=None, target=None):
            if name == 'torchvision':
                raise error

    monkeypatch.delitem(sys.modules, 'torchvision', raising=False)
    monkeypatch.setattr(sys, 'meta_path', [Broken, *sys.meta_path])
    torchvision.version.cache_clear()
    try:
        assert torchvision.version() is None
        assert not torchvision.has_kernel('nms', 'cpu')
    finally:
        torchvision.version.cache_clear()


def test_torchvision_without_kernels_for_the_device(with_torchvision):
    assert torchvision.has_kernel('nms', 'cpu')
    assert not torchvision.has_kernel('nms', 'xla')
    assert not torchvision.has_kernel('softnms', 'cpu')


@pytest.mark.slow
@pytest.mark.parametrize(
    'code',
    [
        # nothing is loaded before it is needed
        'import sys, mmrep; '
        'assert not {"mmcv._ext", "mmcv.ops", "mmrep.compat.nms"} '
        '& set(sys.modules)',
        # torch alone
        'import sys; sys.modules["mmengine"] = sys.modules["mmcv"] = None; '
        'import mmrep, mmrep.ops, mmrep.compat.nms; '
        'assert "mmrep.models" not in sys.modules',
    ],
)
def test_importing_mmrep(code):
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
