"""Pretrained weights from runs of ours: classifiers, and MobileNetV2."""

import pytest
import torch

from mmrep.checkpoint import convert, fit_pretrained
from mmrep.models import ImageClassifier, LargeKernelMobileNetV2, UniRepLKNet

BACKBONES = {
    'LargeKernelMobileNetV2': (
        LargeKernelMobileNetV2,
        dict(widen_factor=0.25, kernel_sizes=5, small_kernel=3),
        80,
    ),
    'UniRepLKNet': (
        UniRepLKNet,
        dict(
            arch=dict(
                channels=(8, 12, 16, 20),
                depths=(1, 1, 1, 1),
                kernel_sizes=((3,), (13,), (9,), (7,)),
            )
        ),
        20,
    ),
}


@pytest.mark.parametrize('name', BACKBONES)
def test_classifier(tmp_path, name):
    kind, args, channels = BACKBONES[name]
    source = ImageClassifier(
        dict(type=f'mmrep.{name}', **args), channels, num_classes=3
    )
    path = str(tmp_path / 'a.pth')
    torch.save(dict(state_dict=source.state_dict()), path)
    backbone = kind(**args, init_cfg=dict(type='Pretrained', checkpoint=path))
    backbone.init_weights()
    for key, value in source.backbone.state_dict().items():
        assert torch.equal(backbone.state_dict()[key], value), key
    found = fit_pretrained(kind(**args), path)
    assert found.left_out == {
        'the ImageNet classifier': ['head.bias', 'head.weight']
    }
    whole = convert(path, source).match
    assert whole.state.keys() == source.state_dict().keys()


@pytest.mark.parametrize(
    'prefix, heads',
    [
        ('', {}),
        ('backbone.', {}),
        ('backbone.', {'decode_head.conv_seg.bias': torch.ones(3)}),
    ],
)
def test_mobilenet(tmp_path, prefix, heads):
    """Alone, or of a segmentor."""
    _, args, _ = BACKBONES['LargeKernelMobileNetV2']
    source = LargeKernelMobileNetV2(**args).state_dict()
    path = str(tmp_path / 'a.pth')
    torch.save({**{prefix + k: v for k, v in source.items()}, **heads}, path)
    found = fit_pretrained(LargeKernelMobileNetV2(**args), path)
    assert found.state.keys() == source.keys()
    assert sum(found.left_out.values(), []) == list(heads)
