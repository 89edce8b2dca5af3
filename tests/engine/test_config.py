import sys
from pathlib import Path

import pytest
from mmengine.config import Config
from mmseg.evaluation import IoUMetric
from torch import nn

from mmrep.deploy.inputs import picture_pipeline
from mmrep.engine import (
    check_data,
    check_folder,
    enable_amp,
    enable_aug_test,
    enable_output,
    load_config,
    set_data_root,
    set_work_dir,
)
from mmrep.errors import UsageError
from mmrep.registry import type_name
from mmrep.runner.hardened import use_hardened_parts

CONFIGS = Path(__file__).parents[2] / 'configs'
CONFIG = CONFIGS / 'upernet_replknet-tiny_shapes.py'
DETECTOR = CONFIGS / 'fcos_replknet-tiny_shapes.py'


@pytest.fixture
def cfg():
    return load_config(str(CONFIG))


@pytest.mark.parametrize(
    'text, message',
    [
        (None, 'existing file'),
        ('model = dict(', 'SyntaxError'),
        ("_base_ = 'nowhere.py'", 'nowhere.py'),
        ('x = undefined', 'undefined'),
        ('x = 1 / 0', 'ZeroDivisionError'),
        ("_base_ = 'pkg::x.py'", 'external package'),
    ],
)
def test_unreadable_config(tmp_path, text, message):
    path = tmp_path / 'config.py'
    if text:
        path.write_text(text)
    with pytest.raises(UsageError, match=message):
        load_config(str(path))


def test_options_are_merged():
    cfg = load_config(
        str(CONFIG),
        {
            'train_cfg.max_iters': 7,
            'model.backbone.with_cp': True,
            'param_scheduler.1.end': 7,
            'randomness.seed': 3,
            'model.backbone.init_cfg.type': 'Pretrained',
        },
    )
    assert cfg.train_cfg.max_iters == 7
    assert cfg.model.backbone.with_cp is True
    assert cfg.param_scheduler[1].end == 7
    assert cfg.randomness.seed == 3


@pytest.mark.parametrize(
    'option, hint',
    [
        ('trian_cfg.max_iters', "did you mean 'train_cfg'"),
        ('model.backbon.with_cp', "did you mean 'backbone'"),
        ('default_hooks.loger.interval', "did you mean 'logger'"),
        ('foo', "no 'foo'"),
        ('auto_scale_lr.base_batchsize', "did you mean 'base_batch_size'"),
        ('env_cfg.cudnn_benchmak', "did you mean 'cudnn_benchmark'"),
        ('data_root', 'use --data-root'),
        ('train_pipeline.2.scale', 'set train_dataloader.dataset.pipeline'),
        ('channels', 'set model.backbone.arch.channels instead'),
        ('param_scheduler.5.end', 'does not fit'),
        ('param_scheduler.end', 'does not fit'),
        ('optim_wrapper.optimizer.lr.x', 'does not fit'),
    ],
)
def test_misspelt_option(option, hint):
    with pytest.raises(UsageError, match=hint):
        load_config(str(CONFIG), {option: 1})


def test_work_dir_priority(cfg):
    set_work_dir(cfg, 'some/name.py', None)
    assert cfg.work_dir == './work_dirs/name'
    set_work_dir(cfg, 'other.py', None)
    assert cfg.work_dir == './work_dirs/name'
    set_work_dir(cfg, 'other.py', 'mine')
    assert cfg.work_dir == 'mine'


def test_data_root_reaches_nested_datasets(cfg):
    cfg.train_dataloader.dataset = dict(
        type='RepeatDataset', times=2, dataset=cfg.train_dataloader.dataset
    )
    set_data_root(cfg, 'elsewhere')
    assert cfg.train_dataloader.dataset.dataset.data_root == 'elsewhere'
    assert cfg.val_dataloader.dataset.data_root == 'elsewhere'
    assert cfg.test_dataloader.dataset.data_root == 'elsewhere'


