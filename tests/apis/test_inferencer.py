import struct
import warnings
import zlib

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from mmrep.apis import Inferencer, list_images
from mmrep.apis.drawing import (
    WRONG,
    class_colours,
    class_names,
    draw_segmentation,
    error_map,
    overlay,
    with_legend,
)
from mmrep.deploy import build_model
from mmrep.deploy.inputs import first_test_image
from mmrep.engine import load_config
from mmrep.errors import UsageError


@pytest.fixture(scope='module')
def infer(small_segmentor):
    config, checkpoint = small_segmentor
    return Inferencer(str(config), str(checkpoint), device='cpu')


@pytest.fixture(scope='module')
def images(shapes_root):
    return sorted((shapes_root / 'images/validation').iterdir())


def labels_of(sample):
    return sample.pred_sem_seg.data[0].numpy()


def test_every_kind_of_input(infer, images, tmp_path):
    path = str(images[0])
    (one,) = infer(path)
    assert labels_of(one).shape == (64, 64)
    assert one.img_path == path and 'seg_logits' not in one
    (array,) = infer(cv2.imread(path))
    np.testing.assert_array_equal(labels_of(array), labels_of(one))
    folder = infer(images[0].parent, out_dir=tmp_path)
    assert len(folder) == 6
    np.testing.assert_array_equal(labels_of(folder[0]), labels_of(one))
    assert len(infer([path, cv2.imread(path), images[1]])) == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        f'{p.stem}.png' for p in images
    ]


@pytest.mark.parametrize('keyword', ['nonsense', 'slide', 'show'])
def test_unknown_keywords_are_refused(infer, images, keyword):
    with pytest.raises(TypeError, match=f"keyword argument '{keyword}'"):
        infer(images[0], **{keyword: 3})


@pytest.mark.parametrize('mode', ['RGB', 'RGBA', 'P'])
def test_pillow_images(infer, images, mode):
    """Colours are exchanged, as OpenCV has them the other way round."""
    image = Image.open(images[0]).convert(mode)
    pixels = np.asarray(image.convert('RGB'))[..., ::-1]
    expected = labels_of(infer(np.ascontiguousarray(pixels))[0])
    np.testing.assert_array_equal(labels_of(infer(image)[0]), expected)
    np.testing.assert_array_equal(labels_of(infer.predict(image)), expected)
    assert infer.draw(image, infer.predict(image)).dtype == np.uint8


def test_pillow_images_are_turned_as_files_are(infer, images, tmp_path):
    path = tmp_path / 'turned.png'
    image = Image.open(images[0]).crop((0, 0, 64, 32))
    exif = Image.Exif()
    exif[0x0112] = 6  # by 90 degrees
    image.save(path, exif=exif)
    (file,), (opened,) = infer(path), infer(Image.open(path))
    assert labels_of(file).shape == (64, 32)
    np.testing.assert_array_equal(labels_of(opened), labels_of(file))


@pytest.mark.parametrize(
    'image, text',
    [
        (torch.zeros(3, 64, 64), 'a Pillow image, got Tensor'),
        ([torch.zeros(3, 64, 64)], 'a Pillow image, got Tensor'),
        (None, 'got NoneType'),
        (Image.new('I;16', (8, 8)), "got mode 'I;16'"),
    ],
)
def test_what_is_no_image(infer, image, text):
    with pytest.raises(UsageError, match=text) as caught:
        infer(image)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    'options, text',
    [
        (dict(batch_size='2'), "batch_size must be 1 or more, got '2'"),
        (dict(batch_size=0), 'batch_size must be 1 or more, got 0'),
        (dict(opacity=5), 'opacity must lie in 0..1, got 5'),
        (dict(score_thr='x'), "score_thr must lie in 0..1, got 'x'"),
    ],
)
def test_values_that_make_no_sense(infer, images, options, text):
    with pytest.raises(UsageError, match=text):
        infer(images[0], **options)


