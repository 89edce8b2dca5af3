import json
from pathlib import Path
from types import SimpleNamespace

import processes
import pytest
import torch

from mmrep.analysis import throughput, training
from mmrep.analysis.inference import build_form
from mmrep.analysis.throughput import (
    Case,
    measure,
    measure_here,
    missing_package,
    parse_switches,
    table,
    with_baseline,
)
from mmrep.analysis.training import build_training_step
from mmrep.deploy import load_model
from mmrep.deploy.quantize.score import score
from mmrep.engine import load_config, set_data_root
from mmrep.errors import UsageError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def cfg(small_segmentor):
    return load_config(str(small_segmentor[0]))


def case(mode='inference', form='train', switches=(), device='cpu'):
    return Case('small', mode, form, switches, 2, (64, 96), device)


def trained(form, switches=(), checkpoint='m.pth'):
    shape = 64, 96
    return Case(
        'small', 'inference', form, switches, 2, shape, 'cpu', checkpoint
    )


@pytest.fixture
def built(monkeypatch):
    """The models that training steps are built of."""
    models = []

    def build(cfg):
        models.append(build_model(cfg))
        return models[-1]

    build_model = training.build_model
    monkeypatch.setattr(training, 'build_model', build)
    return models


@pytest.mark.slow
def test_training_step(cfg, built):
    seen = []
    step = build_training_step(cfg, (64, 96), 1)
    (model,) = built
    model.backbone.register_forward_hook(
        lambda module, inputs, out: seen.append((inputs[0], out[0].dtype))
    )
    weight = model.decode_head.conv_seg.weight.clone()
    losses = step()
    assert losses['loss'] > 0
    image, dtype = seen[0]
    assert image.shape == (1, 3, 64, 96) and dtype == torch.float32
    assert not image.is_contiguous(memory_format=torch.channels_last)
    assert model.training and not model.backbone.with_cp
    assert not torch.equal(weight, model.decode_head.conv_seg.weight)


@pytest.mark.slow
def test_switches_of_training(cfg, built):
    seen = []
    switches = ('bf16', 'channels_last', 'with_cp')
    step = build_training_step(cfg, (64, 64), 2, switches=switches)
    (model,) = built
    model.backbone.register_forward_hook(
        lambda module, inputs, out: seen.extend([inputs[0], out[0]])
    )
    assert step()['loss'] > 0
    image, out = seen
    assert image.is_contiguous(memory_format=torch.channels_last)
    assert out.dtype == torch.bfloat16
    assert model.backbone.with_cp
    build_training_step(cfg, (64, 64), 2, switches=('compile',))
    assert built[1].backbone._compiled_call_impl is not None
    assert model.backbone._compiled_call_impl is None


def test_training_step_of_a_detector():
    cfg = load_config(str(ROOT / 'configs/fcos_replknet-tiny_shapes.py'))
    assert build_training_step(cfg, (64, 96), 2)()['loss'] > 0


def test_training_needs_a_segmentor_or_detector():
    config = ROOT / 'configs/classifier_replknet31b_imagenet.py'
    cfg = load_config(str(config))
    cfg.model.backbone.arch = dict(
        channels=(8, 8, 8, 8), depths=(1, 1, 1, 1), kernel_sizes=(5, 5, 5, 5)
    )
    with pytest.raises(UsageError, match='segmentors and detectors'):
        build_training_step(cfg, (64, 64), 2)


def test_other_backbone_before_the_same_head(cfg):
    other = with_baseline(cfg, 'swin-b')
    assert cfg.model.backbone.type == 'mmrep.RepLKNet'
    other.model.backbone.depths = (1, 1, 1, 1)
    out = build_form(other, 'deploy', (64, 96)).run()
    assert out.shape == (1, 7, 64, 96)
    assert other.model.decode_head.channels == cfg.model.decode_head.channels
    assert missing_package('swin-b') is None
    fcos = load_config(str(ROOT / 'configs/fcos_replknet-tiny_shapes.py'))
    other = with_baseline(fcos, 'convnext-b')
    assert other.model.neck.in_channels == [128, 256, 512, 1024]
    cfg.model.decode_head.in_channels = 8
    with pytest.raises(UsageError, match='swin-b needs a config'):
        with_baseline(cfg, 'swin-b')


def test_parse_switches():
    assert parse_switches('plain') == ()
    assert parse_switches('bf16+with_cp') == ('bf16', 'with_cp')
    with pytest.raises(UsageError, match="got 'bf61'"):
        parse_switches('bf61')
    with pytest.raises(UsageError, match='exclude each other'):
        parse_switches('bf16+fp16')


@pytest.mark.parametrize(
    'wrong, reason',
    [
        (case(switches=('cuda_graph',)), 'on a GPU'),
        (case('training', switches=('cuda_graph',), device='cuda'), 'infer'),
        (case(switches=('with_cp',)), 'for training'),
        (case(form='onnx', switches=('bf16',)), 'on a CPU, without'),
        (trained('int8', ('bf16',)), 'on a CPU, without'),
        (trained('train', ('channels_last',)), 'plain, in bf16 or'),
        (case(form='onnx', device='cuda'), 'on a CPU'),
    ],
)
def test_cases_that_there_are_not(wrong, reason):
    assert reason in wrong.unfit()


def test_cases_that_there_are():
    assert case('training', switches=('with_cp', 'compile')).unfit() is None
    assert case(switches=('cuda_graph',), device='cuda').unfit() is None
    assert case(form='onnx').unfit() is None


