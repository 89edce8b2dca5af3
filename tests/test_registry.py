"""Where in a config something cannot be built."""

from pathlib import Path

import pytest
from mmengine.registry import DATASETS, OPTIMIZERS

from mmrep.deploy import build_model
from mmrep.engine import load_config
from mmrep.errors import UsageError
from mmrep.registry import failure_of

CONFIG = Path(__file__).parents[1] / 'configs/upernet_replknet-tiny_shapes.py'


@pytest.mark.parametrize(
    'options, text',
    [
        ({'model.backbone.arch': 'x'}, '(model.backbone): ValueError: '),
        (
            {'model.backbone.arch.kernel_sizes': [7, 7]},
            '(model.backbone): ValueError: ',
        ),
        (
            {'model.decode_head.loss_decode.type': 'Loss'},
            '(model.decode_head.loss_decode): Loss is not in the mmseg::',
        ),
        (
            {'model.auxiliary_head.in_index': [0, 1]},
            '(model.auxiliary_head): AssertionError: assert isinstance(in_in',
        ),
        ({'model.decode_head.num_convs': 2}, '(model.decode_head): TypeError'),
        (
            {'model.pretrained': 'open-mmlab://resnet50_v1c'},
            '(model.backbone): TypeError: RepLKNet.__init__() got an '
            "unexpected keyword argument 'pretrained'; write pretrained=None ",
        ),
        (
            {'model.backbone.norm_cfg.type': 'Norm'},
            '(model.backbone): Norm is not in the model registry: it is ',
        ),
        ({'model.type': 'Net'}, '(model): Net is not in the mmseg::model '),
    ],
)
def test_part_of_a_model(options, text):
    with pytest.raises(UsageError) as error:
        build_model(load_config(str(CONFIG), options))
    start = 'the model of the config cannot be built '
    assert str(error.value).startswith(start + text)


def failure(cfg, key, registry, part, scope='mmseg'):
    with registry.switch_scope_and_registry(scope):
        with pytest.raises(Exception) as error:
            registry.build(part)
    return failure_of(error.value, cfg, [key])


def test_transform():
    cfg = load_config(str(CONFIG))
    loader = cfg.train_dataloader
    loader.dataset.pipeline[3].crop_size = (0, 0)
    place, text = failure(cfg, 'train_dataloader', DATASETS, loader.dataset)
    assert place == 'train_dataloader.dataset.pipeline.3'
    assert text.startswith('AssertionError: assert crop_size[0] > 0')


def test_inherited_keys_of_a_wrapper():
    cfg = load_config(str(CONFIG))
    inner = cfg.train_dataloader.dataset
    dataset = {**inner, 'type': 'RepeatDataset', 'times': 2, 'dataset': inner}
    cfg.train_dataloader.dataset = dataset
    place, text = failure(cfg, 'train_dataloader', DATASETS, dataset)
    assert place == 'train_dataloader.dataset'
    assert text.endswith(
        "got an unexpected keyword argument 'data_prefix'; it is misspelt, or "
        'comes from a base: then write _delete_=True beside the type'
    )


def test_part_that_is_not_in_the_config():
    """A constructor's own default."""
    place, text = failure({}, 'model', OPTIMIZERS, dict(type='Adamm'))
    assert place == ''
    assert text.endswith('misspelt, or custom_imports does not import it')
