"""Heads, data sets and metrics that do not fit together, in one line."""

import copy

import pytest
import torch
from mmengine.registry import DATASETS

from mmrep.data.heads import check_dataset, check_input, check_model
from mmrep.errors import UsageError

HEADS = ('decode_head', 'auxiliary_head')


def message(function, *args):
    with pytest.raises(UsageError) as error:
        function(*args)
    assert '\n' not in str(error.value)
    return str(error.value)


def set_heads(cfg, **options):
    cfg.merge_from_dict({f'model.{head}': options for head in HEADS})


def ignore(cfg, index):
    set_heads(cfg, ignore_index=index)
    cfg.model.data_preprocessor.seg_pad_val = index
    for loader in ('train_dataloader', 'val_dataloader'):
        dataset = cfg[loader].dataset
        dataset.reduce_zero_label = False
        for step in dataset.pipeline:
            step.pop('reduce_zero_label', None)
    cfg.val_evaluator.ignore_index = index


def test_sound(cfg, built, recwarn):
    for key in ('train_dataloader', 'val_dataloader'):
        model, dataset, metrics = built(cfg, key)
        recwarn.clear()
        check_model(model)
        check_dataset(key, model, dataset, metrics)
        check_input(key, model, dataset[0])
        assert not recwarn


def test_no_test_cfg(cfg, built):
    cfg.model.test_cfg = None
    assert 'model.test_cfg must be set' in message(check_model, built(cfg)[0])


def test_pictures_larger_than_their_padding(cfg, built):
    cfg.model.data_preprocessor.size = (32, 48)
    model, dataset, _ = built(cfg)
    sample = dict(inputs=torch.zeros(3, 32, 64))
    text = message(check_input, 'train_dataloader', model, sample)
    assert 'got (32, 48) for a picture of (32, 64)' in text
    check_input('val_dataloader', model, sample)
    check_input('train_dataloader', model, dict(inputs=torch.zeros(3, 9, 48)))
    model.data_preprocessor.size = 64
    text = message(check_input, 'train_dataloader', model, sample)
    assert text.endswith(
        'height and the width of pictures in training, got 64.'
    )


@pytest.mark.parametrize('classes', [5, 9])
def test_auxiliary_head_with_other_classes(cfg, built, classes):
    cfg.model.auxiliary_head.num_classes = classes
    assert message(check_model, built(cfg)[0]) == (
        'model.auxiliary_head.num_classes must be that of '
        f'model.decode_head, 7, got {classes}.'
    )


def test_one_of_several_auxiliary_heads(cfg, built):
    heads = [copy.deepcopy(cfg.model.auxiliary_head) for _ in range(2)]
    heads[1].num_classes = 3
    cfg.model.auxiliary_head = heads
    text = message(check_model, built(cfg)[0])
    assert text.startswith('model.auxiliary_head.1.num_classes must be that')


def test_earlier_stage_of_a_cascade(cfg, built):
    first = copy.deepcopy(cfg.model.auxiliary_head)
    first.update(num_classes=4)
    last = dict(copy.deepcopy(first), type='OCRHead', num_classes=7)
    last.update(ocr_channels=8)
    for key in ('num_convs', 'concat_input'):
        last.pop(key)
    cfg.model.update(
        type='CascadeEncoderDecoder', num_stages=2, decode_head=[first, last]
    )
    assert message(check_model, built(cfg)[0]) == (
        'model.decode_head.0.num_classes must be that of '
        'model.decode_head.1, 7, got 4.'
    )


def test_all_heads_with_other_classes_than_the_data(cfg, built):
    set_heads(cfg, num_classes=6)
    model, dataset, _ = built(cfg)
    check_model(model)
    text = message(check_dataset, 'train_dataloader', model, dataset)
    assert text.startswith(
        'num_classes of the heads must be the number of classes of '
        'train_dataloader, 7 (ground, disc, ring, square, triangle, cross and '
        '1 more), got 6;'
    )


