"""The effective receptive field against what can be worked out by hand."""

import math

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image
from scipy.signal import convolve2d
from torch import nn

from mmrep.analysis import (
    contribution_scores,
    high_contribution_areas,
    rescale,
)
from mmrep.analysis.backbones import (
    find_images,
    load_backbone,
    noise_images,
    read_images,
)
from mmrep.analysis.erf import ERF, notes_on
from mmrep.deploy import reparameterize
from mmrep.engine import load_config
from mmrep.errors import UsageError
from mmrep.models import RepLKNet


def conv(weight, stride=1, dilation=1):
    weight = torch.as_tensor(weight, dtype=torch.float32)
    out, inner, k, _ = weight.shape
    layer = nn.Conv2d(
        inner, out, k, stride, dilation * (k // 2), dilation, bias=False
    )
    layer.weight.data = weight
    return layer


def spread(kernel, step):
    """A kernel with step - 1 zeros between its values."""
    out = np.zeros([(n - 1) * step + 1 for n in kernel.shape])
    out[::step, ::step] = kernel
    return out


def path_kernels(layers):
    """Kernel from each input to each output channel, by numpy alone."""
    paths, stride = None, 1
    for weight, own_stride, dilation in layers:
        kernels = [
            [spread(kernel, stride * dilation) for kernel in row]
            for row in weight
        ]
        if paths is not None:
            kernels = [
                [
                    sum(
                        convolve2d(row[m], paths[m][i])
                        for m in range(len(paths))
                    )
                    for i in range(len(paths[0]))
                ]
                for row in kernels
            ]
        paths, stride = kernels, stride * own_stride
    return paths, stride


@pytest.mark.parametrize('signed', [False, True])
def test_stack_of_known_convolutions(signed):
    """Strides, dilation and two channels; gradients of both signs."""
    rng = np.random.default_rng(0)
    layers = [
        (rng.uniform(-1 if signed else 0, 1, shape), stride, dilation)
        for shape, stride, dilation in [
            ((2, 3, 5, 5), 2, 1),
            ((4, 2, 3, 3), 1, 2),
            ((2, 4, 7, 7), 1, 1),
        ]
    ]
    network = nn.Sequential(*(conv(*layer) for layer in layers)).eval()
    images = [torch.rand(1, 3, 64, 64) - signed * 0.5 for _ in range(3)]
    found = contribution_scores(network, images)
    assert found.map_size == (32, 32) and found.images == 3

    paths, stride = path_kernels(layers)
    expected = np.zeros((64, 64))
    middle = 16 * stride  # of the map's centre, (16, 16)
    reach = len(paths[0][0]) // 2
    window = slice(middle - reach, middle + reach + 1)
    for image in images:
        part = image[0, :, window, window].double().numpy()
        gradient = np.zeros_like(part)
        for row in paths:
            # only positive features count
            if sum((k * p).sum() for k, p in zip(row, part, strict=True)) > 0:
                gradient += np.stack(row)
        expected[window, window] += gradient.clip(0).sum(0) / 3
    assert (expected > 0).sum() > 100
    np.testing.assert_allclose(found.scores, expected, rtol=1e-4, atol=1e-5)


def test_batches_are_summed_and_averaged():
    network = nn.Conv2d(3, 4, 3, padding=1).eval()
    images = torch.randn(4, 3, 9, 9)
    one = contribution_scores(network, images.split(1)).scores
    two = contribution_scores(network, images.split(2)).scores
    np.testing.assert_allclose(two, 2 * one, rtol=1e-5)


def test_named_layer_and_last_map(tiny_arch):
    network = RepLKNet(tiny_arch).eval()
    shallow = RepLKNet(tiny_arch, out_indices=(1,)).eval()
    shallow.load_state_dict(network.state_dict(), strict=False)
    image = torch.randn(1, 3, 64, 64)
    by_name = contribution_scores(network, [image], 'stages.1')
    alone = contribution_scores(shallow, [image])
    assert by_name.map_size == alone.map_size == (8, 8)
    np.testing.assert_array_equal(by_name.scores, alone.scores)
    assert contribution_scores(network, [image]).map_size == (2, 2)
    with pytest.raises(UsageError, match="no layer 'stage.1'; .*stages.1,"):
        contribution_scores(network, [image], 'stage.1')
    assert not network.stages[1]._forward_hooks


def area_ratios(kernel):
    torch.manual_seed(0)
    network = RepLKNet(
        dict(
            channels=(8, 16),
            depths=(2, 2),
            kernel_sizes=(kernel, kernel),
            small_kernel=None,
        ),
        out_indices=(1,),
    ).eval()
    scores = contribution_scores(network, noise_images(3, 256, 2)).scores
    return [area.ratio for area in high_contribution_areas(rescale(scores))]


def test_larger_kernels_see_more():
    """At equal depth, 31 > 13 > 3 for every threshold."""
    ratios = np.array([area_ratios(kernel) for kernel in (3, 13, 31)])
    assert (np.diff(ratios, axis=0) > 0).all()
    assert 2 * ratios[0, -1] < ratios[1, -1] < ratios[2, -1] / 2


def published_area(scores, threshold):
    """The paper's definition, square by square."""
    size = len(scores)
    for i in range(1, size // 2):
        middle = slice(size // 2 - i, size // 2 + i + 1)
        if scores[middle, middle].sum() / scores.sum() > threshold:
            return 2 * i + 1, (2 * i + 1) ** 2 / size**2
    return None, None


@pytest.mark.parametrize('width', [2, 9, 1000])
def test_areas_as_published(width):
    y, x = np.mgrid[:64, :64] - 32
    scores = 300 * np.exp(-(y**2 + x**2) / (2 * width**2))
    scaled = np.log10(scores + 1)
    scaled /= scaled.max()
    np.testing.assert_allclose(rescale(scores), scaled, atol=1e-15)
    areas = high_contribution_areas(rescale(scores))
    assert [a.threshold for a in areas] == [0.2, 0.3, 0.5, 0.99]
    for area in areas:
        side, ratio = published_area(scaled, area.threshold)
        assert area.side == side
        assert ratio is None or area.ratio == pytest.approx(ratio)
        assert side is None or area.held > area.threshold
    assert (areas[-1].side is None) is (width == 1000)


def test_unreached_thresholds_are_explained():
    areas = high_contribution_areas(np.ones((64, 64)))
    # 63 x 63 of 64 x 64
    assert areas[-1].side is None
    assert areas[-1].held == pytest.approx(63**2 / 64**2)
    found = ERF(np.ones((64, 64)), (8, 8), 1, 0)
    (note,) = notes_on(found, areas)
    assert '63 x 63 of 64 x 64' in note and '96.9%' in note and '99%' in note
    assert notes_on(found, areas[:3]) == []
    found = ERF(np.ones((64, 64)), (2, 8), 1, 3)
    skipped, small = notes_on(found, areas[:3])
    assert skipped.startswith('3 images') and 'map is 2 x 8' in small
    # with an odd size the whole map is a square
    (area,) = high_contribution_areas(np.ones((9, 9)), [0.99])
    assert (area.side, area.ratio) == (9, 1)


def test_tiny_contributions_keep_their_shape():
    scores = np.full((5, 5), 1e-20)
    scores[2, 2] = 4e-20
    scaled = rescale(scores)
    assert scaled[2, 2] == 1 and scaled[0, 0] == pytest.approx(0.25)


def test_wrong_inputs():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten())
    with pytest.raises(ValueError, match='in training mode'):
        contribution_scores(network, [torch.rand(1, 3, 8, 8)])
    network.eval()
    with pytest.raises(UsageError, match=r'must give a map .* \(1, 144\)'):
        contribution_scores(network, [torch.rand(1, 3, 8, 8)])
    with pytest.raises(UsageError, match='cannot take an image of 2 x 2'):
        contribution_scores(network, [torch.rand(1, 3, 2, 2)])
    with pytest.raises(UsageError, match='no pixel contributes'):
        rescale(np.zeros((8, 8)))
    with pytest.raises(UsageError, match='2 x 8'):
        high_contribution_areas(np.ones((2, 8)))
    network[0].weight.data[:] = math.inf
    with pytest.raises(UsageError, match='no gradient of the 2 images'):
        contribution_scores(network[0], [torch.rand(1, 3, 8, 8)] * 2)


def test_images_are_those_of_the_config(tmp_path, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 6, 3), np.uint8)
    folder = tmp_path / 'class'
    folder.mkdir()
    Image.fromarray(pixels).save(folder / 'b.png')
    Image.fromarray(pixels[::-1].copy()).save(folder / 'a.PNG')
    (folder / 'c.txt').touch()
    paths = find_images(str(tmp_path), 50)
    assert [path.name for path in paths] == ['a.PNG', 'b.png']
    assert len(find_images(str(tmp_path), 1)) == 1
    for prepared, expected in [
        (dict(mean=[1, 2, 3], std=[4, 5, 6], bgr_to_rgb=True),
         (pixels - [1, 2, 3]) / [4, 5, 6]),
        (dict(mean=[1, 2, 3], std=[4, 5, 6]),
         (pixels[..., ::-1] - [1, 2, 3]) / [4, 5, 6]),
        (dict(mean=[1, 2, 3], std=[4, 5, 6], to_rgb=True),
         (pixels - [1, 2, 3]) / [4, 5, 6]),
        (None,
         (pixels - [123.675, 116.28, 103.53]) / [58.395, 57.12, 57.375]),
    ]:  # fmt: skip
        cfg = Config(dict(model=dict(type='x', data_preprocessor=prepared)))
        if prepared and 'to_rgb' in prepared:  # as MMPretrain's configs
            cfg.data_preprocessor = cfg.model.pop('data_preprocessor')
        image = list(read_images(paths, 6, cfg))[1]
        expected = expected.transpose(2, 0, 1)[None]
        np.testing.assert_allclose(image.numpy(), expected, rtol=1e-5)
        assert next(read_images(paths, 10, cfg)).shape == (1, 3, 10, 10)
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 10)
    with pytest.raises(UsageError, match='a.PNG is not a readable.*pixels'):
        next(read_images(paths, 6, cfg))
    monkeypatch.undo()
    (folder / 'd.jpg').write_bytes(b'not an image')
    with pytest.raises(UsageError, match='d.jpg is not a readable'):
        list(read_images(find_images(str(tmp_path), 50), 6, cfg))


