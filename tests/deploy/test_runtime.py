"""Exported files in the place of a model and its checkpoint."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from torch import nn

from mmrep.apis import Inferencer
from mmrep.deploy import load_model
from mmrep.deploy.export import export_onnx, export_program
from mmrep.deploy.runtime import (
    ExportedFile,
    _other_decisions,
    load_exported,
    use_exported,
)
from mmrep.deploy.runtime.detector import ExportedDetector
from mmrep.deploy.runtime.files import _decisions
from mmrep.deploy.runtime.parts import part_of_nodes
from mmrep.deploy.whole import whole_model
from mmrep.deploy.whole.metadata import describe_whole
from mmrep.engine import load_config
from mmrep.errors import UsageError
from mmrep.runner import CheckpointGuardHook


@pytest.fixture(scope='module')
def exported(small_segmentor, tmp_path_factory):
    """Config, checkpoint, and the file of a small segmentor."""
    cfg = load_config(str(small_segmentor[0]))
    model = load_model(cfg, str(small_segmentor[1]), deploy=True)
    module = whole_model(model)
    about = describe_whole(cfg, model.dataset_meta, module)
    path = tmp_path_factory.mktemp('exported') / 'm.onnx'
    export_onnx(module, str(path), (64, 96), metadata=about)
    return small_segmentor[0], small_segmentor[1], path


def picture(height=90, width=120):
    noise = np.random.RandomState(0).randint(0, 256, (9, 12, 3), np.uint8)
    return np.kron(noise, np.ones((height // 9, width // 12, 1), np.uint8))


@pytest.mark.slow
def test_segmentor(exported):
    config, checkpoint, path = exported
    image = picture()
    for slide in (None, (64, 40)):
        expected = Inferencer(str(config), str(checkpoint), slide=slide)
        found = Inferencer(str(config), str(path), slide=slide)
        names, reference = (
            list(infer.meta['classes']) for infer in (found, expected)
        )
        assert names == reference
        labels, reference = (
            infer.predict(image).pred_sem_seg.data[0].numpy()
            for infer in (found, expected)
        )
        assert labels.shape == image.shape[:2]
        assert len(np.unique(reference)) > 2
        assert (labels == reference).mean() >= 0.999


@pytest.mark.slow
def test_windows_of_the_config(exported):
    """MMSegmentation's slide mode, whose windows the file segments."""
    config, checkpoint, path = exported
    cfg = load_config(str(config))
    windows = dict(mode='slide', crop_size=(64, 64), stride=(40, 40))
    cfg.model.test_cfg = windows
    model = load_model(cfg, str(checkpoint))
    stand_in = load_exported(cfg, str(path))
    x = torch.randint(0, 256, (1, 3, 90, 110))
    metas = [dict(ori_shape=(90, 110), img_shape=(90, 110))]
    with torch.no_grad():
        data = model.data_preprocessor(dict(inputs=list(x)), False)
        expected = model.inference(data['inputs'], [dict(metas[0])])
        found = stand_in.inference(x.float(), [dict(metas[0])])
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_windows_that_the_file_would_pad(exported):
    config, _, path = exported
    cfg = load_config(str(config))
    cfg.model.data_preprocessor.test_cfg = dict(size_divisor=32)
    with pytest.raises(UsageError, match='without size_divisor, got 32'):
        Inferencer(cfg, str(path), slide=64)
    load_exported(cfg, str(path))
    cfg.model.test_cfg = dict(mode='slide', crop_size=(64, 64), stride=(9, 9))
    with pytest.raises(UsageError, match='without size_divisor, got 32'):
        load_exported(cfg, str(path))


