"""Segmentation data and configs as people have them, by the tools."""

import re
import shutil
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import pytest
import torch
from sweep import sweep

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / 'configs/upernet_replknet-tiny_shapes.py'
SMALL = """
channels = [8, 8, 8, 8]
model = dict(
    backbone=dict(arch=dict(
        channels=channels, depths=(1, 1, 1, 1), kernel_sizes=(7, 7, 5, 5))),
    decode_head=dict(in_channels=channels, channels=8),
    auxiliary_head=dict(in_channels=8, channels=8))
train_dataloader = dict(batch_size=2)
train_cfg = dict(max_iters=2, val_interval=2)
param_scheduler = None
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=2))
"""
SWAPPED = ('disc', 'ground', 'ring', 'square', 'triangle', 'cross', 'star')
EPOCHS = """
train_cfg = dict(
    _delete_=True, type='EpochBasedTrainLoop', max_epochs=2, val_interval=1)
log_processor = dict(by_epoch=True)
default_hooks.update(checkpoint=dict(interval=2, by_epoch=True))
"""
BINARY = """
one = dict(
    num_classes={}, out_channels=1, threshold=0.5,
    loss_decode=dict(use_sigmoid=True))
model['decode_head'].update(one)
model['auxiliary_head'].update(one)
metainfo = dict(classes=('ground', 'thing'), palette=[[0] * 3, [9] * 3])
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs')]
binary = dict(metainfo=metainfo, reduce_zero_label=False, pipeline=pipeline)
train_dataloader.update(dataset=binary)
val_dataloader = dict(dataset=binary)
test_dataloader = val_dataloader
"""


@pytest.fixture
def tool(run_tool, shapes_root, tmp_path):
    """Run train.py or test.py with text at the end of a small config."""

    def run(name, extra='', *args, root=shapes_root):
        config = tmp_path / 'config.py'
        config.write_text(f"_base_ = '{CONFIG}'\n{SMALL}{extra}\n")
        return run_tool(
            ROOT / f'tools/{name}.py', config, *args,
            '--work-dir', tmp_path / 'work',
            *(['--data-root', root] if root else []),
        )  # fmt: skip

    return run


@pytest.fixture
def checkpoint(tmp_path):
    """Weights of the small model that predict several classes."""
    from mmrep.deploy import build_model
    from mmrep.engine import load_config

    def save(extra=''):
        config = tmp_path / 'config.py'
        config.write_text(f"_base_ = '{CONFIG}'\n{SMALL}{extra}\n")
        model = build_model(load_config(str(config)))
        torch.nn.init.normal_(model.decode_head.conv_seg.weight, std=1)
        torch.save(dict(state_dict=model.state_dict()), tmp_path / 'w.pth')
        return tmp_path / 'w.pth'

    return save


@pytest.fixture
def binary_root(shapes_root, tmp_path):
    """The shapes with labels 0 and 1."""
    root = shutil.copytree(shapes_root, tmp_path / 'binary')
    for path in (root / 'annotations').rglob('*.png'):
        labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(path), (labels > 1).astype(np.uint8))
    return root


def log_of(done):
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


def error_of(done):
    """The only line of an error; nothing was trained."""
    assert done.returncode == 1
    assert 'Traceback' not in done.stderr, done.stderr[-3000:]
    assert 'Iter(train)' not in done.stdout + done.stderr
    (line,) = [x for x in done.stderr.splitlines() if 'error: ' in x.lower()]
    return line


def test_classes_in_the_order_of_the_checkpoint(tool, checkpoint):
    path = checkpoint()
    state = torch.load(path)
    meta = dict(dataset_meta=dict(classes=SWAPPED))
    torch.save(dict(state, meta=meta), path)
    assert (
        'the classes of test_dataloader.dataset must be in the order of those '
        "of the checkpoint: number 0 is 'disc' there, and 'ground' in the "
        'data set.'
    ) in error_of(tool('test', '', path))