def test_data_root_of_sets_in_two_folders(cfg):
    first = cfg.train_dataloader.dataset
    second = dict(first, data_root='data/more')
    cfg.train_dataloader.dataset = dict(
        type='ConcatDataset', datasets=[first, second]
    )
    with pytest.raises(UsageError) as error:
        set_data_root(cfg, 'elsewhere')
    assert str(error.value) == (
        '--data-root replaces one folder, but the data sets of the config '
        'are in 2: data/shapes (train_dataloader.dataset.datasets.0), '
        'data/more (train_dataloader.dataset.datasets.1); set the data_root '
        'of each with --cfg-options.'
    )
    sets = cfg.train_dataloader.dataset.datasets
    assert sets[1].data_root == 'data/more'
    # a test reads none of them
    set_data_root(cfg, 'elsewhere', ['test_dataloader'])
    assert cfg.test_dataloader.dataset.data_root == 'elsewhere'
    assert sets[0].data_root == 'data/shapes'
    # two spellings of a folder are one
    sets[1].data_root = 'data/./shapes/'
    cfg.test_dataloader.dataset.data_root = 'data/shapes'
    set_data_root(cfg, 'elsewhere')
    assert sets[1].data_root == 'elsewhere'


def test_check_data(cfg, shapes_root, tmp_path):
    set_data_root(cfg, str(shapes_root))
    check_data(cfg, 'train_dataloader', 'val_dataloader')
    set_data_root(cfg, str(tmp_path))
    with pytest.raises(UsageError, match='images/training.*--data-root'):
        check_data(cfg, 'train_dataloader')
    cfg.pop('test_dataloader')
    with pytest.raises(UsageError, match='define test_dataloader'):
        check_data(cfg, 'test_dataloader')


@pytest.mark.parametrize(
    'name, value, text',
    [
        ('ann_file', None, 'a word, got None.'),
        ('seg_map_suffix', 3, 'a word, got 3.'),
        (
            'img_suffix',
            '',
            "the end of the pictures' names, such as '.jpg', got ''.",
        ),
    ],
)
def test_words_of_a_data_set(cfg, shapes_root, name, value, text):
    set_data_root(cfg, str(shapes_root))
    cfg.train_dataloader.dataset[name] = value
    with pytest.raises(UsageError) as error:
        check_data(cfg, 'train_dataloader')
    key = f'train_dataloader.dataset.{name}'
    assert str(error.value) == f'{key} must be {text}'


def test_check_annotation_file(tmp_path):
    cfg = Config(
        dict(
            train_dataloader=dict(
                dataset=dict(
                    data_root=str(tmp_path),
                    ann_file='train.json',
                    data_prefix=dict(img=''),
                )
            )
        )
    )
    with pytest.raises(UsageError, match='annotation file.*train.json'):
        check_data(cfg, 'train_dataloader')
    (tmp_path / 'train.json').touch()
    check_data(cfg, 'train_dataloader')


def test_aug_test(cfg):
    enable_aug_test(cfg)
    assert cfg.test_dataloader.dataset.pipeline == cfg.tta_pipeline
    assert cfg.val_dataloader.dataset.pipeline != cfg.tta_pipeline
    assert cfg.model.type == 'SegTTAModel'
    assert cfg.model.module.type == 'EncoderDecoder'


@pytest.mark.parametrize('key', ['tta_model', 'tta_pipeline'])
def test_aug_test_without_pipeline(cfg, key):
    cfg.pop(key)
    with pytest.raises(UsageError, match=f'--aug-test needs {key}'):
        enable_aug_test(cfg)


def test_amp(cfg):
    enable_amp(cfg)
    assert cfg.optim_wrapper.type == 'mmrep.AmpOptimWrapper'
    assert cfg.optim_wrapper.loss_scale == 'dynamic'
    assert 'dtype' not in cfg.optim_wrapper
    enable_amp(cfg, 'bf16')
    assert cfg.optim_wrapper.dtype == 'bfloat16'
    cfg.optim_wrapper.type = 'DeepSpeedOptimWrapper'
    with pytest.raises(UsageError, match='DeepSpeedOptimWrapper'):
        enable_amp(cfg)


