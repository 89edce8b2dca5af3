"""Values that nothing reads, or that are read late."""

from pathlib import Path

import pytest

from mmrep.engine import load_config
from mmrep.engine.checks import check_config
from mmrep.errors import UsageError

CONFIGS = Path(__file__).parents[2] / 'configs'
SEGMENTOR = CONFIGS / 'upernet_replknet-tiny_shapes.py'
DETECTOR = CONFIGS / 'fcos_replknet-tiny_shapes.py'


@pytest.mark.parametrize(
    'config, options, notes',
    [
        (
            SEGMENTOR,
            {'optim_wrapper.optimizer.lr': 0},
            ['optim_wrapper.optimizer.lr is 0: the run changes no parameter'],
        ),
        (
            SEGMENTOR,
            {'optim_wrapper.clip_grad': dict(max_norm=0)},
            ['optim_wrapper.clip_grad.max_norm is 0: all gradients become 0'],
        ),
        (
            SEGMENTOR,
            {'model.auxiliary_head.loss_decode.loss_weight': 0.0},
            [
                'model.auxiliary_head learns nothing: the loss_weight of its '
                'loss is 0'
            ],
        ),
        (
            SEGMENTOR,
            {
                'model.decode_head.loss_decode': [
                    dict(type='CrossEntropyLoss', loss_weight=0),
                    dict(type='DiceLoss', loss_weight=0),
                ]
            },
            [
                'model.decode_head learns nothing: the loss_weight of each of '
                'its losses is 0'
            ],
        ),
        (DETECTOR, {'model.bbox_head.loss_cls.loss_weight': 0}, []),
    ],
    ids=['rate', 'norm', 'one', 'all', 'some'],
)
def test_parts_that_do_not_learn(config, options, notes):
    cfg = load_config(str(config), options)
    assert check_config(cfg, 'train') == notes
    assert check_config(cfg, 'test') == []


@pytest.mark.parametrize(
    'options, message',
    [
        (
            {'custom_hooks': [dict(type='EmptyCacheHook', priority='URGENT')]},
            'custom_hooks.0.priority must be one of HIGHEST, ',
        ),
        (
            {'default_hooks.timer.priority': 200},
            'default_hooks.timer.priority must be one of HIGHEST, ',
        ),
        (
            {'optim_wrapper.paramwise_cfg.norm_decay_mul': 0},
            "got 'norm_decay_mul'; did you mean 'norm_decay_mult'?",
        ),
        ({'model.test_cfg.max_per_img': 0}, 'is 0, which keeps none.'),
        (
            {'model.test_cfg.nms': dict(type='nms', iou_threshold=-1)},
            'nms.iou_threshold must be a number from 0 to 1, got -1.',
        ),
        ({'model.backbone.strides': [4, 0]}, '1 or more, got [4, 0].'),
        ({'val_evaluator.nan_to_num': 'x'}, "from 0 or -1, got 'x'."),
    ],
)
def test_values_that_are_ignored_or_read_late(options, message):
    cfg = load_config(str(SEGMENTOR))
    cfg.merge_from_dict(options)
    with pytest.raises(UsageError) as error:
        check_config(cfg, 'train')
    assert message in str(error.value)


def test_counts_that_are_not_a_list():
    cfg = load_config(str(DETECTOR))
    cfg.val_evaluator.proposal_nums = 3
    with pytest.raises(UsageError, match='must be three numbers with 100'):
        check_config(cfg, 'train')