@pytest.mark.slow
def test_epochs_over_a_config_of_iterations(tool, tmp_path):
    """They end, though the sampler of our configs does not."""
    log = log_of(tool('train', EPOCHS))
    assert (
        'train_dataloader.sampler, InfiniteSampler, is endless, so an epoch '
        'would never end: using DefaultSampler instead.'
    ) in log
    assert len(re.findall(r'Epoch\(train\) \[2\]\[8/8\]', log)) == 1
    assert log.count('mIoU: ') == 2, 'validation behind each epoch'
    assert (tmp_path / 'work/epoch_2.pth').is_file()


@pytest.mark.slow
def test_validation_with_an_infinite_sampler(tool):
    extra = "val_dataloader = dict(sampler=dict(type='InfiniteSampler'))"
    log = log_of(tool('train', extra))
    assert 'val_dataloader.sampler, InfiniteSampler, is endless' in log
    assert log.count('mIoU: ') == 1


@pytest.mark.slow
def test_last_batch_of_one_image(tool):
    extra = EPOCHS + 'train_dataloader.update(batch_size=5)'
    log = log_of(tool('train', extra))
    assert 'the last batch of an epoch has one image' in log
    assert 'train_dataloader.drop_last=True skips such a batch' in log
    assert 'Epoch(train) [2][4/4]' in log
    extra += '\ntrain_dataloader.update(drop_last=True)'
    log = log_of(tool('train', extra))
    assert 'Epoch(train) [2][3/3]' in log and 'has one image' not in log


WRONG = [
    (
        "model['auxiliary_head'].update(num_classes=3)",
        'model.auxiliary_head.num_classes must be that of',
    ),
    (
        'val_evaluator = dict(ignore_index=250)',
        'val_evaluator.ignore_index must be that of the heads, 255',
    ),
    (
        "model['test_cfg'] = dict(mode='slide')",
        "model.test_cfg with mode='slide' must have crop_size",
    ),
    (
        "model['backbone'].update(in_channels=4)",
        'as many channels as the model takes, 4, but have 3',
    ),
    (
        'train_dataloader.update(dataset=dict(reduce_zero_label=False))',
        'reduce_zero_label must be the same in the data set and in its',
    ),
    (
        'val_dataloader = dict(dataset=dict('
        f'metainfo=dict(classes={SWAPPED})))',
        'the classes of val_dataloader.dataset must be in the order of those '
        "of train_dataloader: number 0 is 'ground' there, and 'disc' in",
    ),
    (
        "train_dataloader['dataset'] = dict("
        "pipeline=[dict(type='LoadImageFromFile'),"
        "dict(type='LoadAnnotations'), dict(type='RandomCrop', "
        "crop_size=(0.5, 0.5)), dict(type='PackSegInputs')])",
        'the pipeline of train_dataloader fails on its first sample, in '
        'RandomCrop: TypeError: ',
    ),
    (
        "train_dataloader['dataset'] = dict("
        "pipeline=[dict(type='LoadImageFromFile'),"
        "dict(type='LoadAnnotations')])",
        'the pipeline of train_dataloader must end with a transform that '
        'packs the sample for the model, such as PackSegInputs or '
        "PackDetInputs: the sample has no 'inputs'.",
    ),
    (
        "default_hooks['checkpoint'].update(intervall=3)",
        'cannot be built (default_hooks.checkpoint): TypeError: '
        "CheckpointHook.__init__() got an unexpected keyword argument 'in",
    ),
    (
        "val_evaluator = dict(iou_metric=['mDice'])",
        'cannot be built (val_evaluator): TypeError: IoUMetric.__init__() '
        "got an unexpected keyword argument 'iou_metric'",
    ),
    (
        'train_dataloader.update(foo=1)',
        'cannot be built (train_dataloader): TypeError: DataLoader.__init',
    ),
]


@pytest.mark.parametrize('extra, text', sweep(WRONG, unpack=True))
def test_known_before_the_run(tool, extra, text):
    assert text in error_of(tool('train', extra))