@pytest.mark.parametrize(
    'change, text',
    [
        (dict(config=dict(model=1)), 'the config must be a path, got dict'),
        (dict(checkpoint=None), 'the checkpoint must be a path, got NoneType'),
        (dict(runtime='openvino'), 'runtime applies only to exported files'),
    ],
)
def test_files_that_are_none(small_segmentor, change, text):
    config, checkpoint = small_segmentor
    given = dict(config=config, checkpoint=checkpoint, device='cpu')
    with pytest.raises(UsageError, match=text):
        Inferencer(**{**given, **change})


def test_paths_are_taken(small_segmentor, infer, images, caplog):
    """And nothing is said that nobody can act on."""
    given = Inferencer(*small_segmentor, device='cpu')
    np.testing.assert_array_equal(
        labels_of(given.predict(images[0])),
        labels_of(infer.predict(images[0])),
    )
    assert 'registry' not in caplog.text


def test_batches(infer, images, tmp_path, monkeypatch):
    """Of one size each, in order; what is no image is left out."""
    small = cv2.imread(str(images[0]))[:32]
    (tmp_path / 'text.png').write_text('no image')
    given = [*images[:3], small, tmp_path / 'text.png', *images[3:]]
    given = [im if isinstance(im, np.ndarray) else str(im) for im in given]
    expected = [r for _, r in infer.run(given)]
    batches = []
    test_step = infer.model.test_step

    def count(data):
        batches.append(len(data['inputs']))
        return test_step(data)

    monkeypatch.setattr(infer.model, 'test_step', count)
    results = [r for _, r in infer.run(given, batch_size=5)]
    assert batches == [3, 1, 3]
    for result, one in zip(results, expected, strict=True):
        if isinstance(one, UsageError):
            assert str(result) == str(one)
            continue
        assert result.ori_shape == one.ori_shape
        assert (labels_of(result) == labels_of(one)).mean() > 0.999


def test_one_channel_of_logits(small_segmentor, images, tmp_path):
    """A binary segmentor, whose labels MMSegmentation gives as floats."""
    cfg = load_config(str(small_segmentor[0]))
    cfg.model.decode_head.update(
        num_classes=2, out_channels=1, loss_decode=dict(use_sigmoid=True)
    )
    model = build_model(cfg)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'in.pth')
    infer = Inferencer(cfg, f'{tmp_path}/in.pth', device='cpu')
    (sample,) = infer(images[0], out_dir=tmp_path / 'out')
    assert sample.pred_sem_seg.data.dtype == torch.int64
    assert set(np.unique(labels_of(sample))) <= {0, 1}


def test_model_of_one_channel(grey_config, tmp_path):
    """From a file, an array of either shape, and by windows."""
    cfg = load_config(str(grey_config))
    checkpoint, path = f'{tmp_path}/in.pth', f'{tmp_path}/a.png'
    torch.save(dict(state_dict=build_model(cfg).state_dict()), checkpoint)
    grey = np.random.randint(0, 256, (128, 256), np.uint8)
    cv2.imwrite(path, grey)
    infer = Inferencer(cfg, checkpoint, device='cpu')
    expected = labels_of(infer(path)[0])
    for image in (grey, np.dstack([grey] * 3)):
        np.testing.assert_array_equal(labels_of(infer(image)[0]), expected)
    whole = Inferencer(cfg, checkpoint, device='cpu', slide=256)
    assert (labels_of(whole(path)[0]) == expected).mean() > 0.99


@pytest.mark.parametrize('wrapper', ['RepeatDataset', 'ConcatDataset'])
def test_test_set_in_a_wrapper(
    infer, small_segmentor, images, shapes_root, wrapper
):
    config, checkpoint = small_segmentor
    cfg = load_config(str(config))
    inner = cfg.test_dataloader.dataset
    cfg.test_dataloader.dataset = (
        dict(type=wrapper, dataset=inner, times=1)
        if wrapper == 'RepeatDataset'
        else dict(type=wrapper, datasets=[inner, inner])
    )
    wrapped = Inferencer(cfg, str(checkpoint), device='cpu')
    assert wrapped.meta == infer.meta
    np.testing.assert_array_equal(
        labels_of(wrapped.predict(images[0])),
        labels_of(infer.predict(images[0])),
    )
    truth = f'{shapes_root}/annotations/validation/{images[0].stem}.png'
    np.testing.assert_array_equal(
        wrapped.read_truth(truth), infer.read_truth(truth)
    )
    assert first_test_image(cfg) == str(images[0])


