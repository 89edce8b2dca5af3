"""Pictures of every depth and number of bands: read as the config says."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import DefaultScope
from sweep import sweep
from torch import nn

from mmrep.apis import Inferencer
from mmrep.apis.pictures import as_bytes
from mmrep.deploy import build_model
from mmrep.engine import load_config
from mmrep.errors import UsageError

tifffile = pytest.importorskip('tifffile')
SIZE = (70, 101)
LOADING = dict(
    jpg8=dict(),
    png16=dict(color_type='unchanged', to_float32=True),
    tif4=dict(color_type='unchanged', to_float32=True),
    tif6=dict(color_type='unchanged', imdecode_backend='tifffile'),
)


def write(path, kind):
    """A picture whose bands tell classes apart, of some kind."""
    bands = dict(jpg8=3, png16=3, tif4=4, tif6=6)[kind]
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] / 15
    picture = np.stack(
        [np.sin(x * (i + 1) + y / (i + 1)) for i in range(bands)], -1
    )
    picture = (picture + 1) / 2
    if kind == 'jpg8':
        path = path.with_suffix('.png')
        assert cv2.imwrite(str(path), (picture * 255).astype(np.uint8))
    elif kind == 'png16':
        path = path.with_suffix('.png')
        # of twelve bits, as sensors have
        assert cv2.imwrite(str(path), (picture * 4095).astype(np.uint16))
    else:
        path = path.with_suffix('.tif')
        top, dtype = (4095, np.uint16) if bands == 4 else (255, np.uint8)
        tifffile.imwrite(
            path, (picture * top).astype(dtype), planarconfig='contig',
            photometric='rgb' if bands == 4 else 'minisblack',
        )  # fmt: skip
    return str(path)


@pytest.fixture
def segmentor(small_segmentor, tmp_path):
    """Config and checkpoint of a model of some kind of pictures."""

    def make(kind, **changes):
        bands = dict(jpg8=3, png16=3, tif4=4, tif6=6)[kind]
        cfg = load_config(str(small_segmentor[0]))
        cfg.model.backbone.in_channels = bands
        mean = [2000.0 if kind in ('png16', 'tif4') else 127.0] * bands
        cfg.model.data_preprocessor.update(
            type='mmrep.SegDataPreProcessor',
            mean=mean,
            std=[m / 2 for m in mean],
        )
        cfg.model.update(changes.pop('model', {}))
        cfg.model.data_preprocessor.update(changes.pop('preprocessor', {}))
        steps = cfg.test_dataloader.dataset.pipeline
        steps[0].update(LOADING[kind])
        del steps[1:3]  # Resize and LoadAnnotations
        steps[1:1] = changes.pop('steps', [])
        torch.manual_seed(0)
        model = build_model(cfg)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.running_mean, -0.5, 0.5)
                nn.init.uniform_(module.running_var, 0.5, 2)
                nn.init.uniform_(module.bias, -0.5, 0.5)
        nn.init.normal_(model.decode_head.conv_seg.weight, std=1)
        with torch.no_grad():  # no class is ahead of the others
            meta = dict(img_shape=SIZE, pad_shape=SIZE)
            logits = model.encode_decode(torch.randn(1, bands, *SIZE), [meta])
            model.decode_head.conv_seg.bias -= logits.mean((0, 2, 3))
        torch.save(dict(state_dict=model.state_dict()), tmp_path / 'w.pth')
        return cfg, str(tmp_path / 'w.pth')

    return make


def labels_of_a_test(cfg, weights, path, crop, stride):
    """Labels as test.py's slide mode gives them."""
    model = build_model(cfg)
    model.load_state_dict(torch.load(weights)['state_dict'])
    model.test_cfg = dict(mode='slide', crop_size=crop, stride=stride)
    model.test_cfg = type(cfg.model)(model.test_cfg)
    with DefaultScope.overwrite_default_scope('mmseg'):
        steps = Compose(cfg.test_dataloader.dataset.pipeline)
        data = pseudo_collate([steps(dict(img_path=path))])
        with torch.no_grad():
            sample = model.test_step(data)[0]
    return sample.pred_sem_seg.data[0].numpy()


