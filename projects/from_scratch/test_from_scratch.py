"""The script on a made-up CamVid."""

import json
from pathlib import Path

import cv2
import mmseg
import numpy as np
import processes
import pytest
import torch

from mmrep.errors import UsageError
from projects.from_scratch import from_scratch

CONFIGS = Path(__file__).parent / 'configs'
SHORT = (
    'train_cfg.max_iters=2', 'train_cfg.val_interval=2',
    'param_scheduler.0.end=1', 'param_scheduler.1.begin=1',
    'param_scheduler.1.end=2', 'default_hooks.checkpoint.interval=2',
    'default_hooks.logger.interval=1', 'train_dataloader.batch_size=2',
)  # fmt: skip


@pytest.fixture(scope='module')
def camvid(tmp_path_factory):
    """Two images a split, one class on the left, one on the right."""
    root = tmp_path_factory.mktemp('camvid')
    rng = np.random.default_rng(0)
    labels = np.repeat([[3, 5]], 96, axis=0).repeat(64, axis=1)
    for split in ('train', 'val', 'test'):
        for kind in ('images', 'annotations'):
            (root / kind / split).mkdir(parents=True)
        for i in range(2):
            image = rng.integers(256, size=(96, 128, 3), dtype=np.uint8)
            cv2.imwrite(str(root / f'images/{split}/{i}.jpg'), image)
            path = root / f'annotations/{split}/{i}.png'
            cv2.imwrite(str(path), labels.astype(np.uint8))
    return root


@pytest.fixture
def call(monkeypatch, tmp_path):
    def run(*args):
        words = ['from_scratch.py', *map(str, args)]
        monkeypatch.setattr('sys.argv', [*words, '--out-dir', str(tmp_path)])
        from_scratch.main()

    return run


@pytest.mark.skipif(
    mmseg.__version__ == '1.2.2',
    reason='its weighted cross entropy fails where pixels are to be ignored',
)
@pytest.mark.slow
def test_train_choose_test_once(call, monkeypatch, camvid, tmp_path):
    """With the recipe's losses, augmentation and averaged weights."""

    def run(command, output):
        process = processes.start(command[1:], output, output)
        process.join()
        assert process.exitcode == 0, output.read_text()[-3000:]

    monkeypatch.setattr('projects.runs.run', run)
    small = (
        'model.backbone.arch.depths=[1,1,1,1]',
        'model.backbone.arch.channels=[8,8,8,8]',
        'model.backbone.arch.kernel_sizes=[7,7,5,5]',
        'model.decode_head.in_channels=[8,8,8,8]',
        'model.decode_head.channels=8',
        'model.auxiliary_head.in_channels=8',
        'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False',
    )
    config = CONFIGS / 'upernet_replknet-small_camvid.py'
    call(
        config, '--data-root', camvid, '--seed', 3,
        '--amp', 'bf16',
        '--cfg-options', *SHORT, *small,
    )  # fmt: skip
    result = json.loads((tmp_path / 'from_scratch.json').read_text())
    (row,) = result['rows']
    assert row['options']['randomness.seed'] == '3'
    assert row['chosen'] == 'best_mIoU_iter_2' and row['val']['step'] == 2
    for split in ('val', 'test', 'test --aug-test'):
        assert 0 <= row[split]['mIoU'] <= 100

    log = (tmp_path / f'{config.stem}_seed3.jsonl').read_text().splitlines()
    trained = [entry for entry in map(json.loads, log) if 'loss' in entry]
    assert [entry['step'] for entry in trained] == [1, 2]

    run = next(tmp_path.glob('upernet*/seed3'))
    saved = torch.load(run / 'best_mIoU_iter_2.pth', weights_only=False)
    assert 'ema_state_dict' in saved
    (log,) = (run / 'test_--aug-test').rglob('2*.log')
    assert 'TestTimeAug' in log.read_text()


@pytest.mark.parametrize(
    'args, text',
    [
        (['absent.py'], 'existing file'),
        (['upernet_swin-t_camvid.py',
          '--cfg-options', 'default_hooks.checkpoint.save_best=None'],
         'upernet_swin-t_camvid.py must keep the checkpoint'),
        (['upernet_swin-t_camvid.py', '--cfg-options', 'randomness.seed=7'],
         'must not set randomness.seed'),
    ],
)  # fmt: skip
def test_says_first_what_is_wrong(call, args, text):
    args = [CONFIGS / a if a.endswith('.py') else a for a in args]
    with pytest.raises(UsageError, match=text):
        call(*args, '--data-root', 'x')