@pytest.mark.slow
def test_measure(cfg, monkeypatch):
    """Peaks are of each process; one that fails leaves the other alone."""
    # forked, with the imports done; test_benchmark_model.py spawns them
    forked = SimpleNamespace(get_context=lambda method: processes.CONTEXT)
    monkeypatch.setattr(throughput, 'multiprocessing', forked)
    small = case(form='deploy')
    large = Case('large', 'training', 'train', (), 4, (192, 192), 'cpu')
    said = []
    rows = measure(
        [(cfg, small), (cfg, case(form='merged')), (cfg, large)],
        repeats=3,
        clock='cpu',
        report=said.append,
    )
    assert len(rows[0]['times']) == 3 and len(said) == 6
    assert rows[0]['ms'] == sorted(rows[0]['times'])[1]
    speed = rows[0]['images_per_second'] * rows[0]['ms']
    assert speed == pytest.approx(2000)
    assert 'form must be one of' in rows[1]['error']
    assert rows[2]['ms'] > rows[0]['ms']
    assert rows[2]['peak_mb'] > rows[0]['peak_mb'] > 0
    assert rows[0]['file_mb'] > 0 and 'file_mb' not in rows[2]


def test_one_after_the_other_in_this_process(cfg):
    """As in processes, but one row at a time; a failure costs its own."""
    said = []
    rows = measure_here(
        [
            (cfg, case(form='deploy')),
            (cfg, case(form='merged')),
            (cfg, case('training', switches=('bf16',))),
        ],
        repeats=3,
        report=said.append,
    )
    first = next(rows)
    assert len(said) == 1 and len(first['times']) == 3
    assert first['ms'] == sorted(first['times'])[1]
    assert first['peak_mb'] is None
    second, third = rows
    assert 'form must be one of' in second['error'] and 'ms' not in second
    assert third['mode'] == 'training' and third['ms'] > 0
    last = table([first, second, third]).splitlines()[-1]
    assert '| training step | bf16 |' in last and last.endswith('|  |')


def test_trained_model(cfg, small_segmentor, shapes_root):
    set_data_root(
        cfg, str(shapes_root), ['train_dataloader', 'val_dataloader']
    )
    checkpoint = str(small_segmentor[1])
    jobs = [
        (cfg, trained(form, switches, checkpoint))
        for form, switches in (('deploy', ()), ('deploy', ('bf16',)))
    ]
    rows = list(measure_here(jobs, repeats=1))
    model = load_model(cfg, checkpoint, deploy=True)
    assert rows[0]['score'] == score(cfg, model, '')
    assert rows[1]['score'] != rows[0]['score']
    assert 0.4 < rows[1]['file_mb'] / rows[0]['file_mb'] < 0.6
    lines = table([*rows, {**rows[0], 'error': 'no'}]).splitlines()
    assert lines[0].endswith('| peak MB | file MB | score |')
    assert f'| mIoU {rows[0]["score"]["mIoU"]:.2f} |' in lines[2]
    assert len({line.count('|') for line in lines}) == 1


@pytest.mark.slow
def test_files_of_a_trained_model(cfg, small_segmentor, shapes_root):
    set_data_root(
        cfg, str(shapes_root), ['train_dataloader', 'val_dataloader']
    )
    checkpoint = str(small_segmentor[1])
    rows = measure(
        [(cfg, trained(x, (), checkpoint)) for x in ('onnx', 'deploy')],
        repeats=1,
    )
    points = [row['score']['mIoU'] for row in rows]
    assert points[0] == pytest.approx(points[1], abs=0.1)
    assert rows[0]['peak_mb'] > 0 and rows[0]['file_mb'] > 0


def test_table():
    row = dict(
        model='a', mode='inference', form='train', switches=(), batch_size=2,
        shape=(4, 8), device='cpu', ms=100.0, images_per_second=20.0,
        peak_mb=10.4, clock='wall',
    )  # fmt: skip
    rows = [
        row,
        {**row, 'form': 'deploy', 'ms': 50.0, 'images_per_second': 40.0},
        {**row, 'mode': 'training', 'switches': ('bf16', 'with_cp')},
        {**row, 'model': 'b', 'error': 'E: no | room'},
    ]
    assert '| CPU ms |' in table([{**row, 'clock': 'cpu'}])
    assert '| ms |' in table(rows)
    assert table(rows).splitlines()[2:] == [
        '| a | train form | plain | 2×4×8 | 100 | 20 | 1.00 | 10 |',
        '| a | deploy form | plain | 2×4×8 | 50 | 40 | 2.00 | 10 |',
        '| a | training step | bf16+with_cp | 2×4×8 | 100 | 20 | 1.00 | 10 |',
        '| b | train form | plain | 2×4×8 | E: no / room |  |  |  |',
    ]


def test_columns_of_files():
    row = dict(
        model='a', mode='inference', form='int8', switches=(), batch_size=1,
        shape=(4, 8), device='cpu', ms=100.0, images_per_second=10.0,
        peak_mb=10.4, clock='wall', file_mb=3.21,
    )  # fmt: skip
    training = {**row, 'mode': 'training'}
    del training['file_mb']
    assert table([row, training]).splitlines() == [
        '| model | what | switches | batch | ms | images/s | speed-up '
        '| peak MB | file MB |',
        '| --- ' * 9 + '|',
        '| a | int8 form | plain | 1×4×8 | 100 | 10 | 1.00 | 10 | 3.2 |',
        '| a | training step | plain | 1×4×8 | 100 | 10 | 1.00 | 10 |  |',
    ]


def test_tables_of_the_docs():
    """Those in docs/benchmarks.md are what the files beside it give."""
    text = (ROOT / 'docs/benchmarks.md').read_text()
    files = list((ROOT / 'docs/benchmarks').glob('model_*.json'))
    assert files
    for file in files:
        assert file.name in text
        assert table(json.loads(file.read_text())['rows']) in text