@pytest.mark.parametrize('kind', LOADING)
@pytest.mark.parametrize(
    'changes',
    sweep(
        [
            dict(),
            dict(preprocessor=dict(test_cfg=dict(size_divisor=32))),
            dict(preprocessor=dict(test_cfg=dict(size=(160, 160)))),
            dict(steps=[dict(type='Rot90')]),
        ]
    ),
    ids=['plain', 'divisor', 'size', 'step'],
)
def test_slide_gives_the_labels_of_a_test(
    segmentor, tmp_path, kind, changes, monkeypatch
):
    """Every pixel is the same, whatever the picture's form."""
    from mmengine.registry import TRANSFORMS

    class Rot90:  # a user's own step, which changes all bands
        def __call__(self, results):
            return {**results, 'img': results['img'][::-1].copy()}

    if 'steps' in changes:
        monkeypatch.setitem(TRANSFORMS.module_dict, 'Rot90', Rot90)
    path = write(tmp_path / 'x', kind)
    cfg, weights = segmentor(kind, **dict(changes))
    expected = labels_of_a_test(cfg, weights, path, (48, 48), (32, 32))
    infer = Inferencer(cfg, weights, False, 'cpu', slide=(48, 32))
    (sample,) = infer(path, out_dir=tmp_path / 'out')
    labels = sample.pred_sem_seg.data[0].numpy()
    assert len(np.unique(expected)) > 1
    assert labels.shape == SIZE
    assert np.array_equal(labels, expected)
    picture = cv2.imread(str(next((tmp_path / 'out').iterdir())))
    assert picture.shape[0] >= SIZE[0] and picture.std() > 10


def test_step_that_changes_the_size(segmentor, tmp_path):
    crop = dict(type='CenterCrop', crop_size=(32, 32))
    cfg, weights = segmentor('jpg8', steps=[crop])
    infer = Inferencer(cfg, weights, False, 'cpu', slide=(48, 32))
    with pytest.raises(UsageError, match='CenterCrop of the test pipeline'):
        infer(write(tmp_path / 'x', 'jpg8'))


@pytest.mark.parametrize('slide', [None, 48])
def test_other_number_of_bands(segmentor, tmp_path, slide):
    cfg, weights = segmentor('png16')
    infer = Inferencer(cfg, weights, False, 'cpu', slide=slide)
    path = write(tmp_path / 'x', 'tif4')
    with pytest.raises(UsageError) as error:
        infer(path)
    assert str(error.value).startswith(
        f'{path} must have as many channels as the model takes, 3, but has 4 '
        "when the config's test pipeline loads it"
    )


def test_arrays_of_several_bands(segmentor, tmp_path):
    cfg, weights = segmentor('tif6')
    infer = Inferencer(cfg, weights, False, 'cpu', slide=48)
    path = write(tmp_path / 'x', 'tif6')
    array = tifffile.imread(path)
    (a,), (b,) = infer(path), infer(array.astype(np.float32))
    assert torch.equal(a.pred_sem_seg.data, b.pred_sem_seg.data)
    with pytest.raises(UsageError, match='must be of shape'):
        infer(array[..., :2])


def test_each_band_is_normalised(segmentor):
    mean, std = [1.0, 2, 3, 4, 5, 6], [1.0, 2, 1, 2, 1, 2]
    cfg, _ = segmentor('tif6', preprocessor=dict(mean=mean, std=std))
    preprocessor = build_model(cfg).data_preprocessor
    pixels = torch.full((6, 2, 2), 7, dtype=torch.uint8)
    out = preprocessor(dict(inputs=[pixels]), False)['inputs']
    assert out[0, :, 0, 0].tolist() == [6, 2.5, 4, 1.5, 2, 0.5]
    cfg.model.data_preprocessor.std = std[:5]
    with pytest.raises(UsageError, match='as in mean, 6, got 5'):
        build_model(cfg)


def test_bands_are_shown():
    pixels = np.arange(4 * 5 * 6).reshape(4, 5, 6)
    assert as_bytes(pixels).shape == (4, 5, 3)
    assert as_bytes(pixels).min() == 0 and as_bytes(pixels).max() == 255
    bytes_ = pixels.astype(np.uint8)
    assert np.array_equal(as_bytes(bytes_), bytes_[..., :3])
    grey = as_bytes(bytes_[..., 0])
    assert (grey == bytes_[..., :1]).all() and grey.shape == (4, 5, 3)
    hole = np.where(pixels == 3, np.nan, pixels)
    assert as_bytes(hole).max() == 255
    assert not as_bytes(np.full((2, 2, 3), 7, np.uint16)).any()
