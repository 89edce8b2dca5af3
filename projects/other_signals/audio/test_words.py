"""Spoken words: files, filter banks, the classifier, and runs by the tools."""

import re
import shutil
import time
import wave
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip('av', reason='needs requirements/other_signals.txt')

from mmengine.config import Config

from mmrep.data.images import GuardedLoading
from mmrep.deploy import to_deploy_form
from mmrep.errors import UsageError
from mmrep.registry import MODELS
from projects.other_signals.audio import (
    KaldiFbank,
    LoadWaveform,
    MaskFbank,
    NoiseAndRoll,
    NormalizeFbank,
    PackFbank,
    SpeechCommands,
    make_words,
)
from projects.other_signals.audio.fbank import kaldi_fbank, mel_filters
from projects.other_signals.media import read_audio

HERE = Path(__file__).parent
TINY = HERE / 'configs/words_unireplknet-tiny_spoken.py'
PUBLISHED = HERE / 'configs/words_unireplknet-s_speech-commands.py'
LISTS = dict(val='validation_list.txt', test='testing_list.txt')


def write_wav(path, samples, rate=16000, channels=1):
    with wave.open(str(path), 'wb') as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32767).round().astype('<i2').tobytes())
    return str(path)


def tone(frequency, seconds=1.0, rate=16000):
    """A tone with some noise, which no bin of the filter bank lacks."""
    t = np.arange(int(seconds * rate)) / rate
    noise = np.random.default_rng(0).standard_normal(len(t))
    return 0.3 * np.sin(2 * np.pi * frequency * t) + 0.01 * noise


@pytest.fixture(scope='module')
def words(tmp_path_factory):
    """Two words of three clips each, one a split, and a folder of noise."""
    root = tmp_path_factory.mktemp('data') / 'words'
    for word, frequency in (('high', 2000), ('low', 400)):
        (root / word).mkdir(parents=True)
        for i in range(3):
            path = root / word / f'{i}_nohash_0.wav'
            write_wav(path, tone(frequency * (1 + 0.01 * i)))
    (root / '_background_noise_').mkdir()
    write_wav(root / '_background_noise_/hum.wav', tone(50))
    for i, name in enumerate(LISTS.values()):
        clips = [f'{word}/{i}_nohash_0.wav' for word in ('high', 'low')]
        (root / name).write_text('\n'.join(clips) + '\n')
    return root


def dataset(root, split, **kwargs):
    return SpeechCommands(str(root), split, num_classes=2, **kwargs)


# -------------------------------------------------------------------- files


def test_splits(words):
    splits = {s: dataset(words, s) for s in ('train', 'val', 'test')}
    assert splits['train'].metainfo['classes'] == ('high', 'low')
    for split, number in (('val', 0), ('test', 1), ('train', 2)):
        samples = [splits[split].get_data_info(i) for i in range(2)]
        assert len(splits[split]) == 2
        assert [s['gt_label'] for s in samples] == [0, 1]
        for sample in samples:
            assert sample['audio_path'].endswith(f'{number}_nohash_0.wav')


@pytest.mark.parametrize(
    'change, line',
    [
        (lambda r: shutil.rmtree(r), 'there is no folder of words'),
        (lambda r: (r / 'new').mkdir(), 'each of 2 words, but holds 3'),
        (lambda r: (r / LISTS['val']).unlink(), 'cannot be read: .*No such'),
        (lambda r: (r / LISTS['val']).write_bytes(b'\xff'), 'cannot be read'),
        (lambda r: (r / 'low/1_nohash_0.wav').unlink(), 'it lacks 1, such as'),
        (
            lambda r: [clip.unlink() for clip in (r / 'low').iterdir()],
            'but low holds none',
        ),
        (lambda r: (r / LISTS['test']).write_text(''), 'no clip of the split'),
    ],
)
def test_wrong_folders(words, tmp_path, change, line):
    root = tmp_path / 'words'
    shutil.copytree(words, root)
    change(root)
    with pytest.raises(UsageError, match=line):
        dataset(root, 'test')


