"""A released classifier on a folder of images, by tools/test.py."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from PIL import Image

from mmrep.checkpoint import convert
from mmrep.data import FolderDataset, TopKAccuracy
from mmrep.errors import UsageError
from mmrep.models import ImageClassifier, RepLKNet

ROOT = Path(__file__).parents[2]
ARCH = dict(
    channels=(8, 12, 16, 20), depths=(1, 1, 2, 1), kernel_sizes=(13, 11, 9, 7)
)
MEAN = torch.tensor([123.675, 116.28, 103.53])
STD = torch.tensor([58.395, 57.12, 57.375])


@pytest.fixture
def folder(tmp_path):
    """Four classes of three images, wider or higher than 256."""
    rng = np.random.default_rng(0)
    for i in range(4):
        path = tmp_path / f'imagenet/val/n0{i}'
        path.mkdir(parents=True)
        for j, size in enumerate([(300, 260), (260, 400), (256, 256)]):
            pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            image = Image.fromarray(pixels).resize(size, Image.BICUBIC)
            image.save(path / f'{j}.png')
    return tmp_path / 'imagenet'


def authors_scores(state, path):
    """What the authors' evaluation computes: pillow, norm, pooling, head."""
    image = Image.open(path)
    scale = 256 / min(image.size)
    size = [round(x * scale) for x in image.size]
    image = np.asarray(image.resize(size, Image.BICUBIC), dtype=np.float32)
    top, left = (round((s - 224) / 2) for s in image.shape[:2])
    image = torch.from_numpy(image[top : top + 224, left : left + 224])
    x = ((image - MEAN) / STD).permute(2, 0, 1)[None]
    backbone = RepLKNet(ARCH, out_indices=(3,)).eval()
    backbone.load_state_dict(
        {k: v for k, v in state.items() if k.split('.')[0] not in NOT_BACKBONE}
    )
    with torch.no_grad():
        x = F.batch_norm(
            backbone(x)[0],
            *(state[f'norm.running_{key}'] for key in ('mean', 'var')),
            *(state[f'norm.{key}'] for key in ('weight', 'bias')),
        )
        x = x.mean((2, 3))
        return F.linear(x, state['head.weight'], state['head.bias'])[0]


NOT_BACKBONE = ('norm', 'head')


def test_accuracy_and_throughput(run_tool, folder, tmp_path, randomise):
    model = ImageClassifier(
        dict(type='mmrep.RepLKNet', arch=ARCH, out_indices=(3,),
             norm_intermediate_features=True),
        20, 4,
    )  # fmt: skip
    randomise(model)
    state = {}
    for key, value in model.state_dict().items():
        key = key.replace('head.fc.', 'head.').replace('backbone.', '')
        state[key.replace('stages.3.norm.', 'norm.')] = value
    torch.save(dict(model=state), tmp_path / 'authors.pth')
    conversion = convert(str(tmp_path / 'authors.pth'), model)
    conversion.write(str(tmp_path / 'converted.pth'))

    config = tmp_path / 'tiny.py'
    config.write_text(
        f"_base_ = '{ROOT}/configs/classifier_replknet31b_imagenet.py'\n"
        f'model = dict(backbone=dict(arch=dict(_delete_=True, **{ARCH})), '
        'in_channels=20, '
        'num_classes=4)\n'
        'test_dataloader = dict(batch_size=2, num_workers=0, '
        'persistent_workers=False, dataset=dict(num_classes=4))\n'
        'test_evaluator = dict(topk=(1, 2))\n'
    )
    done = run_tool(
        ROOT / 'tools/test.py', config, tmp_path / 'converted.pth',
        '--data-root', folder, '--work-dir', tmp_path / 'work',
    )  # fmt: skip
    log = done.stdout + done.stderr
    assert done.returncode == 0, log[-3000:]
    assert 'images/s at batch size 2, median of 3 batches' in log
    found = json.loads(next(tmp_path.glob('work/2*/2*.json')).read_text())
    ranks = []
    for label in range(4):
        for path in sorted((folder / f'val/n0{label}').iterdir()):
            scores = authors_scores(state, path)
            ranks.append(int((scores > scores[label]).sum()))
    ranks = np.array(ranks)
    assert len(ranks) == 12 and 0 < (ranks < 2).sum() < 12
    for k in (1, 2):
        expected = 100 * (ranks < k).mean()
        assert found[f'accuracy/top{k}'] == pytest.approx(expected)