def test_other_ignore_index_of_a_head(cfg, built):
    cfg.model.auxiliary_head.ignore_index = 250
    assert message(check_model, built(cfg)[0]) == (
        'model.auxiliary_head.ignore_index must be that of '
        'model.decode_head, 255, got 250.'
    )


def test_other_ignore_index_of_the_metric(cfg, built):
    """mIoU would be lower and nothing said."""
    ignore(cfg, 250)
    del cfg.val_evaluator.ignore_index  # MMSegmentation's is 255
    model, dataset, metrics = built(cfg, 'val_dataloader')
    check = (check_dataset, 'val_dataloader', model, dataset, metrics)
    assert message(*check) == (
        'val_evaluator.ignore_index must be that of the heads, 250, got 255: '
        'pixels with label 250 would count as wrong.'
    )
    metrics[0].ignore_index = 250
    check_dataset(*check[1:])


def test_class_that_is_measured_though_not_trained(cfg, built):
    ignore(cfg, 0)
    cfg.val_evaluator.ignore_index = 255
    model, dataset, metrics = built(cfg, 'val_dataloader')
    with pytest.warns(UserWarning, match='must be that of the heads, 0, got'):
        check_dataset('val_dataloader', model, dataset, metrics)


def test_pixels_that_are_added_as_a_class(cfg, built):
    cfg.model.data_preprocessor.seg_pad_val = 0
    model, dataset, metrics = built(cfg)
    with pytest.warns(UserWarning, match='seg_pad_val is 0, the label of a c'):
        check_dataset('train_dataloader', model, dataset, metrics)


@pytest.mark.parametrize(
    'step, what',
    [
        (dict(type='Pad', size=(99, 99)), 'pad_val.seg of Pad'),
        (
            dict(type='RandomRotate', prob=1.0, degree=9),
            'seg_pad_val of RandomRotate',
        ),
        (
            dict(
                type='RandomCutOut',
                prob=1.0,
                n_holes=1,
                cutout_shape=(4, 4),
                seg_fill_in=255,
            ),
            'seg_fill_in of RandomCutOut',
        ),
        (None, None),
    ],
)
def test_labels_that_are_filled_in(cfg, built, step, what):
    ignore(cfg, 250)
    if step is None:
        cfg.model.data_preprocessor.seg_pad_val = 255
        what = 'model.data_preprocessor.seg_pad_val must'
    else:
        cfg.train_dataloader.dataset.pipeline.insert(2, step)
        what += ' in train_dataloader must'
    model, dataset, _ = built(cfg)
    text = message(check_dataset, 'train_dataloader', model, dataset)
    assert text == f'{what} be the ignore_index of the heads, 250, got 255.'


def test_zero_label_is_255_where_it_is_reduced(cfg, built):
    ignore(cfg, 250)
    cfg.train_dataloader.dataset.reduce_zero_label = True
    model, dataset, _ = built(cfg)
    text = message(check_dataset, 'train_dataloader', model, dataset)
    assert text == (
        'ignore_index of the heads must be 255 for train_dataloader, where '
        'reduce_zero_label makes pixels without a class 255; got 250.'
    )


@pytest.mark.parametrize('reduced', [True, False])
@pytest.mark.parametrize('wrap', [True, False])
def test_reduce_zero_label_in_one_place(cfg, built, reduced, wrap):
    dataset = cfg.train_dataloader.dataset
    dataset.reduce_zero_label = reduced
    dataset.pipeline[1].reduce_zero_label = not reduced
    if wrap:
        cfg.train_dataloader.dataset = dict(
            type='RepeatDataset', times=2, dataset=dataset
        )
    model, dataset, _ = built(cfg)
    text = message(check_dataset, 'train_dataloader', model, dataset)
    assert text == (
        'reduce_zero_label must be the same in the data set and in its '
        f'pipeline, but train_dataloader.dataset has {reduced}, its '
        f'LoadAnnotations {not reduced}; set it only in the data set.'
    )


