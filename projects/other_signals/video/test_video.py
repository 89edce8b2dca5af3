"""Videos: files, clips, maps, the classifier, and runs by the tools."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip('av', reason='needs requirements/other_signals.txt')

from mmengine.config import Config

from mmrep.deploy import to_deploy_form
from mmrep.errors import UsageError
from mmrep.registry import MODELS
from projects.other_signals.media import (
    count_frames,
    read_frames,
    write_video,
)
from projects.other_signals.video import (
    CropViews,
    DecodeClips,
    KeepOneFrame,
    PackClips,
    RandomViews,
    SampleClips,
    VideoDataset,
)
from projects.other_signals.video.classifier import frames_to_map
from projects.other_signals.video.make_motions import (
    FRAMES,
    MOTIONS,
    make_video,
)

HERE = Path(__file__).parent
TINY = HERE / 'configs/reshape_unireplknet-tiny_motions.py'
PUBLISHED = HERE / 'configs/reshape_unireplknet-b_kinetics400.py'


def video_of(path, count, height=32, width=40):
    """Frame i is grey of value 5 * i."""
    values = np.arange(count, dtype=np.uint8) * 5
    frames = np.broadcast_to(
        values[:, None, None, None], (count, height, width, 3)
    )
    write_video(path, frames)
    return str(path)


# -------------------------------------------------------------------- files


def test_reading(tmp_path):
    path = video_of(tmp_path / 'a.avi', 20)
    assert count_frames(path) == 20
    frames = read_frames(path, [3, 19, 3, 0, 25])
    assert frames.shape == (5, 32, 40, 3)
    found = frames.mean((1, 2, 3)) / 5
    np.testing.assert_allclose(found, [3, 19, 3, 0, 19], atol=0.5)


def test_wrong_files(tmp_path):
    path = tmp_path / 'a.avi'
    path.write_text('no video at all')
    for read in (count_frames, lambda p: read_frames(p, [0])):
        with pytest.raises(UsageError, match='cannot be read as video'):
            read(str(path))


@pytest.fixture
def folder(tmp_path):
    for name in ('jump', 'run'):
        (tmp_path / 'videos' / name).mkdir(parents=True)
        for span in ('000001_000011', '000002_000012'):
            path = tmp_path / 'videos' / name / f'{name}id_{span}.mp4'
            path.touch()
    return tmp_path


def dataset(folder, **kwargs):
    usual = dict(num_classes=2, data_prefix=dict(video='videos'))
    return VideoDataset(data_root=str(folder), **dict(usual, **kwargs))


def test_folders(folder):
    data = dataset(folder)
    assert data.metainfo['classes'] == ('jump', 'run')
    samples = [data.get_data_info(i) for i in range(len(data))]
    assert [s['gt_label'] for s in samples] == [0, 0, 1, 1]
    assert samples[3]['video_path'].endswith('run/runid_000002_000012.mp4')


def test_lists(folder):
    (folder / 'train.csv').write_text(
        'run/runid_000001_000011.mp4 1\njump/jumpid_000001_000011.mp4 0\n'
    )
    data = dataset(folder, ann_file='train.csv')
    assert [data.get_data_info(i)['gt_label'] for i in range(2)] == [1, 0]
    (folder / 'table.csv').write_text(
        'label,youtube_id,time_start,time_end,split\n'
        'run,runid,2,12,train\nrun,gone,2,12,train\njump,jumpid,1,11,train\n'
    )
    data = dataset(folder, ann_file='table.csv')
    assert data.metainfo['classes'] == ('jump', 'run')
    names = [Path(data.get_data_info(i)['video_path']).name for i in range(2)]
    assert len(data) == 2
    assert names == ['runid_000002_000012.mp4', 'jumpid_000001_000011.mp4']


@pytest.mark.parametrize(
    'text, kwargs, line',
    [
        (None, dict(num_classes=3), 'must have 3 classes, but has 2'),
        (None, dict(ann_file='none.csv'), 'cannot be read: .*No such file'),
        (b'\xff\n', dict(ann_file='a.csv'), "cannot be read: 'utf-8'"),
        (None, dict(data_prefix=dict(img='')), 'must name the folder of vid'),
        (
            'label,youtube_id,time_start,time_end\nrun,a,2,end\njump,b,1,2\n',
            dict(ann_file='a.csv'),
            'must have whole seconds',
        ),
        (
            'label,youtube_id,time_start\nrun,a,2\njump,b,1\n',
            dict(ann_file='a.csv'),
            'must have whole seconds',
        ),
        ('a.mp4 2\n', dict(ann_file='a.csv'), "0 to 1, got 'a.mp4 2'"),
        ('a.mp4\n', dict(ann_file='a.csv'), "0 to 1, got 'a.mp4'"),
        ('a.mp4 1\n', dict(ann_file='a.csv'), 'names .*a.mp4, which does not'),
        ('', dict(ann_file='a.csv'), 'must hold videos'),
    ],
)
def test_wrong_lists(folder, text, kwargs, line):
    if isinstance(text, str):
        text = text.encode()
    if text is not None:
        (folder / 'a.csv').write_bytes(text)
    with pytest.raises(UsageError, match=line):
        dataset(folder, **kwargs)


# -------------------------------------------------------------------- clips


def test_random_clips():
    sample = SampleClips(16, 4)
    begins = set()
    for _ in range(50):
        frames = sample.random_clip(100)
        begins.add(frames[0])
        assert frames.shape == (16,)
        assert frames[-1] - frames[0] == 63 and frames[-1] < 100
        assert set(np.diff(frames)) <= {3, 4, 5}
    assert len(begins) > 10
    # 30 frames: seven that cover them, and the last repeated
    frames = sample.random_clip(30)
    assert frames.tolist() == [0, 5, 10, 15, 20, 25, *[29] * 10]
    assert sample.random_clip(3).tolist() == [2] * 16


def test_test_clips(tmp_path):
    path = video_of(tmp_path / 'a.avi', 40)
    frames = SampleClips(16, 2, 5)(dict(video_path=path))['frames']
    assert frames[:, 0].tolist() == [0, 2, 4, 6, 8]
    assert (np.diff(frames, axis=1) == 2).all()
    frames = SampleClips(16, 2, 1)(dict(video_path=path))['frames']
    assert frames[0, 0] == 4
    # three frames: as published, the last one is repeated
    path = video_of(tmp_path / 'b.avi', 3)
    sample = SampleClips(16, 2, 5)(dict(video_path=path))
    assert sample['frames'].tolist() == [[0, *[2] * 15]] * 5
    clips = DecodeClips()(sample)['clips']
    assert clips.shape == (5, 16, 32, 40, 3)
    np.testing.assert_allclose(clips[:, 1:].mean(), 10, atol=1)


def test_views():
    # the value of a pixel is its column, and that of a frame on top
    clip = np.zeros((2, 16, 20, 40, 3), np.uint8)
    clip += np.arange(40, dtype=np.uint8)[:, None]
    clip += 50 * np.arange(2, dtype=np.uint8)[:, None, None, None, None]
    views = CropViews(20, 3)(dict(clips=clip))['clips']
    assert views.shape == (6, 16, 20, 20, 3)
    assert views[:, 0, 0, 0, 0].tolist() == [0, 10, 20, 50, 60, 70]
    middle = CropViews(20, 1)(dict(clips=clip))['clips']
    assert middle[:, 0, 0, 0, 0].tolist() == [10, 60]
    # a tall one, enlarged
    tall = CropViews(30, 3)(dict(clips=clip.transpose(0, 1, 3, 2, 4)))
    assert tall['clips'].shape == (6, 16, 30, 30, 3)
    assert tall['clips'][0, 0, :, 0, 0].argmin() == 0

    seen = set()
    for _ in range(20):
        views = RandomViews(8, flip=0.5, repeats=2)(dict(clips=clip))['clips']
        assert views.shape == (4, 16, 8, 8, 3)
        # every frame of a view is cut alike
        assert (views == views[:, :1]).all()
        row = views[0, 0, 0, :, 0].astype(int)
        seen.add(bool(row[-1] > row[0]))
    assert seen == {True, False}
    for _ in range(10):
        views = RandomViews(8, flip=0.0)(dict(clips=clip))['clips']
        row = views[0, 0, 0, :, 0].astype(int)
        assert row[-1] > row[0]


def test_one_frame():
    clip = np.zeros((2, 16, 2, 2, 3), np.uint8)
    clip += np.arange(16, dtype=np.uint8)[:, None, None, None]
    seen = set()
    for _ in range(20):
        kept = KeepOneFrame()(dict(clips=clip))['clips']
        assert (kept == kept[:, :1]).all()
        seen.add(int(kept[0, 0, 0, 0, 0]))
    assert len(seen) > 5


def test_packing():
    clips = np.random.default_rng(0).integers(256, size=(2, 4, 8, 6, 3))
    clips = clips.astype(np.uint8)
    packed = PackClips((1, 2, 3), (4, 5, 6))(dict(clips=clips, gt_label=7))
    assert packed['inputs'].shape == (2, 3, 4, 8, 6)
    assert packed['inputs'].dtype == torch.float32
    assert packed['data_samples'] == dict(gt_label=7)
    expected = (float(clips[1, 2, 3, 4, 1]) - 2) / 5
    assert abs(packed['inputs'][1, 1, 2, 3, 4] - expected) < 1e-5


# --------------------------------------------------------------------- maps


def test_published_reshape():
    clips = torch.arange(2 * 3 * 16 * 8 * 12.0).reshape(2, 3, 16, 8, 12)
    maps = frames_to_map(clips, (4, 4), 'reshape')
    assert torch.equal(maps, clips.reshape(2, 3, 32, 48))
    for t in range(16):
        # a row of the map holds four rows of the frame
        rows = clips[:, :, t].reshape(2, 3, 2, 48)
        assert torch.equal(maps[:, :, 2 * t : 2 * t + 2], rows)


def test_frames_side_by_side():
    clips = torch.rand(2, 3, 8, 5, 7)
    maps = frames_to_map(clips, (2, 4), 'tiles')
    assert maps.shape == (2, 3, 10, 28)
    for t in range(8):
        row, col = divmod(t, 4)
        tile = maps[:, :, 5 * row : 5 * row + 5, 7 * col : 7 * col + 7]
        assert torch.equal(tile, clips[:, :, t])
    with pytest.raises(ValueError, match='each of 8 frames, got 4 x 4'):
        frames_to_map(clips, (4, 4), 'tiles')


# --------------------------------------------------------------- classifier


@pytest.fixture
def model(small_model):
    return small_model(TINY)


def test_classifier(model):
    inputs = torch.randn(2, 3, 3, 16, 16, 16)
    samples = dict(gt_label=torch.tensor([0, 3]))
    scores = model.eval()(inputs)
    each = torch.stack([model(inputs[:, v : v + 1]) for v in range(3)], 1)
    torch.testing.assert_close(scores, each.mean(1))
    torch.testing.assert_close(scores.sum(1), torch.ones(2))
    loss = model(inputs, samples, mode='loss')['loss']
    target = torch.full((2, 5), 0.1 / 5)
    target[0, 0] += 0.9
    target[1, 3] += 0.9
    expected = -(target[:, None] * each.log()).sum(2).mean()
    torch.testing.assert_close(loss, expected)
    predicted = model(inputs, samples, mode='predict')
    assert [s['gt_label'] for s in predicted] == [0, 3]
    # another layout, other scores
    model.layout = 'tiles'
    assert not torch.allclose(model(inputs), scores, atol=1e-6)
    model.train()(inputs, samples, mode='loss')['loss'].backward()
    assert all(p.grad is not None for p in model.parameters())


def test_wrong_layout():
    cfg = dict(Config.fromfile(TINY).model, layout='rows')
    with pytest.raises(ValueError, match='got rows'):
        MODELS.build(cfg)


def test_deploy_form_and_onnx(model, check_deploy_form):
    inputs = torch.randn(1, 3, 3, 16, 16, 16)
    check_deploy_form(model, inputs, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_published_size(check_step):
    """B's widths and 400 classes, and a step on small frames."""
    cfg = Config.fromfile(PUBLISHED)
    model = MODELS.build(cfg.model)
    assert sum(p.numel() for p in model.parameters()) == 98_253_232
    deploy = to_deploy_form(MODELS.build(cfg.model))
    assert sum(p.numel() for p in deploy.parameters()) == 97_246_000
    cfg.optim_wrapper.pop('accumulative_counts')
    data = dict(
        inputs=torch.randn(1, 2, 3, 16, 32, 32),
        data_samples=dict(gt_label=torch.tensor([7])),
    )
    check_step(model, cfg.optim_wrapper, data)


