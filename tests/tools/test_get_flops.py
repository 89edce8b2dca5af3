"""tools/get_flops.py as a user runs it."""

import json
from pathlib import Path

import mmdet
import mmseg
import pytest

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools/get_flops.py'
ADE20K = ROOT / 'configs/upernet_replknet31b_ade20k.py'


def test_json_is_all_that_stdout_has(run_tool):
    """The paper's row: 112 M parameters, 1170 G at 2048x512."""
    done = run_tool(
        TOOL, ADE20K, '--shape', 512, 2048, '--deploy', '--json', fresh=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert set(found) == {'params', 'flops', 'parts'}
    assert round(found['params'] / 1e6) == 112
    assert found['flops'] == pytest.approx(1170e9, rel=0.02)
    assert set(found['parts']) == {'backbone', 'decode_head'}


def test_table_of_a_bare_backbone(run_tool, tmp_path):
    config = tmp_path / 'backbone.py'
    config.write_text("model = dict(type='mmrep.RepLKNet', arch='31B')\n")
    done = run_tool(
        TOOL, config, '--shape', 224, 224,
        '--cfg-options', 'model.out_indices="[0,1]"',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert 'backbone' in done.stdout and 'total' in done.stdout
    assert 'multiply-adds' in done.stdout
    # two stages of four
    total = next(x for x in done.stdout.splitlines() if 'total' in x)
    assert float(total.split()[1]) < 10


@pytest.mark.slow
def test_model_that_looks_at_values(run_tool):
    """Mask2Former on ADE20K, published with 44 M parameters and 71 G."""
    configs = Path(mmseg.__file__).parent / '.mim/configs'
    name = 'mask2former/mask2former_r50_8xb2-160k_ade20k-512x512.py'
    done = run_tool(TOOL, configs / name, '--shape', 512, 512, '--json')
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert round(found['params'] / 1e6) == 44
    assert found['flops'] == pytest.approx(71e9, rel=0.02)


def test_model_that_needs_annotations(run_tool):
    configs = Path(mmdet.__file__).parent / '.mim/configs'
    name = 'condinst/condinst_r50_fpn_ms-poly-90k_coco_instance.py'
    done = run_tool(TOOL, configs / name, '--shape', 64, 64)
    assert done.returncode == 1 and done.stdout == ''
    assert 'error: CondInst cannot take an image' in done.stderr


def test_wrong_shape(run_tool):
    done = run_tool(TOOL, ADE20K, '--shape', 0, 64)
    assert done.returncode == 1 and done.stdout == ''
    assert done.stderr.splitlines()[-1].startswith('error: --shape')
    assert 'got 0 64' in done.stderr


def test_deploy_needs_a_deploy_form(run_tool, tmp_path):
    config = tmp_path / 'resnet.py'
    config.write_text("model = dict(type='mmdet.ResNet', depth=18)\n")
    done = run_tool(TOOL, config, '--shape', 64, 64, '--deploy', '--json')
    assert done.returncode == 1 and done.stdout == ''
    assert 'error: --deploy needs a backbone' in done.stderr
    assert 'ResNet' in done.stderr