def test_images_in_folders_that_are_linked_to(tmp_path):
    (tmp_path / 'real').mkdir()
    (tmp_path / 'real/a.png').touch()
    (tmp_path / 'real/around').symlink_to(tmp_path / 'real')
    (tmp_path / 'images').mkdir()
    (tmp_path / 'images/class').symlink_to(tmp_path / 'real')
    found = find_images(str(tmp_path / 'images'))
    assert found == [tmp_path / 'images/class/a.png']


@pytest.mark.parametrize('prefix', ['', 'backbone.'])
def test_weights_of_other_registries(tmp_path, prefix):
    cfg = Config(dict(model=dict(type='mmdet.ResNet', depth=18)))
    state = load_backbone(cfg).state_dict()
    path = tmp_path / 'r18.pth'
    torch.save({prefix + key: value for key, value in state.items()}, path)
    torch.manual_seed(1)
    loaded = load_backbone(cfg, str(path))
    assert not loaded.training
    for key, value in loaded.state_dict().items():
        assert torch.equal(value, state[key])
    state.popitem(), state.pop('conv1.weight')
    torch.save(state, path)
    with pytest.raises(UsageError, match='conv1.weight'):
        load_backbone(cfg, str(path))


def test_released_weights(tmp_path, tiny_arch):
    """As an ImageNet file has them, with a head."""
    cfg = Config(dict(model=dict(type='mmrep.RepLKNet', arch=tiny_arch)))
    state = load_backbone(cfg).state_dict()
    norm = nn.BatchNorm2d(20).state_dict(prefix='norm.')
    head = nn.Linear(20, 7).state_dict(prefix='head.')
    path = tmp_path / 'released.pth'
    torch.save(dict(model={**state, **norm, **head}), path)
    torch.manual_seed(1)
    loaded = load_backbone(cfg, str(path)).state_dict()
    assert all(torch.equal(value, state[key]) for key, value in loaded.items())


def test_merged_files(small_segmentor, tmp_path):
    """Merging leaves the field as it is."""
    config, checkpoint = map(str, small_segmentor)
    merged = tmp_path / 'merged.pth'
    noise = dict(noise=torch.rand(1, 3, 64, 64))
    reparameterize(load_config(config), checkpoint, str(merged), noise)
    pair = [(config, checkpoint), (str(tmp_path / 'merged.py'), str(merged))]
    image = torch.randn(1, 3, 64, 64)
    before, after = (
        contribution_scores(load_backbone(load_config(path), file), [image])
        for path, file in pair
    )
    error = abs(after.scores - before.scores).max() / before.scores.max()
    assert error < 1e-4