@pytest.mark.slow
def test_weights_of_classes_over_labelled_pixels(tool):
    loss = 'dict(class_weight=[1.0] * 7, avg_non_ignore=True)'
    log = log_of(
        tool('train', f"model['decode_head'].update(loss_decode={loss})")
    )
    assert 'Iter(train) [2/2]' in log and 'nan' not in log.split('[2/2]')[1]


@pytest.mark.slow
@pytest.mark.parametrize('num_classes', [1, 2])
def test_one_output_with_sigmoid(tool, binary_root, num_classes):
    """MMSegmentation's recipe for binary masks, with labels 0 and 1."""
    done = tool('train', BINARY.format(num_classes), root=binary_root)
    log = log_of(done)
    assert 'Iter(train) [2/2]' in log and 'mIoU: ' in log


def test_mask_of_0_and_255(tool, binary_root):
    for path in (binary_root / 'annotations').rglob('*.png'):
        labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(path), labels * 255)
    done = tool('train', BINARY.format(2), root=binary_root)
    assert 'masks of 0 and 255 must become 0 and 1' in error_of(done)


@pytest.mark.slow
def test_out_has_a_file_for_every_picture(
    tool, checkpoint, shapes_root, tmp_path
):
    """Equal names in several folders and in several data sets."""
    root = tmp_path / 'sets'
    images = sorted((shapes_root / 'images/validation').iterdir())
    places = ['a/img/x', 'a/img/north/x', 'b/img/x', 'b/img/south/y']
    for place, image in zip(places, images, strict=False):
        label = shapes_root / 'annotations/validation' / f'{image.stem}.png'
        path = root / place.replace('img', 'ann')
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(label, path.with_suffix('.png'))
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, path.with_suffix('.jpg'))
    # another suffix beside it
    first = cv2.imread(str(images[5]))
    cv2.imwrite(str(root / 'a/img/x.png'), first)
    extra = f"""
meta = dict(
    classes=('ground', 'disc', 'ring', 'square', 'triangle', 'cross', 'star'),
    palette=[[i * 9] * 3 for i in range(7)])
steps = [
    dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'),
    dict(type='PackSegInputs')]
def part(name, suffix='.jpg'):
    return dict(
        type='BaseSegDataset', data_root='{root}/' + name, pipeline=steps,
        data_prefix=dict(img_path='img', seg_map_path='ann'), metainfo=meta,
        reduce_zero_label=True, img_suffix=suffix)
test_dataloader = dict(dataset=dict(
    _delete_=True, type='ConcatDataset',
    datasets=[part('a'), part('b'), part('a', '.png')]))
"""
    out, show = tmp_path / 'out', tmp_path / 'show'
    args = (checkpoint(extra), '--out', out, '--show-dir', show)
    log_of(tool('test', extra, *args, root=None))
    drawn = sorted(str(p.relative_to(show)) for p in show.rglob('*.png'))
    found = sorted(str(p.relative_to(out)) for p in out.rglob('*.png'))
    assert found == [
        'a/img/north/x.png', 'a/img/x.jpg.png', 'a/img/x.png.png',
        'b/img/south/y.png', 'b/img/x.png',
    ]  # fmt: skip
    assert drawn == found
    # each is that of its own picture
    assert len({(out / name).read_bytes() for name in found}) == 5
    # one data set: names as the images'
    shutil.rmtree(out)
    log_of(tool('test', '', checkpoint(), '--out', out))
    assert {p.stem for p in out.iterdir()} == {p.stem for p in images}