@pytest.mark.slow
def test_what_does_not_fit(exported, tmp_path):
    import onnx

    config, _, path = exported
    cfg = load_config(str(config), {'model.decode_head.num_classes': 9})
    with pytest.raises(UsageError, match='9 classes.*another.*7 classes'):
        load_exported(cfg, str(path))
    mean = {'model.data_preprocessor.mean': [1.0, 2.0, 3.0]}
    with pytest.raises(UsageError, match=r'\(mean \[1.0, .*another.*\(mean'):
        load_exported(load_config(str(config), mean), str(path))
    with pytest.raises(
        UsageError, match="must be a file of the config's model"
    ):
        use_exported(cfg, str(path))
        from mmrep.registry import MODELS

        MODELS.build(cfg.model)
    graph = onnx.load(str(path))
    del graph.metadata_props[:]
    onnx.save(graph, f'{tmp_path}/foreign.onnx')
    with pytest.raises(UsageError, match='written by tools/export.py, but'):
        ExportedFile(f'{tmp_path}/foreign.onnx')
    file = ExportedFile(str(path))
    with pytest.raises(UsageError, match=r'input of \(1, 5, 64, 64\)'):
        file.run(torch.zeros(1, 5, 64, 64))
    graph = onnx.load(str(path))
    del graph.graph.output[1]
    onnx.save(graph, f'{tmp_path}/labels.onnx')
    model = load_exported(load_config(str(config)), f'{tmp_path}/labels.onnx')
    with pytest.raises(UsageError, match='outputs logits, but has labels; '):
        model.encode_decode(torch.zeros(1, 3, 64, 64), [{}])


SEGMENTS = dict(
    align_corners=False, num_classes=2, out_channels=2, threshold=None
)


@pytest.mark.parametrize(
    'key, text',
    [
        ('input', 'normalized'),
        ('decisions', '{'),
        ('decisions', '[]'),
        ('decisions', '{"align_corners": false}'),
        ('classes', 'cat, dog'),
    ],
)
def test_metadata_of_another_program(key, text):
    about = dict(channels='BGR', model='m', input='float')
    about.update(decisions=json.dumps(SEGMENTS), classes='["cat"]')
    assert _decisions('m.onnx', about) == SEGMENTS
    about[key] = text
    with pytest.raises(UsageError, match=f'm.onnx must .*, but has {key} '):
        _decisions('m.onnx', about)


def test_files_that_cannot_be_run(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match='must be an existing file'):
        ExportedFile(f'{tmp_path}/none.onnx')
    for suffix in ('onnx', 'pt2'):
        broken = tmp_path / f'broken.{suffix}'
        broken.write_bytes(b'no model')
        with pytest.raises(UsageError, match='cannot be read as an exported'):
            ExportedFile(str(broken), trust=True)
    with pytest.raises(UsageError, match='needs PyTorch, not onnxrun'):
        ExportedFile(f'{tmp_path}/broken.pt2', 'onnxruntime')
    (tmp_path / 'm.xml').write_text('')
    with pytest.raises(UsageError, match='needs OpenVINO, not onnxruntime'):
        ExportedFile(f'{tmp_path}/m.xml', 'onnxruntime')
    monkeypatch.setitem(sys.modules, 'openvino', None)
    with pytest.raises(UsageError, match='requirements/openvino.txt'):
        ExportedFile(f'{tmp_path}/broken.onnx', 'openvino')
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    with pytest.raises(UsageError, match='requirements/export.txt'):
        ExportedFile(f'{tmp_path}/broken.onnx')


@pytest.mark.parametrize(
    'kind, dtype, first',
    [
        ('picture', torch.uint8, 0),
        ('picture-rgb', torch.uint8, 2),
        ('float', torch.float32, 0),
        ('float-rgb', torch.float32, 2),
        ('normalised', torch.float32, 0),
    ],
)
def test_what_a_file_is_fed(kind, dtype, first):
    file = object.__new__(ExportedFile)
    file.path, file.about = 'm', dict(input=kind)
    file._session = SimpleNamespace(run=lambda image: dict(image=image))
    picture = torch.arange(3.0).reshape(1, 3, 1, 1).expand(1, 3, 4, 5)
    fed = file.run(picture)['image']
    assert fed.dtype == dtype and (fed[:, 0] == first).all()
    for other in (picture + 0.5, picture + 254, -picture):
        if dtype == torch.uint8:
            with pytest.raises(UsageError, match='takes bytes, .*input float'):
                file.run(other)
        else:
            file.run(other)


