"""Point clouds: files, transforms, projections, runs by the usual tools."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch import nn

from mmrep.errors import UsageError
from mmrep.registry import MODELS
from mmrep.runner.check_hook import _check_classes
from projects.other_signals.point_cloud import (
    CloudAccuracy,
    PointCloudDataset,
    make_solids,
)
from projects.other_signals.point_cloud.cloud_files import (
    farthest_first,
    save_clouds,
)
from projects.other_signals.point_cloud.clouds import (
    NormalizePoints,
    SamplePoints,
    TurnPoints,
    turn,
)
from projects.other_signals.point_cloud.prepare_modelnet import read_h5_form
from projects.other_signals.point_cloud.projection import (
    CloudProjection,
    GraphFeature,
    cells,
    splat,
    view_rotations,
)

HERE = Path(__file__).parent
CONFIGS = HERE / 'configs'
SMALL = CONFIGS / 'multiview_unireplknet-tiny_solids.py'
PIPELINE = Config.fromfile(SMALL).test_pipeline


def write_clouds(folder, clouds=16, points=320):
    rng = np.random.default_rng(0)
    folder.mkdir()
    for split in ('train', 'val', 'test'):
        cloud = rng.standard_normal((clouds, points, 3))
        save_clouds(folder, split, cloud, np.arange(clouds) % 8)
    (folder / 'classes.txt').write_text('\n'.join('abcdefgh'))
    return folder


def spoil(folder, name, change):
    array = np.load(folder / name)
    array = change(array)
    np.save(folder / name, array)


# -------------------------------------------------------------------- files


def test_farthest_first():
    points = np.random.default_rng(0).random((60, 3))
    chosen = [points[0]]
    while len(chosen) < 20:
        distances = np.linalg.norm(points[:, None] - np.array(chosen), axis=2)
        chosen.append(points[distances.min(1).argmax()])
    np.testing.assert_array_equal(farthest_first(points, 20), chosen)


def test_data_set(tmp_path):
    root = write_clouds(tmp_path / 'set')
    data = PointCloudDataset(str(root), 'val', PIPELINE, repeats=8)
    assert len(data) == 128 and data.metainfo['classes'] == tuple('abcdefgh')
    # the third cloud, the sixth time
    sample = data[2 * 8 + 5]
    assert sample['data_samples'] == dict(gt_label=2)
    points, turned = (sample['inputs'][k] for k in ('points', 'turned'))
    assert points.shape == (256, 3) and points.dtype == torch.float32
    original = np.load(root / 'val_points.npy')[2]
    original -= original.mean(0)
    original /= np.linalg.norm(original, axis=1).max()
    np.testing.assert_allclose(points, original[:256], atol=1e-6)
    matrix = turn(np.pi * (0.1 + 5 * 1.9 / 8), -0.35 * np.pi)
    np.testing.assert_allclose(turned, points @ matrix.T, atol=1e-5)


@pytest.mark.parametrize(
    'name, change, line',
    [
        ('val_points.npy', lambda x: x[:, :5], 'takes, but has 5'),
        ('val_points.npy', lambda x: x * [1, np.nan, 1], '320 of its 320'),
        ('val_points.npy', lambda x: 0 * x, 'in more than one place'),
        ('val_points.npy', lambda x: x[..., :2], 'must hold clouds (n, N, 3)'),
        ('val_labels.npy', lambda x: x[1:], 'a label for each of 16 clouds'),
        ('val_labels.npy', lambda x: x + 1, 'go from 1 to 8'),
        ('val_labels.npy', lambda x: x.astype(object), 'cannot read'),
        ('val_labels.npy', lambda x: x + 0.5, 'but holds float64'),
        ('val_points.npy', lambda x: x.astype(str), 'but holds <U'),
    ],
)
def test_wrong_clouds(tmp_path, name, change, line):
    root = write_clouds(tmp_path / 'set')
    spoil(root, name, change)
    with pytest.raises(UsageError, match=re.escape(line)) as e:
        PointCloudDataset(str(root), 'val', PIPELINE)[0]
    assert '\n' not in str(e.value)


@pytest.mark.parametrize(
    'content, line', [(b'', 'No data left'), (b'PK\5\6' + bytes(18), '.npz')]
)
def test_other_files(tmp_path, content, line):
    root = write_clouds(tmp_path / 'set')
    (root / 'val_points.npy').write_bytes(content)
    with pytest.raises(UsageError, match=line):
        PointCloudDataset(str(root), 'val', PIPELINE)


@pytest.mark.parametrize('scale', [1e-30, 1e30])
def test_tiny_and_huge_clouds(scale):
    points = np.random.default_rng(0).random((40, 3)).astype(np.float32)
    small, same = (
        NormalizePoints().transform(dict(points=x))['points']
        for x in (points * np.float32(scale), points)
    )
    np.testing.assert_allclose(small, same, atol=1e-6)


def test_no_data_set(tmp_path):
    with pytest.raises(UsageError, match='make_solids.py'):
        PointCloudDataset(str(tmp_path), 'val', PIPELINE)


def test_points_are_drawn_among_the_first():
    points = np.arange(300.0).reshape(100, 3)
    first = SamplePoints(40).transform(dict(points=points))['points']
    np.testing.assert_array_equal(first, points[:40])
    np.random.seed(0)
    drawn = SamplePoints(40, among=60).transform(dict(points=points))
    rows = drawn['points'][:, 0] / 3
    assert len(set(rows)) == 40 and rows.max() < 60 and rows.max() >= 40


def rotation(angle, axis):
    x, y, z = axis
    cross = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]]).double()
    return torch.matrix_exp(angle * cross).numpy()


def test_turn_is_the_published_one():
    theta, phi = 0.7, -1.1
    axis = (np.sin(theta), -np.cos(theta), 0)
    expected = rotation(-theta, (0, 0, 1)) @ rotation(-phi, axis)
    np.testing.assert_allclose(turn(theta, phi), expected, atol=1e-12)


def test_turns_are_drawn_between_limits():
    points = np.eye(3, dtype=np.float32)
    np.random.seed(0)
    fixed = TurnPoints((0.3, 0.3), (-0.2, -0.2), random=True)
    turned = fixed.transform(dict(points=points))['turned']
    expected = turn(0.3 * np.pi, -0.2 * np.pi).T
    np.testing.assert_allclose(turned, expected, atol=1e-6)
    with pytest.raises(ValueError, match='same length'):
        TurnPoints((0.3, 0.3), (-0.2,))


# -------------------------------------------------------------- projections


def splat_in_numpy(points, features, size):
    """The published loop over points and their nine cells."""
    step = np.ptp(points[:, :2], axis=0).max() / np.float32(size - 3)
    cell = np.floor((points[:, :2] - points[:, :2].min(0)) / step)
    nine = [
        (c + [i, j] + 1, f)
        for c, f in zip(cell, features, strict=True)
        for i in (-1, 0, 1)
        for j in (-1, 0, 1)
    ]
    places = np.array([place for place, _ in nine])
    middle = np.floor((places.max(0) + places.min(0)) / 2)
    out = np.zeros((features.shape[1], size, size))
    for place, feature in nine:
        row, column = (place + size / 2 - middle - 1).astype(int)
        out[:, row, column] += feature
    return out


@pytest.mark.parametrize('scale', [(1, 1, 1), (0.3, 1, 1), (1, 0.11, 1)])
def test_splat(scale):
    size = 28
    rng = np.random.default_rng(1)
    points = (rng.standard_normal((2, 50, 3)) * scale).astype(np.float32)
    features = rng.standard_normal((2, 50, 4)).astype(np.float32)
    cell = cells(torch.from_numpy(points), size)
    assert cell.min() >= 1 and cell.max() <= size - 2
    out = splat(torch.from_numpy(features), cell, size)
    for i in range(2):
        expected = splat_in_numpy(points[i], features[i], size)
        np.testing.assert_allclose(out[i], expected, atol=1e-5)


def test_graph_feature():
    layer = GraphFeature(8, 4, 6)
    nn.init.uniform_(layer.norm.weight)
    nn.init.uniform_(layer.norm.bias)
    points = torch.randn(2, 40, 3)
    out = layer(points)
    weights = {k: v.numpy() for k, v in layer.state_dict().items()}
    for cloud, found in zip(points.numpy(), out.detach(), strict=True):
        x = cloud @ weights['embed.weight'].T + weights['embed.bias']
        edges = np.zeros((40, 6, 8))
        for i in range(40):
            near = np.linalg.norm(cloud - cloud[i], axis=1).argsort()[:6]
            for k, j in enumerate(near):
                edges[i, k] = (
                    weights['edge.weight'][:, :, 0, 0]
                    @ np.r_[x[j] - x[i], x[i]]
                )
        # groups of two channels
        groups = edges.reshape(40, 6, 4, 2)
        groups = groups - groups.mean((0, 1, 3), keepdims=True)
        groups /= np.sqrt((groups**2).mean((0, 1, 3), keepdims=True) + 1e-5)
        edges = groups.reshape(40, 6, 8) * weights['norm.weight']
        edges = edges + weights['norm.bias']
        edges = np.where(edges > 0, edges, 0.2 * edges).max(1)
        expected = edges @ weights['project.weight'].T
        expected += weights['project.bias']
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_views_are_the_published_ones():
    rotations = view_rotations(10).double()
    identity = torch.eye(3).double().expand(10, 3, 3)
    torch.testing.assert_close(
        rotations @ rotations.transpose(1, 2), identity, atol=1e-6, rtol=0
    )
    torch.testing.assert_close(
        torch.linalg.det(rotations), torch.ones(10).double()
    )
    # the first four see a cloud from four sides of its x axis, which lies
    # along their columns
    image = torch.tensor([1.0, 2, 3]).double() @ rotations[:4].transpose(1, 2)
    expected = [[-2, 1, 3], [-2, -3, 1], [-2, -1, -3], [-2, 3, -1]]
    torch.testing.assert_close(
        image, torch.tensor(expected).double(), atol=1e-5, rtol=0
    )


def small_model():
    model = MODELS.build(Config.fromfile(SMALL).model)
    return model.eval()


def batch(clouds=2, points=64):
    points = torch.randn(clouds, points, 3)
    matrix = torch.from_numpy(turn(0.5, -1.0)).float()
    return dict(points=points, turned=points @ matrix.T)


def test_another_number_of_classes(tmp_path):
    data = PointCloudDataset(str(write_clouds(tmp_path / 'set')), 'val', [])
    _check_classes('val_dataloader', small_model(), data)
    cfg = dict(Config.fromfile(SMALL).model, num_classes=40)
    with pytest.raises(UsageError, match='must be 8.* got 40'):
        _check_classes('val_dataloader', MODELS.build(cfg), data)


def test_order_of_the_points_does_not_matter():
    model, inputs = small_model().double(), batch()
    inputs = {k: v.double() for k, v in inputs.items()}
    order = torch.randperm(64)
    shuffled = {k: v[:, order] for k, v in inputs.items()}
    scores = model(inputs)
    assert scores.std() > 0
    torch.testing.assert_close(model(shuffled), scores)
    # nor where the cloud lies, or how large it is, for what is projected
    moved = dict(inputs, turned=3 * inputs['turned'] + 1)
    torch.testing.assert_close(model(moved), scores)


def test_views_of_a_cloud_stay_together():
    model, inputs = small_model(), batch(3)
    scores = model(inputs)
    alone = model({k: v[1:2] for k, v in inputs.items()})
    torch.testing.assert_close(alone, scores[1:2], rtol=1e-3, atol=1e-4)


def test_loss_is_the_published_one():
    model = small_model()
    inputs, labels = batch(), torch.tensor([3, 5])
    samples = dict(gt_label=labels)
    loss = model(inputs, samples, mode='loss')['loss']
    logs = model(inputs).log_softmax(1)
    target = torch.full((2, 8), 0.2 / 7)
    target[[0, 1], labels] = 0.8
    torch.testing.assert_close(loss, -(target * logs).sum(1).mean())
    model.train()
    model(inputs, samples, mode='loss')['loss'].backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None]
    assert not silent


@pytest.mark.parametrize(
    'change, line',
    [
        (dict(num_views=11), 'from 1 to 10, got 11'),
        (dict(size=100), 'multiple of 7, got 100'),
    ],
)
def test_wrong_projections(change, line):
    with pytest.raises(ValueError, match=line):
        CloudProjection(**change)


def test_too_few_points():
    with pytest.raises(ValueError, match='must have 32 points, got 5'):
        small_model()(batch(points=5))


@pytest.mark.slow
def test_published_size():
    cfg = Config.fromfile(CONFIGS / 'multiview_unireplknet-s_modelnet40.py')
    model = MODELS.build(cfg.model)
    counts = {
        name: sum(p.numel() for p in part.parameters())
        for name, part in (
            ('all', model), ('projection', model.projection),
        )
    }  # fmt: skip
    assert counts == dict(all=56_974_755, projection=1_157_987)
    train = cfg.train_dataloader.dataset.pipeline
    assert train[1] == dict(type='mmrep.SamplePoints', count=4096, among=4800)
    images = model.projection(torch.randn(1, 256, 3))
    assert images.shape == (4, 3, 224, 224)


def test_deploy_form_and_onnx(check_deploy_form):
    model = small_model()
    check_deploy_form(model, batch(1), rtol=1e-3, atol=1e-3)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in model.modules())


# ------------------------------------------------------------------- metric


def test_metric():
    metric = CloudAccuracy()
    scores = torch.eye(3)
    found = [(0, 0), (0, 0), (0, 0), (0, 1), (1, 1), (1, 0)]
    samples = [dict(scores=scores[f], gt_label=c) for c, f in found]
    samples.append(dict(scores=torch.full((3,), torch.nan), gt_label=0))
    metric.process(None, samples)
    metric.dataset_meta = {}
    result = metric.evaluate(len(samples))
    assert result == pytest.approx(
        dict(OA=100 * 4 / 7, mAcc=100 * (3 / 5 + 1 / 2) / 2)
    )


# ----------------------------------------------------------------- data set


def test_solids_lie_on_their_surfaces():
    rng = np.random.default_rng(0)
    assert np.allclose(np.linalg.norm(make_solids.sphere(rng, 9), axis=1), 1)
    torus = make_solids.torus(rng, 4000)
    ring = np.hypot(np.hypot(torus[:, 0], torus[:, 1]) - 1, torus[:, 2])
    assert np.ptp(ring) < 1e-9
    # evenly: the outer half of a torus with tube t has 1/2 + t/pi of it
    outer = (np.hypot(torus[:, 0], torus[:, 1]) > 1).mean()
    assert abs(outer - 0.5 - ring[0] / np.pi) < 0.03
    box = make_solids.box(rng, 4000)
    size = box.max(0)
    on_face = np.isclose(box, 0) | np.isclose(box, size)
    assert on_face.any(1).all()
    area = 2 * np.array(
        [size[1] * size[2], size[0] * size[2], size[0] * size[1]]
    )
    share = np.array([(on_face[:, i]).mean() for i in range(3)])
    np.testing.assert_allclose(share, area / area.sum(), atol=0.03)
    cone = make_solids.cone(rng, 4000)
    side = cone[:, 2] > 0
    radius = np.hypot(cone[:, 0], cone[:, 1])
    height = cone[side, 2] / (1 - radius[side])
    np.testing.assert_allclose(height, height[0], rtol=1e-6)
    slant = np.hypot(1, height[0])
    assert abs(side.mean() - slant / (1 + slant)) < 0.03


def test_make_solids(run_tool, tmp_path):
    script = HERE / 'make_solids.py'
    few = ['--train', '2', '--val', '1', '--test', '1', '--points', '64']
    for name in 'ab':
        done = run_tool(script, tmp_path / name, *few)
        assert done.returncode == 0, done.stderr
    files = sorted(path.name for path in (tmp_path / 'a').iterdir())
    assert len(files) == 7
    for name in files:
        same = [(tmp_path / f / name).read_bytes() for f in 'ab']
        assert same[0] == same[1]
    points = np.load(tmp_path / 'a/train_points.npy')
    assert points.shape == (16, 64, 3) and np.isfinite(points).all()
    labels = np.load(tmp_path / 'a/train_labels.npy')
    assert np.bincount(labels).tolist() == [2] * 8
    done = run_tool(script, tmp_path / 'a')
    assert done.returncode == 1 and 'must not exist yet' in done.stderr


def write_text_form(root, points):
    (root / 'cup').mkdir(parents=True)
    (root / 'modelnet40_shape_names.txt').write_text('bowl\ncup\n')
    for split, number in (('train', 1), ('test', 2)):
        name = f'cup_000{number}'
        (root / f'modelnet40_{split}.txt').write_text(f'{name}\n')
        rows = np.hstack([points, np.zeros_like(points)])
        np.savetxt(root / f'cup/{name}.txt', rows, '%.6f', ',')


@pytest.fixture
def points():
    return np.random.default_rng(0).random((50, 3)).round(6)


def check_prepared(out, points):
    """y upwards became z upwards, farthest first."""
    saved = np.load(out / 'test_points.npy')
    assert saved.shape == (1, 40, 3)
    turned = np.stack([-points[:, 2], -points[:, 0], points[:, 1]], 1)
    expected = farthest_first(turned.astype(np.float32), 40)
    np.testing.assert_allclose(saved[0], expected, atol=1e-6)
    assert np.load(out / 'test_labels.npy').tolist() == [1]
    assert (out / 'classes.txt').read_text() == 'bowl\ncup\n'


def test_prepare_text_form(run_tool, tmp_path, points):
    write_text_form(tmp_path / 'src', points)
    out = tmp_path / 'out'
    script = HERE / 'prepare_modelnet.py'
    done = run_tool(script, tmp_path / 'src', out, '--points', '40')
    assert done.returncode == 0, done.stderr
    check_prepared(out, points)


def test_prepare_h5_form(run_tool, tmp_path, points):
    h5py = pytest.importorskip('h5py')
    src, out = tmp_path / 'src', tmp_path / 'out'
    src.mkdir()
    (src / 'shape_names.txt').write_text('bowl\ncup\n')
    for split in ('train', 'test'):
        (src / f'{split}_files.txt').write_text(f'data/x/{split}0.h5\n')
        with h5py.File(src / f'{split}0.h5', 'w') as file:
            file['data'] = points[None].astype(np.float32)
            file['label'] = np.array([[1]], np.uint8)
    script = HERE / 'prepare_modelnet.py'
    done = run_tool(script, src, out, '--points', '40')
    assert done.returncode == 0, done.stderr
    check_prepared(out, points)


@pytest.mark.parametrize(
    'data, label, line',
    [
        (np.ones((2, 40, 3)), None, 'cannot read data and label'),
        (np.ones((2, 40, 2)), np.array([0, 1]), r'but holds .*40, 2'),
        (np.ones((40, 3)), np.array([0, 1]), r'\(n, N, 3\)'),
        (np.ones((2, 40, 3)), np.array([1]), r'int64 \(1,\)'),
        (np.ones((2, 40, 3)), np.array([0, 0.5]), 'whole numbers as label'),
        (np.ones((2, 40, 3)), np.array([0, 2]), 'below 2.* one is 2'),
        (1.0, np.array([0, 1]), 'cannot read data and label'),
    ],
)
def test_wrong_h5(tmp_path, data, label, line):
    h5py = pytest.importorskip('h5py')
    (tmp_path / 'test_files.txt').write_text('x/test0.h5\n')
    with h5py.File(tmp_path / 'test0.h5', 'w') as file:
        file['data'] = data
        if label is not None:
            file['label'] = label
    with pytest.raises(UsageError, match=line):
        list(read_h5_form(tmp_path, 'test', ['bowl', 'cup']))


@pytest.mark.parametrize(
    'change, line',
    [
        (lambda x: x[:5], 'cup_0001.txt must have 32 points, but has 5'),
        (lambda x: x * np.nan, '50 of its 50 points do not'),
        (lambda x: x[:, :1] * [1], 'must hold x,y,z'),
    ],
)
def test_prepare_refuses(run_tool, tmp_path, points, change, line):
    write_text_form(tmp_path / 'src', points)
    rows = change(points)
    np.savetxt(tmp_path / 'src/cup/cup_0001.txt', rows, '%.6f', ',')
    out = tmp_path / 'out'
    done = run_tool(HERE / 'prepare_modelnet.py', tmp_path / 'src', out)
    assert done.returncode == 1 and line in done.stderr
    assert 'Traceback' not in done.stderr and not out.exists()


# --------------------------------------------------------------------- runs


@pytest.mark.slow
def test_train_and_test(train_and_test, tmp_path):
    root = write_clouds(tmp_path / 'set')
    options = ['train_cfg.val_interval=1', 'test_dataloader.batch_size=4']
    text = train_and_test(SMALL, options, root)
    assert re.search(r'OA: [\d.]+ +mAcc', text)
