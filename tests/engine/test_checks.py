"""What a config alone says of a run that would fail."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import LinearLR

from mmrep.engine import check_data, load_config
from mmrep.engine.checks import check_config, metric_names
from mmrep.errors import UsageError

CONFIGS = Path(__file__).parents[2] / 'configs'
SEGMENTOR = CONFIGS / 'upernet_replknet-tiny_shapes.py'
DETECTOR = CONFIGS / 'fcos_replknet-tiny_shapes.py'
CASCADE = CONFIGS / 'cascade-mask-rcnn_replknet-tiny_shapes.py'
# without classifiers, and without what needs MMPretrain
RUNS = [
    config
    for config in sorted(CONFIGS.glob('*.py'))
    if not config.name.startswith(('classifier', 'upernet_convnext'))
]


@pytest.mark.parametrize('config', RUNS, ids=lambda c: c.stem)
def test_configs_pass(config):
    cfg = load_config(str(config))
    for mode in ('train', 'test'):
        assert check_config(cfg, mode) == []


@pytest.mark.parametrize(
    'key, value, message',
    [
        ('train_cfg.max_iters', -5, 'a whole number from 1, got -5'),
        ('train_cfg.max_iters', 2.5, 'a whole number from 1, got 2.5'),
        ('train_cfg.max_iters', True, 'a whole number from 1, got True'),
        ('train_cfg.val_interval', 0, 'a whole number from 1, got 0'),
        ('train_cfg.val_begin', 'x', "a whole number from 0, got 'x'"),
        ('optim_wrapper.optimizer.lr', 'fast', "number from 0, got 'fast'"),
        ('optim_wrapper.optimizer.lr', float('nan'), 'from 0, got nan'),
        ('optim_wrapper.optimizer.weight_decay', -1, 'number from 0, got -1'),
        ('optim_wrapper.clip_grad.max_norm', 'x', "number from 0, got 'x'"),
        ('optim_wrapper.accumulative_counts', 0, 'from 1, got 0'),
        ('default_hooks.checkpoint.interval', 0, 'from 1 or -1, got 0'),
        ('default_hooks.logger.interval', 0, 'from 1, got 0'),
        ('param_scheduler.0.end', 'x', "from 1, got 'x'"),
        ('param_scheduler.1.end', -5, 'from 1, got -5'),
        ('train_cfg.max_iters', None, 'a whole number from 1, got None'),
        ('optim_wrapper.optimizer.lr', None, 'a number from 0, got None'),
        ('default_hooks.checkpoint.interval', None, 'or -1, got None'),
        ('train_dataloader.batch_size', 0, 'from 1, got 0'),
        ('val_dataloader.batch_size', None, 'from 1, got None'),
        ('val_dataloader.num_workers', -1, 'from 0, got -1'),
        ('train_dataloader.prefetch_factor', 0, 'from 1, got 0'),
        ('randomness.seed', 'x', "from 0, got 'x'"),
        ('auto_scale_lr.base_batch_size', 0, 'from 1, got 0'),
    ],
)
def test_numbers(key, value, message):
    cfg = load_config(str(SEGMENTOR))
    cfg.merge_from_dict({key: value})
    with pytest.raises(UsageError) as error:
        check_config(cfg, 'train')
    assert str(error.value) == f'{key} must be {message}.' or (
        str(error.value).startswith(f'{key} must be ')
        and str(error.value).endswith(f'{message}.')
    )


@pytest.mark.parametrize(
    'line, message',
    [
        ('log_level = "LOUD"', 'log_level must be one of DEBUG, INFO,'),
        ('load_from = 3', 'load_from must be a word, got 3.'),
        ('compile = "x"', 'compile must be True, False or a dict such as'),
        ('log_processor = dict(window_size="x")', 'log_processor.window_size'),
        (
            'model = dict(decode_head=dict(loss_decode=dict(loss_weight="")))',
            'model.decode_head.loss_decode.loss_weight must be a number, got',
        ),
        (
            'model = dict(decode_head=dict(loss_decode=dict(loss_weight=-1)))',
            'model.decode_head.loss_decode.loss_weight must be 0 or more, got',
        ),
    ],
)
def test_words_and_numbers_of_a_file(tmp_path, line, message):
    path = tmp_path / 'own.py'
    path.write_text(f"_base_ = '{SEGMENTOR}'\n{line}\n")
    with pytest.raises(UsageError) as error:
        check_config(load_config(str(path)), 'train')
    assert str(error.value).startswith(message)


def test_number_within_a_list():
    cfg = load_config(
        str(SEGMENTOR), {'train_cfg.dynamic_intervals': [(5, 0)]}
    )
    with pytest.raises(UsageError, match=r'dynamic_intervals\.0\.1 must be'):
        check_config(cfg, 'train')


def test_numbers_that_mean_never():
    options = {
        'default_hooks.checkpoint.interval': -1,
        'default_hooks.checkpoint.max_keep_ckpts': -1,
        'optim_wrapper.optimizer.weight_decay': 0,
    }
    assert check_config(load_config(str(SEGMENTOR), options), 'train') == []


def test_numbers_that_may_be_absent():
    cfg = load_config(str(SEGMENTOR))
    cfg.randomness.seed = None
    cfg.val_dataloader = cfg.val_evaluator = cfg.val_cfg = None
    cfg.default_hooks.checkpoint.save_best = None
    cfg.train_cfg.val_interval = None
    assert check_config(cfg, 'train') == []


@pytest.mark.parametrize(
    'key, value, message',
    [
        ('model.decode_head.channels', 0, '1 or more, got 0.'),
        ('model.decode_head.num_classes', -1, '1 or more, got -1.'),
        (
            'model.decode_head.in_channels',
            [32, 64, 0, 128],
            '1 or more, got [32, 64, 0, 128].',
        ),
        (
            'model.data_preprocessor.std',
            [0, 0, 0],
            'above 0, got [0, 0, 0].',
        ),
        ('train_dataloader.dataset.indices', 0, 'or a list of them, got 0.'),
        (
            'train_dataloader.dataset.pipeline',
            [],
            'transforms that load and pack a sample, got [].',
        ),
        (
            'train_dataloader.dataset',
            dict(type='RepeatDataset', times=0, _delete_=True, dataset={}),
            'a whole number from 1, got 0.',
        ),
        ('work_dir', '', "a folder, got ''."),
        (
            'model.test_cfg.nms',
            dict(type='foo'),
            "an NMS of mmcv, 'nms' or 'soft_nms', got 'foo'.",
        ),
    ],
)
def test_numbers_that_are_read_late(key, value, message):
    cfg = load_config(str(SEGMENTOR))
    cfg.merge_from_dict({key: value})
    with pytest.raises(UsageError) as error:
        check_config(cfg, 'train')
    place, _, text = str(error.value).partition(' must ')
    assert place in (key, f'{key}.times', f'{key}.type') and text.endswith(
        message
    )


def test_metrics_of_one_name():
    cfg = load_config(str(SEGMENTOR))
    cfg.val_evaluator = [dict(type='IoUMetric'), dict(type='IoUMetric')]
    with pytest.raises(UsageError) as error:
        check_config(cfg, 'train')
    assert str(error.value) == (
        'val_evaluator has metrics that give aAcc twice; set another prefix '
        'in one of them.'
    )
    cfg.val_evaluator[1].prefix = 'other'
    check_config(cfg, 'train')


def test_one_evaluator_and_several():
    cfg = load_config(str(SEGMENTOR))
    cfg.val_evaluator.iou_metrics = ['foo']
    for key in ('val_evaluator', 'val_evaluator.0'):
        with pytest.raises(UsageError, match=rf'^{key}\.iou_metrics must'):
            check_config(cfg, 'train')
        cfg.val_evaluator = [cfg.val_evaluator]


@pytest.mark.parametrize(
    'config, options, message',
    [
        (
            SEGMENTOR,
            {'optim_wrapper.optimizer.type': 'Adamm'},
            "known optimizer, got 'Adamm'; did you mean 'Adam'",
        ),
        (
            SEGMENTOR,
            {'param_scheduler.0.type': 'Polly'},
            "known parameter scheduler, got 'Polly'; did you mean 'PolyLR'",
        ),
        (
            SEGMENTOR,
            {'default_hooks.checkpoint.save_best': 'mIou'},
            "aAcc, mIoU, mAcc; got 'mIou'; did you mean 'mIoU'",
        ),
        (
            SEGMENTOR,
            {'default_hooks.checkpoint.save_best': ['mIoU', 'mDice']},
            "aAcc, mIoU, mAcc; got 'mDice'",
        ),
        (
            SEGMENTOR,
            {
                'val_evaluator.prefix': 'val',
                'default_hooks.checkpoint.save_best': 'mIoU',
            },
            "val/aAcc, val/mIoU, val/mAcc; got 'mIoU'",
        ),
        (
            SEGMENTOR,
            {
                'param_scheduler.1': dict(
                    type='ReduceOnPlateauLR', _delete_=True
                )
            },
            "param_scheduler.1.monitor must be .* got 'loss'",
        ),
        (
            SEGMENTOR,
            {
                'custom_hooks': [
                    dict(type='EarlyStoppingHook', monitor='mDice')
                ]
            },
            'custom_hooks.0.monitor must be a metric of val_evaluator',
        ),
        (
            SEGMENTOR,
            {
                'val_dataloader': None,
                'val_cfg': None,
                'val_evaluator': None,
                'default_hooks.checkpoint.save_best': 'mIoU',
            },
            "save_best is 'mIoU', but the config has no validation",
        ),
        (
            SEGMENTOR,
            {'val_evaluator.iou_metrics': ['mIoU', 'foo']},
            "val_evaluator.iou_metrics must be one of mIoU, .* got 'foo'",
        ),
        (
            SEGMENTOR,
            {'train_dataloader.dataset': [dict(type='A'), dict(type='B')]},
            'must be one data set, got a list of 2',
        ),
        (
            DETECTOR,
            {'val_evaluator.metric': 'segm'},
            "has 'segm', but the model has no mask head",
        ),
        (
            CASCADE,
            {'model.roi_head.mask_head': None},
            "has 'segm', but the model has no mask head",
        ),
        (
            DETECTOR,
            {'val_evaluator.metric': 'box'},
            "must be one of bbox, segm, proposal, proposal_fast; got 'box'",
        ),
        (
            DETECTOR,
            {'val_evaluator.metric_items': ['mAP', 'foo']},
            "metric_items must be one of mAP, .* got 'foo'",
        ),
        (
            DETECTOR,
            {'val_evaluator.proposal_nums': [1, 10]},
            'must be three numbers with 100 among them',
        ),
        (
            DETECTOR,
            {
                'val_evaluator': dict(
                    _delete_=True, type='VOCMetric', metric='AP'
                )
            },
            "must be one of mAP, recall; got 'AP'",
        ),
        (
            SEGMENTOR,
            {'val_dataloader.dataset.pipeline.1': dict(type='RandomFlip')},
            r'val_dataloader\.dataset\.pipeline\.1 is RandomFlip, which is '
            'for training',
        ),
        (
            DETECTOR,
            {'val_evaluator.ann_file': None},
            'val_evaluator.ann_file must be the annotation file of val_data',
        ),
        (
            SEGMENTOR,
            {'default_hooks.checkpoint.out_dir': __file__},
            f'default_hooks.checkpoint.out_dir must be a folder .*{__file__}',
        ),
        (
            SEGMENTOR,
            {'compile': dict(backend='nope')},
            "compile.backend must be one of .*inductor.*, got 'nope'",
        ),
        (
            SEGMENTOR,
            {'val_evaluator': []},
            'val_evaluator must have a metric, got none',
        ),
        (
            SEGMENTOR,
            {'val_evaluator.iou_metrics': []},
            'must have some of mIoU, mDice, mFscore; got none',
        ),
        (
            SEGMENTOR,
            {'val_evaluator': None},
            'val_dataloader, val_cfg and val_evaluator must either all be '
            'set or all be None; val_evaluator is None',
        ),
        (
            SEGMENTOR,
            {'train_cfg': None},
            'and optim_wrapper must either all be set .* train_cfg is None',
        ),
        (
            SEGMENTOR,
            {'model.data_preprocessor': None},
            'must be set, e.g. .*SegDataPreProcessor.*, but is None',
        ),
        (
            DETECTOR,
            {'model.data_preprocessor': None},
            'must be set, e.g. .*DetDataPreprocessor.*, but is None',
        ),
        (
            SEGMENTOR,
            {'default_hooks.checkpoint.by_epoch': True},
            'checkpoint.by_epoch must be False .* would not save before',
        ),
        (
            SEGMENTOR,
            {'param_scheduler.1.by_epoch': True},
            r'param_scheduler\.1\.by_epoch must be False .* learning rate',
        ),
        (
            SEGMENTOR,
            {
                'optim_wrapper.constructor': (
                    'LearningRateDecayOptimizerConstructor'
                )
            },
            "ConvNeXt and ViT, .* 'mmrep.LayerDecayOptimWrapper",
        ),
        (
            SEGMENTOR,
            {'custom_hooks': [dict(type='EMAHook', momentum=2)]},
            r'custom_hooks\.0\.momentum must be between 0 and 1, .* got 2',
        ),
        (
            DETECTOR,
            {
                'val_evaluator': dict(
                    _delete_=True, type='VOCMetric', scale_ranges=[(0, 32)]
                )
            },
            'val_evaluator.scale_ranges must be None',
        ),
        (
            DETECTOR,
            {
                'val_evaluator': dict(
                    _delete_=True, type='VOCMetric', iou_thrs=(0.5, 50)
                )
            },
            'val_evaluator.iou_thrs must be numbers from 0 to 1, got 50',
        ),
        (
            DETECTOR,
            {'val_evaluator.iou_thrs': ['half']},
            "val_evaluator.iou_thrs must be numbers from 0 to 1, got 'half'",
        ),
        (
            DETECTOR,
            {'val_evaluator': dict(_delete_=True, type='VOCMetric')},
            "pascal_voc/mAP, pascal_voc/AP50; got 'coco/bbox_mAP'",
        ),
    ],
)
def test_names(config, options, message):
    cfg = load_config(str(config), options)
    with pytest.raises(UsageError, match=message):
        check_config(cfg, 'train')


@pytest.mark.parametrize(
    'evaluator, names',
    [
        (
            dict(type='IoUMetric', iou_metrics=['mDice', 'mFscore']),
            'aAcc mDice mAcc mFscore mPrecision mRecall',
        ),
        (
            dict(type='CocoMetric', metric='proposal_fast'),
            'coco/AR@100 coco/AR@300 coco/AR@1000',
        ),
        (
            dict(type='CocoMetric', metric_items=['mAP_50'], prefix='a'),
            'a/bbox_mAP_50',
        ),
        (
            dict(type='VOCMetric', iou_thrs=[0.5, 0.75]),
            'pascal_voc/mAP pascal_voc/AP50 pascal_voc/AP75',
        ),
        (
            dict(type='VOCMetric', metric='recall', proposal_nums=(10,)),
            'pascal_voc/recall@10@0.5',
        ),
        (
            dict(type='mmrep.TopKAccuracy', topk=(1, 3)),
            'accuracy/top1 accuracy/top3',
        ),
        (dict(type='IoUMetric', format_only=True), ''),
    ],
)
def test_metric_names(evaluator, names):
    cfg = Config(dict(val_evaluator=evaluator))
    assert metric_names(cfg) == names.split()


@pytest.mark.parametrize(
    'evaluator',
    [
        dict(type='Mine'),
        dict(type='CocoMetric', classwise=True, ann_file='a.json'),
    ],
)
def test_names_that_are_not_known_are_not_refused(evaluator):
    cfg = load_config(str(SEGMENTOR), {'val_evaluator': [evaluator]})
    cfg.default_hooks.checkpoint.save_best = 'anything'
    assert check_config(cfg, 'train') == []


@pytest.mark.parametrize('value', [0.5, 1, (0.5, 0.75), [0.5, 0.75]])
def test_thresholds_of_voc(value):
    """MMDetection fails with others than a float or a list at the end."""
    cfg = load_config(str(DETECTOR))
    cfg.val_evaluator = dict(type='VOCMetric', iou_thrs=value)
    cfg.default_hooks.checkpoint.save_best = None
    check_config(cfg, 'train')
    assert isinstance(cfg.val_evaluator.iou_thrs, list)


@pytest.mark.parametrize(
    'options, text',
    [
        ({'train_dataloader.sampler': None}, 'has no sampler'),
        ({'train_dataloader.sampler.shuffle': False}, 'shuffle is False'),
    ],
)
def test_order_of_samples_is_said(options, text):
    (note,) = check_config(load_config(str(SEGMENTOR), options), 'train')
    assert text in note


def test_warm_up_of_one_step_is_said():
    """As MMEngine does it, which test_one_step_of_warm_up shows."""
    cfg = load_config(str(SEGMENTOR), {'param_scheduler.0.end': 1})
    (note,) = check_config(cfg, 'train')
    assert note.startswith('param_scheduler.0 has one step, which leaves the')
    cfg.param_scheduler[0].end = 2
    assert check_config(cfg, 'train') == []


@pytest.mark.parametrize('end, rate', [(1, 0.001), (2, 1.0)])
def test_one_step_of_warm_up(end, rate):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    warm_up = LinearLR(
        optimizer, start_factor=0.001, begin=0, end=end, by_epoch=False
    )
    for _ in range(5):
        optimizer.step()
        warm_up.step()
    assert optimizer.param_groups[0]['lr'] == pytest.approx(rate)


def test_plateau_is_looked_for_after_validation():
    """By epochs, in a loop of iterations too."""
    cfg = load_config(str(SEGMENTOR))
    cfg.param_scheduler = [dict(type='ReduceOnPlateauLR', monitor='mIoU')]
    assert check_config(cfg, 'train') == []


def test_loader_without_workers():
    cfg = load_config(
        str(SEGMENTOR),
        {
            'train_dataloader.num_workers': 0,
            'train_dataloader.persistent_workers': True,
            'train_dataloader.prefetch_factor': 2,
            'val_dataloader.num_workers': 1,
            'val_dataloader.persistent_workers': True,
        },
    )
    check_config(cfg, 'train')
    assert 'persistent_workers' not in cfg.train_dataloader
    assert 'prefetch_factor' not in cfg.train_dataloader
    assert cfg.val_dataloader.persistent_workers  # it has workers


def test_old_config():
    cfg = Config(
        dict(
            model=dict(type='EncoderDecoder'),
            data=dict(samples_per_gpu=2, train=dict(), val=dict()),
            lr_config=dict(policy='poly'),
        )
    )
    with pytest.raises(UsageError, match='lr_config is now param_scheduler'):
        check_data(cfg, 'train_dataloader')


def test_what_is_left_of_an_old_config():
    cfg = load_config(str(SEGMENTOR))
    cfg.evaluation = dict(interval=100)
    (note,) = check_config(cfg, 'train')
    assert note.startswith('these keys of 0.x and 2.x have no effect: evalu')
    cfg = load_config(str(SEGMENTOR))
    cfg.data = 'data/ade'  # a variable
    assert check_config(cfg, 'train') == []
