"""A backend is a file and a line, and the package needs PyTorch alone."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import mmrep.ops
from mmrep.ops.backends import BACKENDS, OWNER

ROOT = Path(mmrep.ops.__file__).parent

TOY = """
from .base import Backend
from . import native


class Toy(Backend):
    name = 'toy'
    algorithms = ('toy_sum',)

    def why_not(self, device, dtype):
        return None if device == 'cpu' else 'runs on the CPU'

    def cost(self, problem, direction, algorithm):
        return 1e-3

    def forward(self, x, weight, bias, relu, algorithm, reuse):
        print('toy', algorithm, reuse)
        out = native.BACKEND.forward(
            x, weight, bias, relu, 'direct_nchw', reuse
        )[0]
        kept = (x.clone(), weight.clone())
        return out, *(kept if reuse == 'keep' else self.empty_kept(x, weight))

    def can_keep(self, problem):
        return True

    def backward(self, grad, x, weight, input_by, weight_by, *kept):
        print('toy', input_by, weight_by, kept[0] is not None)
        return native.BACKEND.backward(
            grad,
            x,
            weight,
            input_by and 'direct_nchw',
            weight_by and 'transposed_nchw',
            *kept,
        )


BACKEND = Toy()
"""

USE = """
import torch
import torch.nn.functional as F
import ops

x = torch.randn(1, 3, 24, 24, requires_grad=True)
layer = ops.DepthwiseConv2d(3, 3, 13, padding=6, groups=3)
said = ops.explain(x, layer.weight)
assert said['toy'] == 'can run', said
assert said['auto'].startswith('forward by toy_sum (about 0.001 ms)'), said
if not torch.cuda.is_available():
    able, *others = ops.backend_report().split('; ')
    assert able.startswith('large-kernel backends on cpu: native, '), able
    assert able.endswith(', toy'), able
    assert others in (
        [],
        ['triton cannot run because it needs a CUDA device'],
        [
            'triton cannot run because Triton is not installed '
            '(pip install triton)'
        ],
    ), others
assert ops.available_backends('cpu')[-1] == 'toy'
out = layer(x)
want = F.conv2d(x, layer.weight, layer.bias, padding=6, groups=3)
torch.testing.assert_close(out, want)
grad = torch.randn_like(out)
for a, b in zip(
    torch.autograd.grad(out, (x, layer.weight), grad),
    torch.autograd.grad(want, (x, layer.weight), grad),
):
    torch.testing.assert_close(a, b)
with torch.no_grad():
    ops.depthwise_conv2d(x, layer.weight, backend='toy')
    compiled = torch.compile(layer, fullgraph=True, backend='aot_eager')
    with ops.use_backend('toy'):
        compiled(x)
    with ops.use_backend('fft'):
        compiled(x)
try:
    meta = torch.empty(1, 3, 9, 9, device='meta')
    ops.depthwise_conv2d(meta, meta[0, :, None], backend='toy')
except NotImplementedError as error:
    print(error)
"""


def run(code, path):
    return subprocess.run(
        [sys.executable, '-c', code],
        cwd=path,
        capture_output=True,
        text=True,
        env={'PATH': '', 'OMP_NUM_THREADS': '1'},
    )


@pytest.mark.slow
def test_a_new_backend_is_a_file_and_a_line(tmp_path):
    shutil.copytree(ROOT, tmp_path / 'ops')
    backends = tmp_path / 'ops/backends'
    (backends / 'toy.py').write_text(TOY)
    init = backends / '__init__.py'
    text = init.read_text()
    text = text.replace('fft, native, triton', 'fft, native, toy, triton')
    last = '        triton.BACKEND,\n'
    assert text.count(last) == 1
    init.write_text(text.replace(last, last + '        toy.BACKEND,\n'))
    done = run(USE, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        'toy toy_sum keep',
        'toy toy_sum toy_sum True',
        'toy toy_sum cache',
        'toy toy_sum cache',
        "backend 'toy' cannot run here: runs on the CPU.",
    ]


def test_no_two_backends_share_an_algorithm():
    names = [name for b in BACKENDS.values() for name in b.algorithms]
    assert sorted(names) == sorted(OWNER)


def test_only_its_own_file_knows_a_backend_by_name():
    for path in ROOT.rglob('*.py'):
        name = path.stem.partition('_')[0]
        if name in BACKENDS or name == 'coefficients':
            continue
        lines = path.read_text().splitlines()
        for other in set(BACKENDS) - {'native'}:
            for line in lines:
                named = f"'{other}'" in line.replace('"', "'")
                assert not named or "'native'" in line, (path, line)


def test_the_package_needs_pytorch_alone(tmp_path):
    code = """
import sys

for name in ('mmengine', 'mmcv', 'mmseg', 'mmdet', 'triton', 'numpy'):
    sys.modules[name] = None
import torch
from mmrep.ops import DepthwiseConv2d, available_backends

layer = DepthwiseConv2d(3, 3, 31, padding=15, groups=3)
assert layer(torch.randn(1, 3, 40, 40)).shape == (1, 3, 40, 40)
assert available_backends('cpu') == ('native', 'fft')
"""
    done = run(code, ROOT.parents[1])
    assert done.returncode == 0, done.stderr
