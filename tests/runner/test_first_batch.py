"""What fails as a run starts is said in one line, with the part's name."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.runner import Runner

from mmrep.deploy import build_model
from mmrep.engine import load_config, set_data_root
from mmrep.errors import UsageError
from mmrep.runner.first_batch import explained_start, try_prediction

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / 'configs'
SEGMENTOR = CONFIGS / 'upernet_replknet-tiny_shapes.py'
DETECTOR = CONFIGS / 'fcos_replknet-tiny_shapes.py'
SMALL = {
    'model.backbone.arch.channels': [8, 8, 8, 8],
    'model.backbone.arch.depths': [1, 1, 1, 1],
    'model.backbone.arch.kernel_sizes': [7, 7, 5, 5],
    'train_dataloader.num_workers': 0,
    'train_dataloader.batch_size': 2,
    'val_dataloader.num_workers': 0,
}
HEADS = {
    'model.decode_head.in_channels': [8, 8, 8, 8],
    'model.auxiliary_head.in_channels': 8,
}
FPN = {'model.neck.in_channels': [8, 8, 8, 8]}
TRACEBACK = '; the traceback is in '


@pytest.mark.parametrize(
    'config, options, message',
    [
        (
            SEGMENTOR,
            {**HEADS, 'model.decode_head.pool_scales': [0, 1]},
            'the model cannot predict for val_dataloader: model.decode_head '
            '(UPerHead) fails with RuntimeError: ',
        ),
        (
            SEGMENTOR,
            {
                'model.backbone.arch.channels': [16, 8, 8, 8],
                'model.decode_head.in_channels': [16, 8, 8, 8],
                'model.auxiliary_head.in_channels': 8,
                'model.auxiliary_head.in_index': 0,
            },
            'the run stops at the first batch of train_dataloader: a '
            'layer of model.auxiliary_head (FCNHead) takes 8 channels but '
            'gets 16: in_channels of',
        ),
        (
            SEGMENTOR,
            {**HEADS, 'custom_hooks': [dict(type='EMAHook', foo=1)]},
            'the run cannot start: custom_hooks.0 (EMAHook) fails with '
            'TypeError: ExponentialMovingAverage.__init__() got an '
            "unexpected keyword argument 'foo'; ",
        ),
        (
            DETECTOR,
            {**FPN, 'model.neck.start_level': 9},
            'the model cannot predict for val_dataloader: model.neck (FPN) '
            'fails with IndexError: list index out of range at '
            "'extra_source = outs[-1]' (fpn.py); ",
        ),
        (
            DETECTOR,
            {**FPN, 'model.bbox_head.strides': [8, 16]},
            'model.bbox_head.regress_ranges must have a range for each of 2 '
            'strides (model.bbox_head.strides), got 3.',
        ),
        (
            DETECTOR,
            {**FPN, 'model.bbox_head.regress_ranges': 3},
            'model.bbox_head.regress_ranges must have a range for each of 3 '
            'strides (model.bbox_head.strides), got 3.',
        ),
        (
            DETECTOR,
            {**FPN, 'model.neck.num_outs': 4},
            'model.bbox_head must have a stride for each of 4 maps of the '
            'neck (model.neck.num_outs), got 3.',
        ),
    ],
    ids=[
        'scales',
        'channels',
        'hook',
        'level',
        'ranges',
        'no-list',
        'strides',
    ],
)
def test_values_read_late(
    run_tool, shapes_root, tmp_path, config, options, message
):
    done = run_tool(
        ROOT / 'tools/train.py', config, '--data-root', shapes_root,
        '--work-dir', tmp_path, '--cfg-options',
        *(f'{key}={value!r}'.replace(' ', '')
          for key, value in {**SMALL, **options}.items()),
    )  # fmt: skip
    text = done.stdout + done.stderr
    assert done.returncode == 1 and 'Traceback' not in text, text[-3000:]
    line = done.stderr.splitlines()[-1]
    assert line.startswith(f'error: {message}')
    log = next(tmp_path.glob('2*/*.log'))
    assert (TRACEBACK in line) == ('Traceback' in log.read_text())
    assert TRACEBACK not in line or line.endswith(f'{TRACEBACK}{log}.')


@pytest.fixture
def runner(shapes_root, tmp_path):
    cfg = load_config(str(SEGMENTOR), {**SMALL, **HEADS})
    set_data_root(cfg, str(shapes_root))
    runner = Runner(
        build_model(cfg),
        str(tmp_path),
        val_dataloader=cfg.val_dataloader,
        val_evaluator=cfg.val_evaluator,
        val_cfg={},
        default_scope='mmseg',
    )
    runner.cfg.model = cfg.model
    return runner


def test_a_prediction_changes_nothing(runner):
    model = runner.model.train()
    model.backbone.stages[0].eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    modes = [m.training for m in model.modules()]

    def numbers():
        return random.random(), np.random.rand(), torch.rand(1).item()

    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    expected = numbers()
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])
    calls = []
    model.backbone.register_forward_hook(
        lambda backbone, *_: calls.append(backbone.training)
    )
    try_prediction(runner)
    assert calls == [False]
    assert numbers() == expected
    assert [m.training for m in model.modules()] == modes
    after = model.state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items())


def test_errors_that_say_what_to_do_stay(runner):
    with pytest.raises(UsageError, match='^known$'):
        with explained_start(runner, 'it fails'):
            raise UsageError('known')
    with pytest.raises(OSError, match='No space left'):
        with explained_start(runner, 'it fails'):
            raise OSError(28, 'No space left on device')
    with pytest.raises(UsageError) as error:
        with explained_start(runner, 'it fails'):
            runner.model.decode_head.loss_decode(torch.zeros(1), None)
    assert str(error.value).startswith(
        'it fails: model.decode_head.loss_decode (CrossEntropyLoss) fails '
    )
