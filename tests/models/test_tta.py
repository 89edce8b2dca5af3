"""Merging views: what one view predicts, and the mean of several."""

from pathlib import Path

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config, ConfigDict
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from sweep import sweep

from mmrep.models import InstanceTTAModel

CONFIGS = Path(__file__).parents[2] / 'configs'
SHAPE = (64, 96)


@pytest.fixture(scope='module')
def cfg():
    return Config.fromfile(
        CONFIGS / 'cascade-mask-rcnn_replknet-tiny_shapes.py'
    )


@pytest.fixture(scope='module')
def tta_model(cfg):
    torch.manual_seed(0)
    model = dict(cfg.tta_model, module=cfg.model)
    with DefaultScope.overwrite_default_scope('mmdet'):
        return revert_sync_batchnorm(MODELS.build(model)).eval()


@pytest.fixture
def image():
    return torch.randint(256, (3, *SHAPE), dtype=torch.uint8)


def make_view(image, flip=None, scale=1):
    """An image as TestTimeAug leaves it."""
    sample = DetDataSample(
        metainfo=dict(
            ori_shape=SHAPE,
            img_shape=(SHAPE[0] * scale, SHAPE[1] * scale),
            scale_factor=(float(scale), float(scale)),
            flip=flip is not None,
            flip_direction=flip,
        )
    )
    image = image.repeat_interleave(scale, 1).repeat_interleave(scale, 2)
    dims = dict(horizontal=[2], vertical=[1], diagonal=[1, 2])
    return (image.flip(dims[flip]) if flip else image), sample


def predict(model, *views):
    """The prediction for one image that has these views."""
    data = dict(
        inputs=[[image] for image, _ in views],
        data_samples=[[sample] for _, sample in views],
    )
    (sample,) = model.test_step(data)
    return sample.pred_instances


def plain(model, view):
    """What the detector alone predicts for a view, not turned back."""
    sample = view[1].clone()
    sample.set_metainfo(dict(flip=False))
    data = dict(inputs=[view[0]], data_samples=[sample])
    with torch.no_grad():
        return model.module.test_step(data)[0].pred_instances


def test_one_view_is_a_plain_test(tta_model, image):
    expected = plain(tta_model, make_view(image))
    result = predict(tta_model, make_view(image))
    assert len(result) == len(expected) > 0
    torch.testing.assert_close(result.bboxes, expected.bboxes)
    torch.testing.assert_close(result.scores, expected.scores)
    assert result.labels.equal(expected.labels)
    assert result.masks.shape == (len(result), *SHAPE)
    assert result.masks.equal(expected.masks) and expected.masks.any()


@pytest.mark.parametrize('flip', ['horizontal', 'vertical', 'diagonal'])
@pytest.mark.parametrize('scale', sweep([1, 2]))
def test_views_are_turned_back(tta_model, image, flip, scale):
    view = make_view(image, flip, scale)
    expected = plain(tta_model, view)
    result = predict(tta_model, view)
    x1, y1, x2, y2 = expected.bboxes.unbind(1)
    masks = expected.masks
    if flip in ('horizontal', 'diagonal'):
        x1, x2, masks = SHAPE[1] - x2, SHAPE[1] - x1, masks.flip(2)
    if flip in ('vertical', 'diagonal'):
        y1, y2, masks = SHAPE[0] - y2, SHAPE[0] - y1, masks.flip(1)
    torch.testing.assert_close(
        result.bboxes, torch.stack([x1, y1, x2, y2], 1), atol=1e-3, rtol=0
    )
    # a pixel on a threshold may fall to either side
    assert (result.masks == masks).float().mean() > 0.99


def test_equal_views_change_nothing(tta_model, image):
    one = predict(tta_model, make_view(image))
    two = predict(tta_model, make_view(image), make_view(image))
    torch.testing.assert_close(one.bboxes, two.bboxes)
    assert one.masks.equal(two.masks)


def test_masks_are_the_mean_of_the_views(tta_model, image, monkeypatch):
    """Views that agree on the boxes and not on the masks."""
    head = tta_model.module.roi_head.mask_head[-1]
    seen = []
    original = head.predict_by_feat

    def record(masks, *args, **kwargs):
        seen.append(masks[0])
        return original(masks, *args, **kwargs)

    monkeypatch.setattr(head, 'predict_by_feat', record)
    roi_head = tta_model.module.roi_head
    forward, calls = roi_head._mask_forward, []

    def constant(stage, features, rois):
        output = forward(stage, features, rois)
        calls.append(stage)
        # the first view says 0.5, the second 0.9
        value = 0.0 if len(calls) <= 3 else 2.1972246
        return {
            **output,
            'mask_preds': torch.full_like(output['mask_preds'], value),
        }

    monkeypatch.setattr(roi_head, '_mask_forward', constant)
    predict(tta_model, make_view(image), make_view(image, 'horizontal'))
    assert calls == [0, 1, 2] * 2
    torch.testing.assert_close(seen[0], torch.full_like(seen[0], 0.7))


def test_no_boxes(tta_model, image, monkeypatch):
    monkeypatch.setitem(tta_model.module.roi_head.test_cfg, 'score_thr', 1.0)
    result = predict(tta_model, make_view(image), make_view(image, scale=2))
    assert len(result) == 0
    assert result.masks.shape == (0, *SHAPE)


def test_single_stage_mask_head(cfg, image):
    """Mask R-CNN, whose RoI head has one stage."""
    head = dict(cfg.model.roi_head, type='StandardRoIHead')
    del head['num_stages'], head['stage_loss_weights']
    head['bbox_head'] = head['bbox_head'][0]
    rcnn = dict(cfg.model.train_cfg, rcnn=cfg.model.train_cfg.rcnn[0])
    model = ConfigDict(
        dict(cfg.model, type='MaskRCNN', roi_head=head, train_cfg=rcnn)
    )
    with DefaultScope.overwrite_default_scope('mmdet'):
        tta_model = MODELS.build(dict(cfg.tta_model, module=model))
    tta_model = revert_sync_batchnorm(tta_model).eval()
    expected = plain(tta_model, make_view(image))
    result = predict(tta_model, make_view(image))
    assert len(expected) > 0 and result.masks.equal(expected.masks)


def test_detector_without_masks(cfg):
    fcos = Config.fromfile(CONFIGS / 'fcos_replknet-tiny_shapes.py')
    with DefaultScope.overwrite_default_scope('mmdet'):
        with pytest.raises(ValueError, match='FCOS; use DetTTAModel'):
            MODELS.build(dict(cfg.tta_model, module=fcos.model))


def test_masks_without_regions():
    """As of SOLO and CondInst: no boxes that masks could be predicted for."""

    class SOLO(torch.nn.Module):
        with_mask = True
        test_step = None

    with pytest.raises(ValueError, match='two-stage .* got SOLO'):
        InstanceTTAModel({}, SOLO())