def test_no_visualizer(infer, small_segmentor, images):
    config, checkpoint = small_segmentor
    cfg = load_config(str(config))
    cfg.pop('visualizer')
    without = Inferencer(cfg, str(checkpoint), device='cpu')
    np.testing.assert_array_equal(
        labels_of(without.predict(images[0])),
        labels_of(infer.predict(images[0])),
    )


def test_no_test_set(small_segmentor):
    config, checkpoint = small_segmentor
    cfg = load_config(str(config))
    cfg.test_dataloader = None
    with pytest.raises(UsageError, match='must define test_dataloader'):
        Inferencer(cfg, str(checkpoint), device='cpu')


def test_both_forms_predict_the_same(infer, small_segmentor, images):
    config, checkpoint = small_segmentor
    training = Inferencer(
        str(config), str(checkpoint), deploy=False, device='cpu'
    )
    assert not training.model.backbone.deploy and infer.model.backbone.deploy
    same = [
        (labels_of(a) == labels_of(b)).mean()
        for a, b in zip(infer(images), training(images), strict=True)
    ]
    assert min(same) > 0.999


def test_half_precision(infer, small_segmentor, images):
    half = Inferencer(*map(str, small_segmentor), device='cpu', dtype='bf16')
    weight = half.model.backbone.stem[0].conv.weight
    assert weight.dtype == torch.bfloat16
    same = [
        (labels_of(a) == labels_of(b)).mean()
        for a, b in zip(infer(images), half(images), strict=True)
    ]
    assert 0.9 < min(same) < 1


@pytest.mark.parametrize(
    'name, dtype, text',
    [
        ('small.pth', 'int8', "got 'int8'"),
        ('m.onnx', 'bf16', 'dtype applies only to checkpoints'),
    ],
)
def test_precision_that_makes_no_sense(small_segmentor, name, dtype, text):
    config, checkpoint = small_segmentor
    with pytest.raises(UsageError, match=text):
        Inferencer(config, checkpoint.with_name(name), dtype=dtype)


def test_slide_is_at_the_size_of_the_picture(small_segmentor, images):
    config, checkpoint = small_segmentor
    infer = Inferencer(str(config), str(checkpoint), device='cpu', slide=32)
    image = np.vstack([cv2.imread(str(p)) for p in images[:3]])
    sample = infer.predict(image)
    assert labels_of(sample).shape == (192, 64)
    assert len(np.unique(labels_of(sample))) > 1


@pytest.mark.parametrize(
    'slide', [0, (32, 48), (32, 16, 8), 'big', (32.5, 16)]
)
def test_slide_that_makes_no_sense(small_segmentor, slide):
    with pytest.raises(UsageError, match='slide must be the size'):
        Inferencer(*map(str, small_segmentor), device='cpu', slide=slide)


def test_what_is_no_image_is_named_and_the_rest_goes_on(
    infer, images, tmp_path
):
    text = tmp_path / 'a.jpg'
    text.write_text('no image')
    (tmp_path / '.hidden').write_text('')
    (tmp_path / 'b.jpg').write_bytes(images[0].read_bytes())
    results = dict(infer.run(list_images(tmp_path)))
    assert list(results) == [str(text), str(tmp_path / 'b.jpg')]
    assert isinstance(results[str(text)], UsageError)
    assert str(text) in str(results[str(text)])
    assert labels_of(results[str(tmp_path / 'b.jpg')]).shape == (64, 64)
    with pytest.raises(UsageError, match=r'a.jpg is not an image'):
        infer(tmp_path)


