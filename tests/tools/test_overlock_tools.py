"""A small OverLoCK from training to its merged file, as a user runs it."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIG = """
_base_ = '{root}/configs/upernet_replknet-tiny_shapes.py'
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmrep.OverLoCK',
        arch=dict(
            channels=(8, 12, 16, 32),
            depths=(1, 1, 1, 1),
            kernel_sizes=(9, 7, 7, 5),
            focus_depths=(2, 1),
            focus_heads=(2, 4),
        ),
        with_cp=True,
    ),
    decode_head=dict(in_channels=[8, 12, 24, 40], channels=16),
    auxiliary_head=dict(in_channels=24, channels=8),
)
train_dataloader = dict(batch_size=2)
train_cfg = dict(max_iters=2, val_interval=2)
default_hooks = dict(checkpoint=dict(interval=2))
"""


def metric(run_tool, folder, *model):
    done = run_tool(ROOT / 'tools/test.py', *model, '--work-dir', folder)
    assert done.returncode == 0, done.stderr[-3000:]
    found = next(folder.glob('2*/2*.json'))
    return json.loads(found.read_text())['mIoU']


@pytest.mark.slow
def test_train_test_and_reparameterize(run_tool, shapes_root, tmp_path):
    config, work = tmp_path / 'overlock.py', tmp_path / 'work'
    config.write_text(CONFIG.format(root=ROOT))
    done = run_tool(
        ROOT / 'tools/train.py', config, '--work-dir', work,
        '--data-root', shapes_root,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    trained = work / 'overlock.py', work / 'iter_2.pth'
    merged = tmp_path / 'merged.pth'
    done = run_tool(ROOT / 'tools/reparameterize.py', *trained, merged)
    assert done.returncode == 0, done.stderr[-3000:]
    assert 'outputs differ by at most' in done.stdout
    before = metric(run_tool, tmp_path / 'before', *trained)
    after = metric(
        run_tool, tmp_path / 'after', merged.with_suffix('.py'), merged
    )
    assert before == pytest.approx(after, abs=0.02)