@pytest.mark.parametrize(
    'classes, reduced, fits',
    [
        (255, False, True),
        (256, False, False),
        (300, False, False),
        (254, True, True),
        (255, True, False),
    ],
)
def test_classes_beyond_a_byte(cfg, built, classes, reduced, fits):
    set_heads(cfg, num_classes=classes)
    dataset = cfg.train_dataloader.dataset
    dataset.metainfo = dict(
        classes=[str(i) for i in range(classes)], palette=[]
    )
    dataset.reduce_zero_label = reduced
    dataset.pipeline[1].pop('reduce_zero_label')
    model, dataset, _ = built(cfg)
    check = (check_dataset, 'train_dataloader', model, dataset)
    if fits:
        check_dataset(*check[1:])
    else:
        text = message(*check)
        assert text.startswith('a data set may have at most 255 classes, 254')
        assert f'got {classes} in the heads' in text


@pytest.mark.parametrize(
    'loss',
    [
        dict(type='CrossEntropyLoss'),
        dict(type='DiceLoss'),
        dict(type='TverskyLoss'),
        dict(type='LovaszLoss', reduction='none'),
    ],
)
def test_head_with_one_output_that_cannot_learn(cfg, built, loss):
    losses = [dict(type='CrossEntropyLoss', use_sigmoid=True), loss]
    set_heads(cfg, num_classes=2, out_channels=1, loss_decode=losses)
    text = message(check_model, built(cfg)[0])
    assert text.startswith(
        'a head with one output must have a sigmoid loss, but '
        f'model.decode_head.loss_decode.1 is {loss["type"]}, which cannot '
        'learn label 1; set '
    )


@pytest.mark.parametrize(
    'loss',
    [
        dict(_delete_=True, type='CrossEntropyLoss', use_sigmoid=True),
        dict(_delete_=True, type='FocalLoss'),
        dict(
            _delete_=True,
            type='LovaszLoss',
            loss_type='binary',
            reduction='none',
        ),
    ],
)
@pytest.mark.parametrize('num_classes', [1, 2])
def test_head_with_one_output(cfg, built, loss, num_classes):
    """Labels 0 and 1 are legal for MMSegmentation's num_classes=1 too."""
    set_heads(cfg, num_classes=num_classes, out_channels=1, loss_decode=loss)
    metainfo = dict(classes=['ground', 'thing'], palette=[[0] * 3, [9] * 3])
    cfg.val_dataloader.dataset.metainfo = metainfo
    model, dataset, metrics = built(cfg, 'val_dataloader')
    check_model(model)
    check_dataset('val_dataloader', model, dataset, metrics)
    dataset.metainfo['classes'] = None
    dataset._metainfo['classes'] = ('thing',)
    check = (check_dataset, 'val_dataloader', model, dataset, metrics)
    assert message(*check) == (
        'a head with one output distinguishes two classes, labels 0 and 1, '
        'so val_dataloader.dataset.metainfo.classes must have two names, '
        "such as ('background', 'object'), got 1 (thing)."
    )


def test_loss_of_another_head(cfg, built):
    set_heads(cfg, loss_decode=dict(_delete_=True, type='OhemCrossEntropy'))
    text = message(check_model, built(cfg)[0])
    assert text.startswith(
        'model.decode_head.loss_decode: OhemCrossEntropy is for PIDHead, got '
        'UPerHead; use CrossEntropyLoss'
    )


def test_class_weight(cfg, built):
    cfg.model.auxiliary_head.loss_decode.class_weight = [1.0] * 6
    assert message(check_model, built(cfg)[0]) == (
        'model.auxiliary_head.loss_decode.class_weight must have a number for '
        'each of 7 outputs of the head, got 6.'
    )