def test_out_of_images_elsewhere(tmp_path):
    """A list of names may lead out of the folder; predictions do not."""
    from mmrep.data.iou import output_names

    paths = [tmp_path / 'img/a/x.jpg', tmp_path / 'img/../../evil/y.jpg']
    dataset = mock.MagicMock(
        spec=['data_prefix', 'get_data_info', '__len__'],
        data_prefix=dict(img_path=str(tmp_path / 'img')),
        get_data_info=lambda i: dict(img_path=str(paths[i])),
        __len__=lambda self: len(paths),
    )
    names = list(output_names(dataset).values())
    assert names == [f'{tmp_path.name}/img/a/x.png', 'evil/y.png']


def test_out_with_more_labels_than_bytes(tmp_path):
    from mmrep.data.iou import IoUMetric

    for classes, dtype in ((256, np.uint8), (300, np.uint16)):
        metric = IoUMetric(output_dir=str(tmp_path), format_only=True)
        metric.dataset_meta = dict(classes=list(map(str, range(classes))))
        labels = torch.arange(classes).reshape(1, 1, -1)
        sample = dict(img_path='x.jpg', pred_sem_seg=dict(data=labels))
        metric.process({}, [sample])
        written = cv2.imread(str(tmp_path / 'x.png'), cv2.IMREAD_UNCHANGED)
        assert written.dtype == dtype
        assert written.ravel().tolist() == list(range(classes))


@pytest.mark.parametrize('skip', sweep([[], ['--skip-corrupt']]))
def test_coloured_masks(tool, shapes_root, tmp_path, skip):
    """Colours must become numbers, and to leave all out is no way."""
    root = shutil.copytree(shapes_root, tmp_path / 'coloured')
    for path in (root / 'annotations').rglob('*.png'):
        labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(path), cv2.applyColorMap(labels * 30, 2))
    error = error_of(tool('train', '', *skip, root=root))
    assert '.png has colours (3 channels)' in error
    assert 'python -m mmrep data convert masks SRC OUT' in error
    assert 'skip-corrupt' not in error


def test_inherited_metainfo(tool):
    """Another data set class, with the classes of the base's."""
    extra = """
ade = dict(type='ADE20KDataset')
train_dataloader['dataset'] = ade
"""
    error = error_of(tool('train', extra))
    assert 'not a subset of classes' in error
    assert 'set metainfo=None in the data set to use its own' in error
    own = extra.replace("')", "', metainfo=None)")
    error = error_of(tool('train', own))
    assert 'METAINFO' not in error and '150' in error


def test_palette_of_another_length(tool):
    extra = (
        "names = tuple('abcdefg')\n"
        "train_dataloader['dataset'] = dict(\n"
        '    metainfo=dict(classes=names, palette=[[0, 0, 9]] * 5))'
    )
    assert (
        '(train_dataloader.dataset): metainfo.palette must have a colour for '
        'each of 7 classes, got 5; set both, or no palette ('
    ) in error_of(tool('train', extra))


def test_a_warning_takes_one_line(tool):
    extra = (
        "model['data_preprocessor'] = dict(seg_pad_val=3)\n"
        "model['decode_head'].update(pool_scales=[0])"
    )
    done = tool('train', extra)
    line = next(x for x in done.stderr.splitlines() if 'seg_pad_val' in x)
    assert line.startswith(
        'warning: model.data_preprocessor.seg_pad_val is 3, the label of a '
    )
    assert 'stacklevel' not in done.stderr and 'heads.py' not in done.stderr


NO_LABELS = """
test_dataloader = dict(dataset=dict(
    data_prefix=dict(_delete_=True, img_path='images/validation')))
"""
PREDICT = """
test_evaluator = dict(format_only=True)
test_dataloader['dataset'].update(pipeline=[
    dict(type='LoadImageFromFile'), dict(type='PackSegInputs')])
"""