def test_files_that_libraries_raise_for(infer, images, tmp_path):
    """Each is named in a line, and the rest goes on."""
    gone, huge, thin = (tmp_path / f'{n}.png' for n in ('gone', 'huge', 'w'))
    # beyond 2^30 pixels OpenCV raises when it reads the header
    data = cv2.imencode('.png', np.zeros((1, 1, 3), np.uint8))[1].tobytes()
    chunk = data[12:16] + struct.pack('>II', 40000, 40000) + data[24:29]
    crc = struct.pack('>I', zlib.crc32(chunk))
    huge.write_bytes(data[:12] + chunk + crc + data[33:])
    # resized to the shape of the config, its height is less than a pixel
    cv2.imwrite(str(thin), np.zeros((1, 300, 3), np.uint8))
    given = [str(p) for p in (gone, huge, thin, images[0])]
    results = dict(infer.run(given))
    assert list(results) == given
    for path, reason in ((gone, 'No such'), (huge, 'MAX'), (thin, 'resize')):
        text = str(results[str(path)])
        assert text.startswith(f'{path} cannot be processed: ')
        assert reason in text and '\n' not in text
    assert labels_of(results[given[-1]]).shape == (64, 64)


@pytest.mark.parametrize(
    'image',
    [
        np.zeros((8, 8, 3), np.float32),
        np.zeros((8, 8, 2), np.uint8),
        np.zeros((0, 8, 3), np.uint8),
    ],
)
def test_arrays_that_are_no_pictures(infer, image):
    with pytest.raises(UsageError, match='an image must'):
        infer(image)


def test_absent_and_empty(infer, tmp_path):
    with pytest.raises(UsageError, match='existing file or folder'):
        infer(tmp_path / 'nowhere.png')
    # no word is no folder, and not the current one
    with pytest.raises(UsageError, match="existing file or folder, got ''"):
        infer('')
    with pytest.raises(UsageError, match="out_dir must be a folder, got ''"):
        infer(np.zeros((8, 8, 3), np.uint8), out_dir='')
    with pytest.raises(UsageError, match='has no files'):
        infer(tmp_path)


def test_names_do_not_collide(infer, images, tmp_path):
    pixels = cv2.imread(str(images[0]))
    cv2.imwrite(str(tmp_path / 'a.jpg'), pixels)
    cv2.imwrite(str(tmp_path / 'a.png'), pixels)
    infer(tmp_path, out_dir=tmp_path / 'out')
    names = sorted(p.name for p in (tmp_path / 'out').iterdir())
    assert names == ['a.png', 'a.png.png']


@pytest.mark.parametrize('own', ['image', 'beside', 'linked', 'truth'])
def test_own_pictures_are_kept(infer, images, tmp_path, own):
    folder, out = tmp_path / 'in', tmp_path / 'own'
    folder.mkdir()
    out.mkdir()
    precious = out / 'b.png'
    pixels = cv2.imread(str(images[0]))
    cv2.imwrite(str(precious), pixels)
    given, truth_dir = [precious], None
    if own == 'beside':
        given = [out / 'a.jpg', out / 'b.jpg']
    elif own == 'linked':
        (folder / 'b.png').symlink_to(precious)
        given = [folder / 'b.png']
    elif own == 'truth':
        given, truth_dir = [folder / 'a.jpg', folder / 'b.jpg'], out
    for path in given:
        if not path.exists():
            cv2.imwrite(str(path), pixels)
    before = {p: p.read_bytes() for p in out.iterdir()}
    with pytest.raises(UsageError, match='own/b.png exists; give another'):
        list(infer.run(list_images(given), out, truth_dir))
    assert {p: p.read_bytes() for p in out.iterdir()} == before


def test_pictures_may_lie_beside_the_images(infer, images, tmp_path):
    (tmp_path / 'a.jpg').write_bytes(images[0].read_bytes())
    infer(tmp_path / 'a.jpg', out_dir=tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ['a.jpg', 'a.png']


def test_truth_is_read_as_the_data_set_numbers_it(infer, shapes_root):
    path = next((shapes_root / 'annotations/validation').iterdir())
    stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED).astype(int)
    truth = infer.read_truth(str(path)).astype(int)
    np.testing.assert_array_equal(truth, np.where(stored, stored - 1, 255))
    with pytest.raises(UsageError, match='no ground truth'):
        infer.read_truth('/nowhere.png')