@pytest.mark.parametrize(
    'key, value, text',
    [
        ('train_dataloader', 2, 'train_dataloader must be a dict, got 2'),
        ('train_dataloader.dataset', None, 'must be a dict, got None'),
        ('val_dataloader.dataset.data_prefix', 'images', "got 'images'"),
        ('optim_wrapper', 'AdamW', "such as dict(type='AdamW', ...), got"),
        ('optim_wrapper.optimizer', 'AdamW', 'optimizer must be a dict'),
        ('optim_wrapper.optimizer', None, 'optimizer must be a dict'),
        ('optim_wrapper.clip_grad', 1.0, 'clip_grad must be a dict, got 1.0'),
        ('model.test_cfg', 'whole', "test_cfg must be a dict, got 'whole'"),
        ('randomness', 3, 'randomness must be a dict, got 3'),
        ('default_hooks.checkpoint', 5, 'default_hooks.checkpoint must be'),
        ('val_evaluator', 'mIoU', 'val_evaluator must be a dict'),
        ('test_evaluator', ['mIoU'], 'test_evaluator.0 must be a dict'),
        ('param_scheduler', 'PolyLR', 'param_scheduler must be a dict'),
        ('custom_hooks', 3, 'custom_hooks must be a list, got 3'),
        ('val_dataloader.dataset.pipeline', 3, 'pipeline must be a list'),
        ('model', 'UPerNet', 'model must be a dict'),
    ],
)
def test_what_must_be_a_dict(key, value, text):
    with pytest.raises(UsageError) as error:
        load_config(str(CONFIG), {key: value})
    message = str(error.value).removeprefix('--cfg-options ')
    assert message.startswith(key) and text in message


def test_dicts_of_a_file(tmp_path):
    path = tmp_path / 'own.py'
    path.write_text(
        f"_base_ = '{CONFIG}'\noptim_wrapper = dict(clip_grad=1)\n"
    )
    with pytest.raises(UsageError, match='clip_grad must be a dict, got'):
        load_config(str(path))


@pytest.mark.parametrize(
    'key, value, text',
    [
        ('model.decode_head.channels', 'x', "a number, as 64 is, got 'x'."),
        (
            'model.decode_head.loss_decode.loss_weight',
            'x',
            "a number, as 1.0 is, got 'x'.",
        ),
        (
            'model.decode_head.pool_scales',
            [1, 'x'],
            "numbers, as (1, 2, 3, 6) is, got [1, 'x'].",
        ),
        (
            'train_dataloader.sampler.shuffle',
            'no',
            "True or False, as True is, got 'no'.",
        ),
        ('model.backbone.type', 3, "a word, as 'mmrep.RepLKNet' is, got 3."),
        (
            'optim_wrapper.optimizer',
            'SGD',
            "a dict, such as dict(type='SGD', ...), got 'SGD'.",
        ),
    ],
)
def test_kind_of_an_option(key, value, text):
    with pytest.raises(UsageError) as error:
        load_config(str(CONFIG), {key: value})
    assert str(error.value) == f'--cfg-options {key} must be {text}'


@pytest.mark.parametrize(
    'options',
    [
        {'model.backbone.arch': '31B'},
        {'model.decode_head.pool_scales': [1, 2]},
        {'model.auxiliary_head': None},
        {'val_evaluator.iou_metrics': ['mIoU', 'mDice']},
        {'log_level': 10},
    ],
)
def test_options_of_another_kind_that_fit(options):
    load_config(str(CONFIG), options)


def test_output(cfg):
    metric = cfg.test_evaluator
    cfg.test_evaluator = [dict(type='Other'), metric]
    enable_output(cfg, 'out')
    assert cfg.test_evaluator[1].output_dir == 'out'
    assert 'output_dir' not in cfg.test_evaluator[0]
    cfg.test_evaluator = dict(type='Other')
    with pytest.raises(UsageError, match='needs an IoUMetric or a Coco'):
        enable_output(cfg, 'out')


@pytest.mark.parametrize('key', ['model', 'optim_wrapper'])
def test_config_without_a_part(cfg, key):
    enable = dict(model=enable_aug_test, optim_wrapper=enable_amp)[key]
    cfg[key] = None
    with pytest.raises(UsageError, match=f'needs {key} in the config'):
        enable(cfg)