def test_ignore_index_of_a_loss(cfg, built):
    ignore(cfg, 250)
    loss = dict(_delete_=True, type='TverskyLoss')
    cfg.merge_from_dict({'model.decode_head.loss_decode': loss})
    assert message(check_model, built(cfg)[0]) == (
        'model.decode_head.loss_decode.ignore_index must be the ignore_index '
        'of its head, 250, got 255.'
    )


@pytest.mark.parametrize(
    'key, index, got',
    [
        ('decode_head', [0, 1, 2, 7], 'got [0, 1, 2, 7].'),
        ('auxiliary_head', -5, 'got -5.'),
    ],
)
def test_maps_that_are_not_there(cfg, built, key, index, got):
    cfg.model[key].in_index = index
    # also where a run is not what builds it
    assert message(built, cfg) == (
        f'model.{key}.in_index must name maps of the backbone, which gives 4, '
        f'from 0 to 3, {got}'
    )


def test_maps_of_a_neck(cfg, built):
    cfg.model.neck = dict(
        type='FPN', in_channels=[8, 8, 8, 8], out_channels=8, num_outs=5
    )
    cfg.model.auxiliary_head.in_index = 4
    check_model(built(cfg)[0])
    cfg.model.auxiliary_head.in_index = 5
    assert message(built, cfg) == (
        'model.auxiliary_head.in_index must name maps of the neck, which '
        'gives 5, from 0 to 4, got 5.'
    )


@pytest.mark.parametrize(
    'test_cfg, got',
    [
        (dict(mode='slide'), 'crop_size=None and stride=None.'),
        (
            dict(mode='slide', crop_size=(64, 64)),
            'crop_size=(64, 64) and stride=None.',
        ),
        (
            dict(mode='slide', crop_size=64, stride=42),
            'crop_size=64 and stride=42.',
        ),
        (
            dict(mode='slide', crop_size=(64, 64), stride=(32, 65)),
            'crop_size=(64, 64) and stride=(32, 65).',
        ),
        (
            dict(mode='slide', crop_size=(64, 64), stride=(0, 64)),
            'crop_size=(64, 64) and stride=(0, 64).',
        ),
        (dict(mode='sliding'), "must be 'slide' or 'whole', got 'sliding'."),
    ],
)
def test_windows(cfg, built, test_cfg, got):
    cfg.model.test_cfg = test_cfg
    assert message(check_model, built(cfg)[0]).endswith(got)


def test_channels(cfg, built):
    model = built(cfg)[0]
    model.data_preprocessor.mean = None
    sample = dict(inputs=torch.zeros(6, 8, 8, dtype=torch.uint8))
    check = (check_input, 'test_dataloader', model)
    for given in (sample, dict(inputs=[sample['inputs']] * 2)):
        assert message(*check, given).startswith(
            'the pictures of test_dataloader must have as many channels as '
            'the model takes, 3, but have 6 after the pipeline; set '
        )


def test_normalisation_of_several_bands(cfg, built):
    cfg.model.backbone.in_channels = 6
    model = built(cfg)[0]
    sample = dict(inputs=torch.zeros(6, 8, 8, dtype=torch.uint8))
    text = message(check_input, 'test_dataloader', model, sample)
    assert text.startswith(
        'model.data_preprocessor must have a mean and a std for each of 6 '
        'channels, or one for all, got 3;'
    )
    model.data_preprocessor.mean = torch.zeros(1, 1, 1)
    check_input('test_dataloader', model, sample)


def test_data_sets_in_a_wrapper(cfg, built):
    model, dataset, _ = built(cfg)
    other = copy.deepcopy(cfg.train_dataloader.dataset)
    other.metainfo = dict(classes=('a', 'b'), palette=[[0] * 3, [9] * 3])
    both = DATASETS.build(
        dict(
            type='ConcatDataset',
            datasets=[cfg.train_dataloader.dataset, other],
            ignore_keys=['classes', 'palette'],
        )
    )
    text = message(check_dataset, 'train_dataloader', model, both)
    assert '2 (a, b), got 7' in text