def test_folders_must_be_the_classes(folder):
    options = dict(data_root=str(folder), data_prefix=dict(img_path='val'))
    data = FolderDataset(4, **options)
    assert [data[i]['gt_label'] for i in (0, 3, 11)] == [0, 1, 3]
    with pytest.raises(UsageError, match='each of 1000 classes, but holds 4'):
        FolderDataset(1000, **options)
    for path in folder.rglob('*.png'):
        path.unlink()
    with pytest.raises(UsageError, match='hold none'):
        FolderDataset(4, **options)


def test_modes():
    model = ImageClassifier(
        dict(type='mmrep.RepLKNet', arch=ARCH), 20, 4
    ).eval()
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        scores = model(x)
        found = model(x, [3, 1], mode='predict')
        loss = model(x, [3, 1], mode='loss')['loss']
    assert [sample['gt_label'] for sample in found] == [3, 1]
    assert torch.equal(found[1]['scores'], scores[1])
    log_p = scores.log_softmax(1)
    torch.testing.assert_close(loss, -(log_p[0, 3] + log_p[1, 1]) / 2)
    with pytest.raises(ValueError, match="got 'train'"):
        model(x, mode='train')


def test_top_k():
    metric = TopKAccuracy(topk=(1, 3))
    scores = torch.tensor([0.1, 0.4, 0.2, 0.3])
    metric.process(None, [dict(scores=scores, gt_label=i) for i in range(4)])
    assert metric.evaluate(4) == {'accuracy/top1': 25, 'accuracy/top3': 75}


NAN, INF = float('nan'), float('inf')


@pytest.mark.parametrize(
    'scores, rank',
    [
        ([NAN, NAN, NAN], 2),
        ([0.0, 0.0, 0.0], 2),
        ([0.5, 0.5, 0.1], 1),
        ([0.5, NAN, 0.1], 1),
        ([0.5, INF, 0.1], 1),
        ([INF, 0.0, 0.1], 2),
        ([0.5, -INF, 0.1], 0),
    ],
)
def test_rank_of_a_broken_model(scores, rank):
    """Class 0 is never ahead of what it does not beat."""
    metric = TopKAccuracy()
    sample = dict(scores=torch.tensor(scores), gt_label=0)
    metric.process(None, [sample])
    assert metric.results == [rank]


@pytest.mark.parametrize(
    'name, arch, size',
    [
        ('replknet31b_imagenet', '31B', 224),
        ('replknet31b-in22k_imagenet', '31B', 224),
        ('replknet31b_imagenet-384x384', '31B', 384),
        ('replknet31b-in22k_imagenet-384x384', '31B', 384),
        ('replknet31l-in22k_imagenet-384x384', '31L', 384),
        ('replknetxl-meg73m_imagenet-320x320', 'XL', 320),
    ],
)
def test_configs(name, arch, size):
    cfg = Config.fromfile(ROOT / f'configs/classifier_{name}.py')
    assert cfg.model.backbone.arch == arch
    pipeline = cfg.test_dataloader.dataset.pipeline
    last = pipeline[-2]
    assert last.get('crop_size', last.get('scale')) in (size, (size, size))
    resize = next(t for t in pipeline if t.type == 'Resize')
    assert (resize.backend, resize.interpolation) == ('pillow', 'bicubic')
    # the authors warp at 384 and crop below
    assert resize.keep_ratio is (size < 384)
    is_xl = arch == 'XL'
    assert (cfg.model.data_preprocessor.mean == [127.5] * 3) is is_xl