# ------------------------------------------------------------------ motions


WAYS = dict(left=(-1, 0), right=(1, 0), up=(0, -1), down=(0, 1))


@pytest.mark.parametrize('name', MOTIONS)
def test_motions(name):
    """In pixels to the right and down, over all frames."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        x, y = MOTIONS[name](np.arange(FRAMES), rng)
        gone = np.array([x[-1] - x[0], y[-1] - y[0]])
        if name in WAYS:
            assert gone @ WAYS[name] > 30
            assert abs(gone @ WAYS[name][::-1]) < 1e-9
        else:
            dx, dy = np.diff(x), np.diff(y)
            turns = dx[:-1] * dy[1:] - dy[:-1] * dx[1:]
            assert (turns > 0).all() == (name == 'clockwise')
            assert (turns < 0).all() == (name == 'anticlockwise')


@pytest.mark.parametrize('name', WAYS)
def test_videos(name):
    """The shape goes where its class says, from anywhere."""
    begins = []
    for seed in range(16):
        frames = make_video(name, np.random.default_rng(seed)).astype(int)
        moved = np.abs(frames - np.median(frames, 0)).sum(3) > 60
        if moved.sum((1, 2)).min() < 20:
            continue  # its colour is nearly that behind it
        places = []
        for axis, size in ((1, 40), (2, 32)):
            # the middle of what moved, on a circle
            angles = 2 * np.pi * np.arange(size) / size
            middle = np.angle(moved.sum(axis) @ np.exp(1j * angles))
            places.append(np.unwrap(middle) * size / (2 * np.pi))
        gone = [place[-1] - place[0] for place in places]
        assert np.dot(gone, WAYS[name]) > 25
        begins.append([places[0][0] % 40, places[1][0] % 32])
    assert len(begins) > 5
    assert np.ptp(begins, 0).min() > 10


@pytest.mark.slow
def test_make_motions(run_tool, tmp_path):
    out = tmp_path / 'motions'
    counts = ['--train', 2, '--val', 1, '--test', 1]
    done = run_tool(HERE / 'make_motions.py', out, *counts, fresh=True)
    assert done.returncode == 0, done.stderr
    assert '24 videos of 6 motions' in done.stdout
    data = VideoDataset(6, data_root=str(out), data_prefix=dict(video='train'))
    assert len(data) == 12
    sample = data.get_data_info(0)
    frames = read_frames(sample['video_path'], range(FRAMES))
    made = make_video('anticlockwise', np.random.default_rng([0, 0]))
    assert np.abs(frames.astype(int) - made).mean() < 6
    done = run_tool(HERE / 'make_motions.py', out, fresh=True)
    assert done.returncode == 1 and 'must not exist yet' in done.stderr


# --------------------------------------------------------------------- runs


@pytest.fixture(scope='module')
def motions(tmp_path_factory):
    root = tmp_path_factory.mktemp('data') / 'motions'
    for split in ('train', 'val', 'test'):
        for name in MOTIONS:
            folder = root / split / name
            folder.mkdir(parents=True)
            rng = np.random.default_rng(0)
            write_video(folder / '0.avi', make_video(name, rng))
    return root


@pytest.mark.slow
@pytest.mark.parametrize(
    'config',
    [
        'reshape_unireplknet-tiny_motions',
        'tiles_unireplknet-tiny_motions',
        'one-frame_unireplknet-tiny_motions',
    ],
)
def test_train_and_test(train_and_test, motions, config):
    config = HERE / f'configs/{config}.py'
    options = [
        'train_cfg.val_interval=1',
        'train_dataloader.batch_size=3',
        'test_dataloader.batch_size=3',
    ]
    text = train_and_test(config, options, motions, exports=config == TINY)
    assert re.search(r'accuracy/top1: [\d.]+', text)