def test_decisions_of_the_config_that_a_file_ignores():
    own = dict(score_threshold=0.05, iou_threshold=0.5, max_per_image=100)
    file = SimpleNamespace(decisions=dict(own, mask_threshold=0.5))
    rules = dict(score_thr=0.05, nms=dict(iou_threshold=0.5), max_per_img=100)
    for test_cfg in (rules, dict(rpn=dict(max_per_img=1000), rcnn=rules)):
        model = ConfigDict(test_cfg=test_cfg)
        assert list(_other_decisions(file, model)) == []
        rules.update(score_thr=0.3, max_per_img=7)
        model = ConfigDict(test_cfg=test_cfg)
        assert list(_other_decisions(file, model)) == [
            ('score_threshold', 0.05, 0.3),
            ('max_per_image', 100, 7),
        ]
        rules.update(score_thr=0.05, max_per_img=100)
    assert list(_other_decisions(file, ConfigDict())) == []


def test_classes_in_the_order_of_the_file():
    file = object.__new__(ExportedFile)
    file.about = dict(classes='["disc", "ground"]')
    model = nn.Module()
    model.file = file
    dataset = SimpleNamespace(metainfo=dict(classes=('ground', 'disc')))
    loop = SimpleNamespace(dataloader=SimpleNamespace(dataset=dataset))
    runner = SimpleNamespace(model=model, test_loop=loop)
    with pytest.raises(
        UsageError, match="of the file: number 0 is 'disc' there, and 'ground'"
    ):
        CheckpointGuardHook().before_test(runner)
    file.about = dict(classes='["ground", "disc"]')
    CheckpointGuardHook().before_test(runner)


class File:
    """Stands for a file that finds one object."""

    about = dict(input='picture')
    decisions = dict(mask_threshold=0.5)

    def __init__(self, masks):
        self.masks = masks

    def run(self, image, needed):
        assert image.shape == (1, 3, 20, 30)
        dets = torch.zeros(1, 2, 5)
        dets[0, 0] = torch.tensor([3, 4, 15, 16, 0.9])
        labels = torch.tensor([[1, -1]])
        return dict(dets=dets, labels=labels, masks=self.masks)


@pytest.mark.parametrize('swap', ['bgr_to_rgb', 'rgb_to_bgr'])
def test_channels_are_swapped_only_in_the_file(swap):
    from mmdet.structures import DetDataSample

    seen = []

    class Seen(File):
        def run(self, image, needed):
            seen.append(image[0, :, 0, 0].tolist())
            return super().run(image, needed)

    preparation = dict(
        type='mmdet.DetDataPreprocessor', mean=[0.0] * 3, std=[1.0] * 3
    )
    model = dict(data_preprocessor={**preparation, swap: True})
    detector = ExportedDetector(Seen(torch.ones(1, 2, 28, 28)), model)
    picture = torch.arange(3).reshape(3, 1, 1).expand(3, 20, 30)
    sample = DetDataSample(
        metainfo=dict(
            img_shape=(20, 30), ori_shape=(20, 30), scale_factor=(1.0, 1.0)
        )
    )
    detector.test_step(dict(inputs=[picture], data_samples=[sample]))
    assert seen == [[0, 1, 2]]


