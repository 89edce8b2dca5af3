"""Test tools/run.py with tools of MMDetection and MMSegmentation."""

import json
import pickle
from pathlib import Path

import pytest
import torch

from mmrep.deploy import build_model
from mmrep.engine import load_config

ROOT = Path(__file__).parents[2]
RUN = ROOT / 'tools/run.py'


@pytest.fixture(scope='module')
def detector(tmp_path_factory, shapes_root):
    """Config and checkpoint of a detector that finds something."""
    folder = tmp_path_factory.mktemp('detector')
    config, checkpoint = folder / 'small.py', folder / 'small.pth'
    data = (
        'dict(num_workers=0, persistent_workers=False, '
        f"dataset=dict(data_root='{shapes_root}'))"
    )
    annotations = f'{shapes_root}/annotations/instances_validation.json'
    config.write_text(
        "_base_ = 'mmrep::fcos_replknet-tiny_shapes.py'\n"
        'model = dict(backbone=dict(arch=dict(depths=[1, 1, 1, 1],\n'
        '    kernel_sizes=[13, 9, 7, 5])))\n'
        f'train_dataloader = test_dataloader = {data}\n'
        f"test_evaluator = dict(ann_file='{annotations}')\n"
    )
    torch.manual_seed(0)
    model = build_model(load_config(str(config)))
    model.bbox_head.conv_cls.bias.data.fill_(1)
    torch.save(dict(state_dict=model.state_dict(), meta={}), checkpoint)
    return config, checkpoint


@pytest.fixture(scope='module')
def results(run_tool, detector, tmp_path_factory):
    """What MMDetection's test.py writes, and what it says."""
    folder = tmp_path_factory.mktemp('results')
    done = run_tool(
        RUN, 'mmdet::test', *detector, '--out', folder / 'results.pkl',
        '--work-dir', folder, cwd=folder, fresh=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / 'results.pkl', done.stdout + done.stderr


@pytest.mark.slow
def test_their_test(results):
    path, log = results
    assert 'coco/bbox_mAP' in log
    with open(path, 'rb') as file:
        samples = pickle.load(file)
    assert len(samples) == 6
    assert all(len(sample['pred_instances']['scores']) for sample in samples)


@pytest.mark.slow
def test_confusion_matrix(run_tool, detector, results, tmp_path):
    done = run_tool(
        RUN, 'mmdet::analysis_tools/confusion_matrix.py',
        detector[0], results[0], tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / 'confusion_matrix.png').is_file()


@pytest.mark.slow
def test_analyze_results(run_tool, detector, results, tmp_path):
    done = run_tool(
        RUN, 'mmdet::analysis_tools/analyze_results',
        detector[0], results[0], tmp_path, '--topk', 2,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(list((tmp_path / 'good').iterdir())) == 2


@pytest.mark.slow
@pytest.mark.parametrize('package', ['mmdet', 'mmseg'])
def test_browse_dataset(
    package, run_tool, detector, small_segmentor, shapes_root, tmp_path
):
    config = tmp_path / 'config.py'
    base = detector[0] if package == 'mmdet' else small_segmentor[0]
    config.write_text(
        f"_base_ = '{base}'\n"
        f"train_dataloader = dict(dataset=dict(data_root='{shapes_root}'))\n"
    )
    out = tmp_path / 'out'
    done = run_tool(
        RUN, f'{package}::analysis_tools/browse_dataset',
        config, '--not-show', '--output-dir', out,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(list(out.rglob('*.*'))) == 16


def test_own_script(run_tool, tmp_path):
    """Its arguments, folder, name and exit status are as Python's."""
    (tmp_path / 'beside.py').write_text('VALUE = 3')
    script = tmp_path / 'own.py'
    script.write_text(
        'import json, sys, beside\n'
        'print(json.dumps([sys.argv, __file__, __name__, beside.VALUE,\n'
        "    'mmrep.models' in sys.modules]))\n"
        'sys.exit(5)\n'
    )
    done = run_tool(RUN, script, '--x', 'y', cwd=tmp_path, fresh=True)
    assert done.returncode == 5
    assert json.loads(done.stdout) == [
        [str(script), '--x', 'y'], str(script), '__main__', 3, True
    ]  # fmt: skip


@pytest.mark.parametrize(
    'tool, line',
    [
        ('absent.py', 'the tool must be an existing file or PACKAGE::NAME'),
        ('torch::x', 'the package of a tool must be mmdet, mmseg or mmrep'),
        ('mmdet::tset', 'did you mean mmdet::test?'),
        (
            'mmdet::confusion_matrix',
            'did you mean mmdet::analysis_tools/confusion_matrix?',
        ),
        ('mmseg::zebra', 'its tools are in '),
    ],
)
def test_wrong_tool(run_tool, tool, line):
    done = run_tool(RUN, tool)
    assert done.returncode == 1
    assert done.stderr.startswith('error: ') and line in done.stderr
    assert len(done.stderr.splitlines()) == 1
