"""tools/analysis/guidelines.py and from_scratch.py on a made-up CamVid."""

import importlib.util
import json
from pathlib import Path

import cv2
import mmseg
import numpy as np
import processes
import pytest
import torch

from mmrep.analysis.guidelines import TABLES
from mmrep.analysis.runs import Training
from mmrep.errors import UsageError

ROOT = Path(__file__).parents[2]
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


def load(name):
    path = ROOT / f'tools/analysis/{name}.py'
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def call(monkeypatch, tmp_path):
    def run(name, *args):
        words = [name, *map(str, args), '--out-dir', str(tmp_path)]
        monkeypatch.setattr('sys.argv', words)
        load(name).main()

    return run


def test_a_table(call, monkeypatch, tmp_path, capsys):
    """What it trains, in which order, and what it writes."""
    seen = []

    def train(training, script):
        assert script == ROOT / 'tools/train.py'
        seen.append(training)
        return {'mIoU': 30.0 + len(seen)}

    monkeypatch.setattr('mmrep.analysis.runs.train', train)
    args = ('guidelines', 5, '--data-root', 'data', '--seeds', 2)
    call(*args, '--cfg-options', 'train_cfg.max_iters=2')
    assert [str(t.work_dir.relative_to(tmp_path)) for t in seen] == [
        f'fcn_mobilenetv2_camvid-128x128/{key}/seed{seed}'
        for seed in (0, 1)
        for key in ('k3', 'last7_small3', 'last13_small3')
    ]
    assert seen[-1].options == {
        'model.backbone.kernel_sizes': '[3,3,3,3,3,3,13]',
        'model.backbone.small_kernel': '3',
        'model.backbone.shortcut': 'True',
        'train_cfg.max_iters': '2',
        'randomness.seed': '1',
    }
    assert seen[-1].data_root == Path('data')
    result = json.loads((tmp_path / 'guideline_5.json').read_text())
    assert [row['mIoU'] for row in result['rows']] == [
        [31, 34], [32, 35], [33, 36],
    ]  # fmt: skip
    assert result['rows'][0]['paper'] == [71.76, 72.31]
    assert result['cfg_options'] == {'train_cfg.max_iters': 2}
    text = (tmp_path / 'guideline_5.md').read_text()
    assert '| 3x3 | 32.50 ± 2.12 (2) | 71.76 | 72.31 |' in text
    assert text in capsys.readouterr().out
    assert (tmp_path / 'guideline_5.png').is_file()
    call(*args, '--full', '--rows', 'k3')
    assert [t.config.stem for t in seen[6:]] == ['fcn_mobilenetv2_camvid'] * 2


def test_report_of_what_is_finished(call, tmp_path):
    args = ('guidelines', 2, '--data-root', 'x', '--seeds', 2, '--report-only')
    with pytest.raises(UsageError, match='must hold a finished run'):
        call(*args)
    folder = tmp_path / 'fcn_mobilenetv2_camvid-128x128/k3'
    row = next(r for r in TABLES[2].rows if r.key == 'k3')
    for seed, metrics in enumerate([{'mIoU': 7.0}, None]):
        run = folder / f'seed{seed}'
        run.mkdir(parents=True)
        training = Training(
            ROOT / 'configs/fcn_mobilenetv2_camvid-128x128.py',
            run,
            {**row.options, 'randomness.seed': str(seed)},
            Path('x'),
        )
        record = {'run': training.identity(), 'metrics': metrics}
        (run / 'run.json').write_text(json.dumps(record))
    call(*args)
    result = json.loads((tmp_path / 'guideline_2.json').read_text())
    assert [(r['name'], r['mIoU']) for r in result['rows']] == [('3x3', [7.0])]


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

    monkeypatch.setattr('mmrep.analysis.runs.run', run)
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
    config = ROOT / 'configs/upernet_replknet-small_camvid.py'
    call(
        'from_scratch', config, '--data-root', camvid, '--seed', 3,
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
    scales = (run / 'test_--aug-test/output.txt').read_text()
    assert 'TestTimeAug' in scales


@pytest.mark.parametrize(
    'args, text',
    [
        ([1, '--report-only'], 'leave --report-only out'),
        ([2], 'needs --data-root'),
        ([2, '--data-root', 'x', '--seeds', 0], 'at least 1, got 0'),
        ([3, '--data-root', 'x', '--rows', 'k5'], r"\['k3', .*got \['k5'\]"),
        ([2, '--data-root', 'x', '--cfg-options', 'randomness.seed=7',
          'model.backbone.shortcut=True'],
         'leave model.backbone.shortcut, randomness.seed to'),
    ],
)  # fmt: skip
def test_wrong_arguments(call, args, text):
    with pytest.raises(UsageError, match=text):
        call('guidelines', *args)


@pytest.mark.parametrize(
    'args, text',
    [
        (['absent.py'], 'existing file'),
        (['upernet_replknet-tiny_camvid.py', 'fcn_mobilenetv2_camvid.py'],
         'fcn_mobilenetv2_camvid.py must keep the checkpoint'),
        (['fcn_mobilenetv2_camvid.py', '--cfg-options', 'randomness.seed=7'],
         'leave randomness.seed to --seed'),
    ],
)  # fmt: skip
def test_from_scratch_says_first_what_is_wrong(call, args, text):
    args = [ROOT / 'configs' / a if a.endswith('.py') else a for a in args]
    with pytest.raises(UsageError, match=text):
        call('from_scratch', *args, '--data-root', 'x')


def test_latency_of_small_stacks(call, tmp_path, monkeypatch):
    seen = []

    def stack_latency(size, kernel, batch, channels, clock):
        seen.append((size, kernel, batch, channels))
        return {'nn.Conv2d': 2, 'nn.Conv2d, channels_last': 3, 'mmrep': 1}

    monkeypatch.setattr(
        'mmrep.analysis.guidelines.stack_latency', stack_latency
    )
    call('guidelines', 1)
    result = json.loads((tmp_path / 'guideline_1.json').read_text())
    assert result['batch'] == 1 and (64, 31, 1, 64) in seen
    text = (tmp_path / 'guideline_1.md').read_text()
    assert 'mmrep faster by | 2.0 | 2.0' in text
    call('guidelines', 1, '--full')
    assert (64, 29, 64, 384) in seen
