"""The shipped configs, and what the model of each must be able to do."""

import copy
import functools
from importlib.util import find_spec
from pathlib import Path

import torch
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / 'configs'
# ConvNeXt is MMPretrain's, which is no requirement
LEAVES = [
    path
    for folder in (CONFIGS, *sorted(ROOT.glob('projects/**/configs')))
    for path in sorted(folder.glob('*.py'))
    if find_spec('mmpretrain') or '_convnext' not in path.name
]
SEGMENTORS = [
    p for p in LEAVES if p.name.startswith(('upernet', 'fcn', 'segnext'))
]
CLASSIFIERS = [path for path in LEAVES if path.name.startswith('classifier')]
# their own tests build them
OTHER_SIGNALS = [
    p for p in LEAVES if 'other_signals' in p.parts and p not in SEGMENTORS
]
DETECTORS = [
    p for p in LEAVES if p not in SEGMENTORS + CLASSIFIERS + OTHER_SIGNALS
]


_read = functools.cache(Config.fromfile)


def read(path):
    """A config, which the caller may change."""
    return copy.deepcopy(_read(path))


def build(cfg, device='cpu'):
    cfg.model.backbone.pop('init_cfg', None)  # nothing is downloaded
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        with torch.device(device):
            return revert_sync_batchnorm(MODELS.build(cfg.model))


def heads(model_cfg):
    """Every part of a model's config that has classes."""
    pending, found = [model_cfg], []
    while pending:
        part = pending.pop()
        if isinstance(part, dict):
            found += [part] if 'num_classes' in part else []
            pending += part.values()
        elif isinstance(part, list):
            pending += part
    return found


def has_masks(cfg):
    return bool(cfg.model.get('roi_head', {}).get('mask_head'))


def train_two_steps(model, cfg, data):
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    before = [p.detach().clone() for p in model.parameters()]
    for _ in range(2):
        logged = model.train_step(data, wrapper)
        assert logged['loss'].isfinite()
    same = [
        torch.equal(a, b)
        for a, b in zip(before, model.parameters(), strict=True)
    ]
    # biases behind idle ReLUs stay
    assert sum(same) < len(same) / 20


def check_segmentor(path, train=False):
    """Loss, gradients and prediction; optimizer steps if ``train``."""
    cfg = Config.fromfile(path)
    model = build(cfg)
    classes = cfg.model.decode_head.num_classes
    if 'auxiliary_head' in cfg.model:
        assert cfg.model.auxiliary_head.num_classes == classes
    sample = SegDataSample(
        metainfo=dict(ori_shape=(64, 96), img_shape=(50, 70))
    )
    channels = cfg.model.backbone.get('in_channels', 3)
    labels = torch.randint(classes, (1, 64, 96))
    sample.gt_sem_seg = PixelData(data=labels)
    data = dict(
        inputs=[torch.randint(256, (channels, 64, 96), dtype=torch.uint8)] * 2,
        data_samples=[sample, sample.clone()],
    )
    size = model.data_preprocessor.size
    model.data_preprocessor.size = (64, 96)  # fewer pixels
    losses = model(**model.data_preprocessor(data, True), mode='loss')
    loss = sum(v for k, v in losses.items() if 'loss' in k)
    loss.backward()
    idle = [n for n, p in model.named_parameters() if p.grad is None]
    assert loss.isfinite() and not idle
    if train:
        train_two_steps(model, cfg, data)

    # an image as the test pipeline leaves it: of any size
    model.eval()
    data = dict(
        inputs=[torch.randint(256, (channels, 50, 70), dtype=torch.uint8)],
        data_samples=[sample],
    )
    with torch.no_grad():
        result = model.test_step(data)[0]
    assert result.pred_sem_seg.data.shape == (1, 64, 96)
    crop = cfg.crop_size
    assert size == crop, 'images are padded to the crop size'


def check_detector(path, train=False):
    """Loss, gradients and detection; optimizer steps if ``train``."""
    cfg = Config.fromfile(path)
    masks = has_masks(cfg)
    if 'rpn_head' in cfg.model:  # fewer regions
        cfg.model.train_cfg.rpn_proposal.max_per_img = 20
        cfg.model.test_cfg.rpn.max_per_img = 20
    model = build(cfg)
    classes = heads(cfg.model)[0].num_classes
    data = demo_mm_inputs(
        2, (3, 64, 96), num_items=[2, 3], num_classes=classes, with_mask=masks
    )
    losses = model(**model.data_preprocessor(data, True), mode='loss')
    loss = sum(
        v if torch.is_tensor(v) else sum(v)
        for k, v in losses.items()
        if 'loss' in k
    )
    loss.backward()
    idle = [n for n, p in model.named_parameters() if p.grad is None]
    assert loss.isfinite() and not idle
    if train:
        train_two_steps(model, cfg, data)

    model.eval()
    with torch.no_grad():
        data = demo_mm_inputs(1, (3, 50, 70), num_classes=classes)
        result = model.test_step(data)[0].pred_instances
    assert result.bboxes.shape == (len(result), 4)
    if masks:
        assert result.masks.shape == (len(result), 50, 70)