def test_unreadable_clip_is_named():
    def broken(results):
        raise UsageError('no audio.')

    load = GuardedLoading(broken)
    with pytest.raises(UsageError, match=r'read a.wav \(no audio.\); fix'):
        load(dict(audio_path='a.wav'))


def test_lists_of_other_systems(words, tmp_path):
    """A mark of the byte order, spaces in a name; not other slashes."""
    root = tmp_path / 'words'
    shutil.copytree(words, root)
    (root / 'low/1_nohash_0.wav').rename(root / 'low/my clip.wav')
    path = root / LISTS['test']
    path.write_text('\ufefflow/my clip.wav\r\n', encoding='utf-8')
    (clip,) = dataset(root, 'test')
    assert clip['audio_path'].endswith('my clip.wav')
    path.write_text('low\\my clip.wav\n')
    with pytest.raises(UsageError, match='lacks 1'):
        dataset(root, 'train')


def test_wrong_split(words):
    with pytest.raises(UsageError, match="got 'testing'"):
        dataset(words, 'testing')


def test_reading(tmp_path):
    samples = tone(440)
    path = write_wav(tmp_path / 'a.wav', samples)
    np.testing.assert_allclose(read_audio(path, 16000), samples, atol=1e-4)
    # another rate, two channels
    both = np.stack([tone(440, rate=22050)] * 2, 1)
    path = write_wav(tmp_path / 'b.wav', both, 22050, 2)
    resampled = read_audio(path, 16000)
    assert abs(len(resampled) - 16000) <= 32
    spectrum = np.abs(np.fft.rfft(resampled[:16000], 16000))
    assert spectrum.argmax() == 440


@pytest.mark.parametrize(
    'content, line',
    [
        (b'no audio at all', 'cannot be read as audio: Invalid data'),
        (None, 'cannot be read as audio: No such file'),
        (np.zeros(300), 'must be 25 ms long or longer, but is 18.8 ms'),
    ],
)
def test_wrong_clips(tmp_path, content, line):
    path = tmp_path / 'a.wav'
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        write_wav(path, content)
    with pytest.raises(UsageError, match=line):
        LoadWaveform().transform(dict(audio_path=str(path)))


# ------------------------------------------------------------- filter banks


@pytest.mark.parametrize('rate, num_bins', [(16000, 80), (11025, 128)])
def test_fbank_is_kaldi_s(rate, num_bins):
    knf = pytest.importorskip('kaldi_native_fbank')
    samples = tone(700, rate=rate).astype(np.float32)
    options = knf.FbankOptions()
    options.frame_opts.samp_freq = rate
    options.frame_opts.dither = 0
    options.frame_opts.window_type = 'hanning'
    options.mel_opts.num_bins = num_bins
    bank = knf.OnlineFbank(options)
    bank.accept_waveform(rate, samples.tolist())
    bank.input_finished()
    expected = [bank.get_frame(i) for i in range(bank.num_frames_ready)]
    found = kaldi_fbank(samples, rate, num_bins)
    assert found.shape == (98, num_bins)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_bins_without_a_frequency_have_the_floor():
    filters = mel_filters(128, 512, 16000)
    empty = filters.sum(0) == 0
    assert filters.shape == (257, 128) and empty.any()
    fbank = kaldi_fbank(tone(700), 16000, 128)
    np.testing.assert_allclose(fbank[:, empty], np.log(2.0**-23))
    assert (fbank[:, ~empty] > np.log(2.0**-23)).all()


