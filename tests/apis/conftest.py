import pytest

from mmrep.deploy import load_model
from mmrep.engine import load_config

ARCH = dict(
    _delete_=True,
    channels=[8, 12, 16, 20],
    depths=(1, 1, 1, 1),
    kernel_sizes=(13, 9, 7, 5),
)


def small(name):
    cfg = load_config(name)
    backbone = dict(arch=ARCH)
    cfg.merge_from_dict(dict(model=dict(backbone=backbone)))
    widths = ARCH['channels']
    if 'neck' in cfg.model:
        cfg.model.neck.in_channels = widths[-len(cfg.model.neck.in_channels) :]
    else:
        cfg.model.decode_head.update(in_channels=widths, channels=16)
        cfg.model.auxiliary_head.update(in_channels=16, channels=8)
    return cfg


@pytest.fixture(scope='module')
def segmentor_cfg():
    return small('upernet_replknet-tiny_shapes')


@pytest.fixture(params=['fcos', 'cascade-mask-rcnn'])
def detector_cfg(request):
    return small(f'{request.param}_replknet-tiny_shapes')


@pytest.fixture
def segmentor(small_segmentor):
    config, checkpoint = small_segmentor
    return load_model(load_config(str(config)), str(checkpoint), deploy=True)
