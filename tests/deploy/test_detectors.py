"""Detectors: merged, predicted with, exported up to the maps of the head."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mmrep.apis import Inferencer
from mmrep.deploy import build_model, load_model, reparameterize
from mmrep.deploy.export import export_onnx
from mmrep.deploy.exportable import exportable
from mmrep.deploy.inputs import random_input
from mmrep.engine import load_config
from mmrep.errors import UsageError

CONFIGS = Path(__file__).parents[2] / 'configs'
FCOS = 'fcos_replknet-tiny_shapes.py'
CASCADE = 'cascade-mask-rcnn_replknet-tiny_shapes.py'


@pytest.fixture
def trained(tmp_path, randomise):
    """Config and checkpoint of a small detector."""

    def make(name):
        cfg = load_config(
            str(CONFIGS / name),
            {
                'model.backbone.arch.depths': [1, 1, 1, 1],
                'model.backbone.arch.kernel_sizes': [13, 9, 7, 5],
            },
        )
        model = randomise(build_model(cfg))
        # as merged files have it
        meta = dict(classes=list('abcdef'), palette=[[220, 20, 60]] * 6)
        torch.save(
            dict(state_dict=model.state_dict(), meta=dict(dataset_meta=meta)),
            tmp_path / 'in.pth',
        )
        return cfg, str(tmp_path / 'in.pth')

    return make


@pytest.mark.parametrize('name, count', [(FCOS, 12), (CASCADE, 15)])
def test_merged_files(trained, tmp_path, name, count):
    cfg, checkpoint = trained(name)
    out = tmp_path / 'out.pth'
    inputs = dict(random=random_input((96, 128)))
    done = reparameterize(cfg, checkpoint, str(out), inputs)
    # maps of the neck, and of every head
    assert len(done.differences['random']) == count
    assert done.norms[0] > 0 and done.norms[1] == 0
    merged = load_model(load_config(str(out.with_suffix('.py'))), str(out))
    x = torch.randn(1, 3, 64, 64)
    reference = load_model(cfg, checkpoint)
    with torch.no_grad():
        pairs = zip(
            merged.extract_feat(x), reference.extract_feat(x), strict=True
        )
        for found, expected in pairs:
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_predictions_and_pictures(trained, tmp_path):
    cfg, checkpoint = trained(FCOS)
    image = np.random.RandomState(0).randint(0, 256, (90, 120, 3), np.uint8)
    boxes = []
    for deploy in (True, False):
        infer = Inferencer(cfg, checkpoint, deploy=deploy, device='cpu')
        (sample,) = infer(image, out_dir=tmp_path / str(deploy), score_thr=0)
        boxes.append(sample.pred_instances.bboxes)
        assert (tmp_path / str(deploy) / '00000000.png').is_file()
    torch.testing.assert_close(*boxes, rtol=1e-3, atol=1e-2)
    assert len(boxes[0]) > 0
    # older versions of Matplotlib shift what is below by a pixel
    grey = np.full_like(image, 127)
    drawn = infer.draw(grey, sample, score_thr=0)
    assert drawn.shape == grey.shape and (drawn != grey).any()
    clear = infer.draw(grey, sample, score_thr=1.1)
    np.testing.assert_array_equal(clear, grey)
    with pytest.raises(UsageError, match='slide needs a segmentor'):
        Inferencer(cfg, checkpoint, device='cpu', slide=64)
    with pytest.raises(UsageError, match='only for segmentors'):
        infer.read_truth('x.png')


@pytest.mark.slow
def test_boxes_are_decoded_from_the_exported_maps(trained, tmp_path):
    """ONNX up to the maps of the head, MMDetection behind it."""
    import onnxruntime

    cfg, checkpoint = trained(FCOS)
    out = tmp_path / 'fcos.onnx'
    module = exportable(load_model(cfg, checkpoint, deploy=True), 'head')
    export_onnx(module, str(out), (64, 96))
    model = load_model(cfg, checkpoint)
    session = onnxruntime.InferenceSession(str(out))
    names = [output.name for output in session.get_outputs()]
    assert names[0] == 'scores_0' and names[-1] == 'centerness_2'
    x = torch.randn(1, 3, 96, 64)
    values = session.run(None, {'image': x.numpy()})
    levels = len(model.bbox_head.strides)
    maps = [
        [torch.from_numpy(v) for v in values[i : i + levels]]
        for i in range(0, len(values), levels)
    ]
    metas = [dict(img_shape=(96, 64), scale_factor=(1.0, 1.0))]
    with torch.no_grad():
        expected = model.bbox_head(model.extract_feat(x))
        decode = model.bbox_head.predict_by_feat
        found, reference = (
            decode(*outs, batch_img_metas=metas, rescale=True)[0]
            for outs in (maps, expected)
        )
    assert len(found) == len(reference) > 0
    torch.testing.assert_close(
        found.scores, reference.scores, rtol=1e-3, atol=1e-4
    )


def test_parts_of_detectors(trained):
    cfg, checkpoint = trained(CASCADE)
    model = load_model(cfg, checkpoint, deploy=True)
    with pytest.raises(UsageError, match='must be backbone or neck, got head'):
        exportable(model, 'head')
    x = torch.randn(1, 3, 64, 64)
    module = exportable(model)
    assert module.part == 'neck'
    with torch.no_grad():
        pairs = zip(module(x), model.extract_feat(x), strict=True)
        for found, expected in pairs:
            torch.testing.assert_close(found, expected)