def test_pipeline(words):
    sample = dict(dataset(words, 'train').get_data_info(0), num_classes=2)
    for transform in (LoadWaveform(), KaldiFbank(), NormalizeFbank()):
        sample = transform(sample)
    fbank = sample['fbank']
    assert fbank.shape == (128, 128)
    # a second is 98 frames; what is missing is 0, and then normalised
    np.testing.assert_allclose(fbank[:, 98:], 6.845978 / 2 / 5.5654526)
    packed = PackFbank()(sample)
    assert packed['inputs'].shape == (1, 128, 128)
    assert packed['inputs'].dtype == torch.float32
    assert packed['data_samples']['target'].tolist() == [1, 0]


def test_mixup(words):
    data = dataset(words, 'train', mixup=1)
    sample = dict(data.prepare_data(0), other=data.get_data_info(1))
    both = LoadWaveform()(sample)
    share = both['share']
    clips = [
        read_audio(data.get_data_info(i)['audio_path'], 16000)
        for i in range(2)
    ]
    mixed = share * clips[0] + (1 - share) * clips[1]
    np.testing.assert_allclose(
        both['waveform'], mixed - mixed.mean(), atol=1e-5
    )
    both['fbank'] = np.zeros((128, 128))
    target = PackFbank()(both)['data_samples']['target']
    torch.testing.assert_close(
        target, torch.tensor([share, 1 - share]).float()
    )
    others = sum('other' in data.prepare_data(0) for _ in range(10))
    assert others == 10
    data.mixup = 0
    assert 'other' not in data.prepare_data(0)


def test_masks_noise_and_roll():
    ones = np.ones((128, 128))
    widths = []
    for _ in range(50):
        masked = MaskFbank(48, 20)(dict(fbank=ones))['fbank'] == 0
        bins, frames = masked.all(1), masked.all(0)
        assert (masked == (bins[:, None] | frames)).all()
        widths.append((bins.sum(), frames.sum()))
        # each in one piece
        assert all(np.abs(np.diff(m.astype(int))).sum() <= 2 for m in
                   (bins, frames))  # fmt: skip
    assert ones.all()
    most = np.max(widths, 0)
    assert 24 < most[0] < 48 and 10 < most[1] < 20
    frame = np.zeros((128, 128))
    frame[:, 50] = 1
    seen = set()
    for _ in range(50):
        rolled = NoiseAndRoll()(dict(fbank=frame))['fbank']
        seen.add(rolled.mean(0).argmax() - 50)
        noise = rolled - np.roll(frame, rolled.mean(0).argmax() - 50, 1)
        assert 0 <= noise.min() and noise.max() <= 0.1
    assert seen <= set(range(-10, 10)) and len(seen) > 8


# --------------------------------------------------------------- classifier


@pytest.fixture
def model(small_model):
    return small_model(TINY)


def test_classifier(model):
    inputs = torch.randn(2, 1, 128, 128)
    target = torch.tensor([[1.0, 0, 0, 0, 0], [0, 0.4, 0.6, 0, 0]])
    samples = dict(target=target, gt_label=torch.tensor([0, 2]))
    scores = model.eval()(inputs)
    # the order of the published classifier: mean, norm, linear
    pooled = model.backbone(inputs)[-1].mean((2, 3))
    hidden = torch.nn.functional.layer_norm(
        pooled, (24,), model.norm.weight, model.norm.bias, 1e-6
    )
    torch.testing.assert_close(scores, model.fc(hidden))
    loss = model(inputs, samples, mode='loss')['loss']
    p = scores.sigmoid()
    expected = -(target * p.log() + (1 - target) * (1 - p).log()).mean()
    torch.testing.assert_close(loss, expected)
    predicted = model(inputs, samples, mode='predict')
    assert [s['gt_label'] for s in predicted] == [0, 2]
    torch.testing.assert_close(predicted[1]['scores'], scores[1])
    with pytest.raises(ValueError, match="got 'logits'"):
        model(inputs, mode='logits')
    model.train()(inputs, samples, mode='loss')['loss'].backward()
    assert all(p.grad is not None for p in model.parameters())