@pytest.mark.slow
def test_test_set_without_labels(tool, checkpoint, shapes_root, tmp_path):
    weights, out = checkpoint(), tmp_path / 'out'
    for extra in (NO_LABELS, NO_LABELS + PREDICT):
        for args in ([weights], [weights, '--aug-test', '--out', out]):
            error = error_of(tool('test', extra, *args))
            assert 'test_evaluator.format_only=True' in error
            assert '.jpg' not in error, 'no image is to blame'
    assert not list(out.glob('*')) if out.exists() else True
    log = log_of(tool('test', NO_LABELS + PREDICT, weights, '--out', out))
    assert 'empty `self.results`' not in log
    assert 'results are saved to' not in log
    images = (shapes_root / 'images/validation').iterdir()
    assert {p.stem for p in out.iterdir()} == {p.stem for p in images}


def test_prefix_of_none(tool, checkpoint):
    extra = NO_LABELS.replace(
        "_delete_=True, img_path='images/validation'", 'seg_map_path=None'
    )
    error = error_of(tool('test', extra, checkpoint()))
    assert 'dict(_delete_=True, img_path=FOLDER)' in error


SIX_BANDS = """
pipeline = [
    dict(type='LoadImageFromFile', color_type='unchanged',
         imdecode_backend='tifffile'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs')]
six = dict(img_suffix='.tif', pipeline=pipeline)
train_dataloader.update(dataset=six)
val_dataloader = dict(dataset=six)
test_dataloader = val_dataloader
model.update(data_preprocessor=dict(
    type='mmrep.SegDataPreProcessor', mean=[99.0] * 6, std=[50.0] * 6))
model['backbone'].update(in_channels=6)
"""


@pytest.fixture
def six_bands(shapes_root, tmp_path):
    """The shapes, whose pictures have six bands."""
    tifffile = pytest.importorskip('tifffile')
    root = shutil.copytree(shapes_root, tmp_path / 'six')
    for path in (root / 'images').rglob('*.jpg'):
        picture = cv2.imread(str(path))
        tifffile.imwrite(
            path.with_suffix('.tif'), np.concatenate([picture] * 2, 2),
            photometric='minisblack', planarconfig='contig',
        )  # fmt: skip
    return root


@pytest.mark.slow
def test_six_bands(tool, run_tool, six_bands, tmp_path):
    log = log_of(tool('train', SIX_BANDS, root=six_bands))
    assert 'mIoU: ' in log
    weights, out = tmp_path / 'work/iter_2.pth', tmp_path / 'out'
    log_of(tool('test', SIX_BANDS, weights, '--out', out, root=six_bands))
    assert len(list(out.glob('*.png'))) == 6
    drawing = SIX_BANDS + 'default_hooks.update(visualization=dict(draw=True))'
    error = error_of(tool('test', drawing, weights, root=six_bands))
    assert 'OpenCV cannot show' in error and '--show-dir' in error
    show = tmp_path / 'show'
    log_of(
        tool('test', SIX_BANDS, weights, '--show-dir', show, root=six_bands)
    )
    image = next((six_bands / 'images/validation').glob('*.tif'))
    for name, more in (('whole', []), ('windows', ['--slide', 48])):
        folder = tmp_path / name
        log_of(
            run_tool(
                ROOT / 'tools/image_demo.py',
                image,
                tmp_path / 'config.py',
                weights,
                '--out-dir',
                folder,
                '--device',
                'cpu',
                *more,
            )  # fmt: skip
        )
        # the picture shows the first three bands beside the legend
        drawn = cv2.imread(str(folder / f'{image.stem}.png'))[:64, :64]
        shown = cv2.imread(str(image.with_suffix('.jpg')))
        blended = drawn.astype(int) - shown * 0.5
        assert np.ptp(blended.reshape(-1, 3), 0).max() < 256 * 0.5
    whole, shown = (
        (tmp_path / name / f'{image.stem}.png').read_bytes()
        for name in ('whole', 'show')
    )
    assert whole == shown


def test_means_of_six_bands_in_another_class(tool, six_bands):
    extra = SIX_BANDS.replace(
        'mmrep.SegDataPreProcessor', 'SegDataPreProcessor'
    )
    error = error_of(tool('train', extra, root=six_bands))
    assert "set type='mmrep.SegDataPreProcessor'" in error