def test_types_given_as_classes(tmp_path):
    """MMEngine takes a class, or where one is, where others write a name."""
    path = tmp_path / 'classes.py'
    path.write_text(
        f"_base_ = '{CONFIG}'\n"
        'from mmcv.transforms import LoadImageFromFile\n'
        'from mmengine.optim import OptimWrapper\n'
        'from mmseg.datasets.transforms import LoadAnnotations\n'
        'from mmseg.engine.hooks import SegVisualizationHook\n'
        'from mmrep.models import RepLKNet\n'
        'from torch.nn import Hardshrink\n'
        'model = dict(backbone=dict(type=RepLKNet))\n'
        'optim_wrapper = dict(type=OptimWrapper)\n'
        "test_evaluator = dict(type='mmseg.evaluation.IoUMetric')\n"
        'default_hooks = dict(visualization=dict(type=SegVisualizationHook))\n'
        'test_dataloader = dict(dataset=dict(pipeline=[\n'
        '    dict(type=LoadImageFromFile), dict(type=LoadAnnotations)]))\n'
        'other = dict(type=Hardshrink)  # which no registry has\n'
    )
    cfg = load_config(str(path))
    assert cfg.model.backbone.type == 'mmrep.RepLKNet'
    assert 'RepLKNet' not in cfg
    assert cfg.optim_wrapper.type == 'OptimWrapper'
    assert cfg.test_evaluator.type == 'IoUMetric'
    steps = cfg.test_dataloader.dataset.pipeline
    assert [s.type for s in steps] == ['LoadImageFromFile', 'LoadAnnotations']
    assert cfg.other.type is nn.Hardshrink
    assert enable_output(cfg, 'out') == 'label maps'
    assert cfg.test_evaluator.output_dir == 'out'
    assert len(picture_pipeline(cfg).transforms) == 1
    use_hardened_parts(cfg)
    assert cfg.optim_wrapper.type == 'mmrep.OptimWrapper'
    enable_amp(load_config(str(path)))


@pytest.mark.parametrize(
    'kind, name',
    [
        (None, ''),
        ('mmseg.IoUMetric', 'mmseg.IoUMetric'),
        (IoUMetric, 'mmseg.IoUMetric'),
    ],
)
def test_type_name(kind, name):
    assert type_name(dict(type=kind)) == name
    assert type_name({}) == type_name(None) == ''


def test_output_of_detectors():
    cfg = load_config(str(DETECTOR))
    assert enable_output(cfg, 'out') == 'predictions.*.json'
    assert cfg.test_evaluator.outfile_prefix == 'out/predictions'
    assert 'outfile_prefix' not in cfg.val_evaluator


def test_folder_that_cannot_be_written(tmp_path, monkeypatch):
    cfg = load_config(str(CONFIG))
    file = tmp_path / 'file'
    file.touch()
    for path in (file, file / 'deep/er'):
        with pytest.raises(
            UsageError, match=f'{path}.*{file} is not a folder'
        ):
            check_folder('--show-dir', str(path))
    check_folder('--show-dir', str(tmp_path / 'deep/er'))
    with pytest.raises(UsageError, match="^out_dir must be a folder, got ''"):
        check_folder('out_dir', '')
    assert [p.name for p in tmp_path.iterdir()] == ['file']
    # root may write anywhere
    monkeypatch.setattr('os.access', lambda *args: False)
    with pytest.raises(UsageError, match=f'{tmp_path} cannot be written'):
        enable_output(cfg, str(tmp_path / 'deep'))


def test_data_root_reaches_annotation_files_of_metrics():
    cfg = load_config(str(DETECTOR))
    name = 'annotations/instances_validation.json'
    assert cfg.test_evaluator.ann_file == f'data/shapes/{name}'
    cfg.val_evaluator = [cfg.val_evaluator, dict(type='Other')]
    cfg.test_evaluator.ann_file = '/other/test.json'
    set_data_root(cfg, 'elsewhere')
    assert cfg.val_evaluator[0].ann_file == f'elsewhere/{name}'
    assert cfg.val_evaluator[1] == dict(type='Other')
    assert cfg.test_evaluator.ann_file == '/other/test.json'


def test_convnext_without_mmpretrain(monkeypatch):
    for name in ('mmpretrain', 'mmpretrain.models.backbones.convnext'):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UsageError, match='requirements/convnext.txt$'):
        load_config(str(CONFIGS / 'upernet_convnext-t_ade20k.py'))