def test_deploy_form_and_onnx(model, check_deploy_form):
    inputs = torch.randn(2, 1, 128, 128)
    check_deploy_form(model, inputs, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_published_size(check_step):
    """S with 35 classes for 1,000 and one channel for three, and a step.

    The published count is that of the deploy form, 55,645,984.
    """
    cfg = Config.fromfile(PUBLISHED)
    model = MODELS.build(cfg.model)
    assert sum(p.numel() for p in model.parameters()) == 55_713_755
    deploy = to_deploy_form(MODELS.build(cfg.model))
    published = 55_645_984 - 965 * 769 - 2 * 48 * 9
    assert sum(p.numel() for p in deploy.parameters()) == published
    data = dict(
        inputs=torch.randn(2, 1, 128, 128),
        data_samples=dict(target=torch.eye(35)[:2], gt_label=torch.arange(2)),
    )
    check_step(model, cfg.optim_wrapper, data)


# --------------------------------------------------------------------- runs


@pytest.mark.slow
def test_train_and_test(train_and_test, words):
    options = [
        'train_dataloader.batch_size=2',
        'model.num_classes=2',
        *(
            f'{split}_dataloader.dataset.num_classes=2'
            for split in ('train', 'val', 'test')
        ),
    ]
    text = train_and_test(TINY, options, words)
    assert re.search(r'accuracy/top1: [\d.]+', text)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which('espeak-ng'), reason='needs espeak-ng')
def test_make_words(run_tool, tmp_path):
    out = tmp_path / 'words'
    counts = ['--train', 3, '--val', 1, '--test', 2]
    done = run_tool(
        HERE / 'make_words.py', out, *counts, '--words', 'no', 'yes',
        fresh=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert '6 train, 2 val, 4 test clips of 2 words' in done.stdout
    splits = {s: dataset(out, s) for s in ('train', 'val', 'test')}
    assert [len(data) for data in splits.values()] == [6, 2, 4]
    speakers = [
        {
            Path(data.get_data_info(i)['audio_path']).name.split('-en-')[0]
            for i in range(len(data))
        }
        for data in splits.values()
    ]
    assert not speakers[0] & speakers[1] and not speakers[0] & speakers[2]
    clips = [read_audio(str(p), 16000) for p in sorted(out.rglob('*.wav'))]
    assert {len(clip) for clip in clips} == {16000}
    assert all(0.05 < np.abs(clip).max() < 1 for clip in clips)


@pytest.mark.parametrize('names', [['cat', 'cat'], ['a/b'], [''], ['_a']])
def test_wrong_words(run_tool, tmp_path, names):
    done = run_tool(
        HERE / 'make_words.py', tmp_path / 'out', '--words', *names
    )
    assert done.returncode == 1 and 'must be different words' in done.stderr
    assert not list(tmp_path.iterdir())


def test_interrupted_words(tmp_path, monkeypatch):
    """What has not begun is not spoken."""
    spoken = []

    def speak(word, voice, rng):
        spoken.append(voice)
        time.sleep(0.01)
        return np.zeros(10)

    def interrupt(results, total):
        next(results)
        raise KeyboardInterrupt

    variants = {split: ['a'] for split in make_words.SPLITS}
    monkeypatch.setattr(make_words, 'split_variants', lambda rng: variants)
    monkeypatch.setattr(make_words, 'speak', speak)
    monkeypatch.setattr(make_words, 'tqdm', interrupt)
    with pytest.raises(KeyboardInterrupt):
        make_words.write_words(
            tmp_path, ['cat'], dict(train=300, val=1, test=1), (0,)
        )
    assert 0 < len(spoken) < 150


def test_words_without_espeak(run_tool, tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))
    done = run_tool(HERE / 'make_words.py', tmp_path / 'out', fresh=True)
    assert done.returncode == 1
    assert 'apt-get install espeak-ng' in done.stderr
    assert not (tmp_path / 'out').exists()