@pytest.mark.parametrize('pasted', [True, False])
def test_detections_in_the_original_picture(pasted):
    from mmdet.structures import DetDataSample

    masks = torch.ones(1, 2, 28, 28)
    if pasted:
        masks = torch.zeros(1, 2, 20, 30, dtype=torch.bool)
        masks[0, 0, 4:16, 3:15] = True
    model = ExportedDetector(
        File(masks),
        dict(data_preprocessor=dict(type='mmdet.DetDataPreprocessor')),
    )
    sample = DetDataSample(
        metainfo=dict(
            img_shape=(20, 30), ori_shape=(40, 60), scale_factor=(0.5, 0.5)
        )
    )
    data = dict(
        inputs=[torch.zeros(3, 20, 30, dtype=torch.uint8)],
        data_samples=[sample],
    )
    (sample,) = model.eval().test_step(data)
    found = sample.pred_instances
    assert found.labels.tolist() == [1]
    assert found.bboxes.tolist() == [[6, 8, 30, 32]]
    expected = torch.zeros(40, 60, dtype=torch.bool)
    expected[8:32, 6:30] = True
    assert (found.masks[0] == expected).all()


@pytest.mark.slow
def test_program(small_segmentor, tmp_path):
    cfg = load_config(str(small_segmentor[0]))
    model = load_model(cfg, str(small_segmentor[1]), deploy=True)
    module = whole_model(model)
    about = describe_whole(cfg, {}, module)
    path = f'{tmp_path}/m.pt2'
    export_program(module, path, (64, 96), metadata=about)
    with pytest.raises(UsageError, match='may run code.*trust-checkpoint'):
        ExportedFile(path)
    file = ExportedFile(path, trust=True)
    assert json.loads(file.about['outputs']) == ['labels', 'logits']
    image = torch.randint(0, 256, (1, 3, 70, 64))
    with torch.no_grad():
        expected = module(image.to(torch.uint8))[1]
    torch.testing.assert_close(file.run(image)['logits'], expected)


@pytest.mark.slow
def test_openvino(exported):
    pytest.importorskip('openvino')
    _, _, path = exported
    image = torch.randint(0, 256, (1, 3, 70, 64))
    expected = ExportedFile(str(path)).run(image)
    found = ExportedFile(str(path), 'openvino').run(image)
    torch.testing.assert_close(
        found['logits'], expected['logits'], rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize('fused', [False, True])
def test_parts_of_a_graph(fused):
    from onnx import helper

    nodes = [
        ('Conv', 'image', 'maps', 'network'),
        ('Sigmoid', 'maps', 'scores', 'network'),
        ('NonMaxSuppression', 'scores', 'kept', 'NMS'),
        ('Gather', 'scores kept', 'proposals', 'heads of RoIs'),
        ('RoiAlign', 'maps proposals', 'rois', 'RoIAlign'),
        ('Gemm', 'rois', 'boxes', 'heads of RoIs'),
        ('NonMaxSuppression', 'boxes', 'kept2', 'NMS'),
        ('Gather', 'boxes kept2', 'dets', 'heads of RoIs'),
        ('RoiAlign', 'maps dets', 'rois2', 'RoIAlign'),
        ('ConvTranspose', 'rois2', 'logits', 'heads of RoIs'),
        ('Sigmoid', 'logits', 'chances', 'heads of RoIs'),
        ('Sub', 'dets', 'weights', 'pasting'),
        ('MatMul', 'chances weights', 'masks', 'pasting'),
    ]
    graph = helper.make_graph(
        [
            helper.make_node(kind, inputs.split(), [output], name=output)
            for kind, inputs, output, _ in nodes
        ],
        'graph', [], [],
    )  # fmt: skip
    if fused:  # as ONNX Runtime does
        logits, chances = graph.node[9:11]
        logits.op_type, logits.name = 'FusedConv', chances.name
        logits.output[0] = chances.output[0]
        activation = helper.make_attribute('activation', 'Sigmoid')
        logits.attribute.append(activation)
        graph.node.remove(chances)
        nodes.pop(9)
    assert part_of_nodes(graph) == {name: part for _, _, name, part in nodes}