@pytest.mark.parametrize('shape', [(32, 48), (64, 64, 3)])
def test_truth_of_another_shape(infer, images, tmp_path, shape):
    path = tmp_path / images[0].with_suffix('.png').name
    cv2.imwrite(str(path), np.arange(np.prod(shape)).reshape(shape) % 7)
    out = tmp_path / 'out'
    ((_, error),) = infer.run([images[0]], out, tmp_path)
    assert isinstance(error, UsageError)
    assert str(images[0]) in str(error)
    assert f'(64, 64), got {shape}' in str(error)
    assert not out.exists()


def test_device_that_is_not_there(small_segmentor):
    with pytest.raises(UsageError, match='the device'):
        Inferencer(*map(str, small_segmentor), device='cuda:99')


def test_overlay_blends_and_keeps_what_has_no_colour():
    image = np.full((600, 2, 3), 100, np.uint8)
    labels = np.zeros((600, 2), np.uint8)
    labels[:, 1] = 255
    out = overlay(image, labels, np.array([[200, 0, 50]], np.uint8), 0.5)
    assert (out[:, 0] == [150, 50, 75]).all() and (out[:, 1] == 100).all()
    assert (image == 100).all()


def test_error_map():
    image = np.full((1, 3, 3), 100, np.uint8)
    out = error_map(
        image, np.array([[0, 1, 1]]), np.array([[0, 0, 255]], np.uint8)
    )
    assert tuple(out[0, 1]) == WRONG
    assert tuple(out[0, 0]) != WRONG and (out[0, 2] < out[0, 0]).all()


def test_colours_are_the_palettes_in_bgr():
    meta = dict(classes=('a', 'b'), palette=[[1, 2, 3], [4, 5, 6]])
    colours = class_colours(meta, 3)
    assert colours[:2].tolist() == [[3, 2, 1], [6, 5, 4]]
    assert len(colours) == 3
    assert class_names(meta, 3) == ['a', 'b', 'class 2']


def test_legend_shows_the_classes_that_occur():
    meta = dict(classes=('a', 'b'), palette=[[255, 0, 0], [0, 0, 255]])
    image = np.full((100, 100, 3), 255, np.uint8)
    labels = np.zeros((100, 100), np.uint8)
    picture = draw_segmentation(image, labels, meta, opacity=0.5)
    legend = picture[:, 100:].reshape(-1, 3)
    assert (legend == [0, 0, 255]).all(1).any()
    assert not (legend == [255, 0, 0]).all(1).any()


def test_legend_is_as_high_as_it_needs():
    picture = np.zeros((20, 30, 3), np.uint8)
    out = with_legend(picture, [(f'class {i}', (1, 2, 3)) for i in range(30)])
    assert out.shape[0] >= 30 * 14 and out.shape[1] > 30
    assert (out[:20, :30] == 0).all()


def test_comparison_has_three_panels(segmentor):
    image = np.full((64, 64, 3), 99, np.uint8)
    labels = np.zeros((64, 64), np.uint8)
    truth = np.ones((64, 64), np.uint8)
    truth[:32] = 0
    plain = draw_segmentation(image, labels, segmentor.dataset_meta)
    out = draw_segmentation(image, labels, segmentor.dataset_meta, truth=truth)
    assert out.shape[1] >= 3 * 64 > plain.shape[1]
    red = (out == WRONG).all(2)
    assert red[:, 136:200].sum() == 32 * 64
    assert torch.is_tensor(next(segmentor.parameters()))


def test_no_warning_that_nobody_can_act_on(small_segmentor):
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter('always')
        Inferencer(*map(str, small_segmentor), device='cpu')
    texts = [str(warning.message) for warning in shown]
    names = ('avg_non_ignore', 'reduce_zero_label')
    assert not [text for text in texts if any(name in text for name in names)]
