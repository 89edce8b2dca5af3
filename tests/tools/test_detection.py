"""tools/train.py and tools/test.py with detectors, as a user runs them."""

import json
import shutil
from pathlib import Path

import cv2
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from sweep import sweep

ROOT = Path(__file__).parents[2]
TRAIN = ROOT / 'tools/train.py'
TEST = ROOT / 'tools/test.py'
CASCADE = ROOT / 'configs/cascade-mask-rcnn_replknet-tiny_shapes.py'
FCOS = ROOT / 'configs/fcos_replknet-tiny_shapes.py'
SEGMENTOR = ROOT / 'configs/upernet_replknet-tiny_shapes.py'
SMALL = (
    'model.backbone.arch.depths=[1,1,1,1]',
    'model.backbone.arch.kernel_sizes=[13,9,7,5]',
)
ONCE = (
    'train_cfg.max_epochs=1',
    'train_cfg.val_interval=1',
    'default_hooks.checkpoint.interval=1',
    'default_hooks.logger.interval=1',
)
ANNOTATIONS = 'annotations/instances_validation.json'


def damage(root):
    """Cut off the end of a training image; return its path."""
    path = sorted((root / 'images/training').iterdir())[3]
    path.write_bytes(path.read_bytes()[:-100])
    return path


@pytest.fixture(scope='module')
def damaged_root(shapes_root, tmp_path_factory):
    root = tmp_path_factory.mktemp('damaged') / 'shapes'
    shutil.copytree(shapes_root, root)
    return root, damage(root)


@pytest.fixture(scope='module')
def trained(run_tool, damaged_root, tmp_path_factory):
    """A work dir after an epoch without the damaged image, and the log."""
    work_dir = tmp_path_factory.mktemp('work')
    done = run_tool(
        TRAIN, CASCADE, '--work-dir', work_dir, '--data-root', damaged_root[0],
        '--skip-corrupt', '--cfg-options', *SMALL, *ONCE,
        'train_dataloader.num_workers=1', 'train_dataloader.batch_size=4',
        fresh=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return work_dir, done.stdout + done.stderr


@pytest.mark.slow
def test_train(trained, damaged_root):
    work_dir, log = trained
    assert (work_dir / 'epoch_1.pth').is_file()
    assert f'{damaged_root[1]} is truncated' in log and 'skipped' in log
    assert 'total batch size 4 (1 x 4), the recipe assumes 8' in log
    lines = (next(work_dir.glob('2*/vis_data/scalars.json'))).read_text()
    lines = [json.loads(line) for line in lines.splitlines()]
    assert all(line['loss'] < 1e3 for line in lines if 'loss' in line)
    assert 'coco/segm_mAP' in lines[-1]


def measure(root, predictions, kind):
    """Average precision of the files that --out wrote."""
    truth = COCO(root / ANNOTATIONS)
    results = json.loads(predictions.read_text())
    if not results:
        return 0.0
    evaluation = COCOeval(truth, truth.loadRes(str(predictions)), kind)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats[0]


@pytest.mark.slow
@pytest.mark.parametrize('aug_test', [False, True])
def test_test(run_tool, trained, shapes_root, tmp_path, aug_test):
    work_dir, _ = trained
    done = run_tool(
        TEST, CASCADE, work_dir / 'epoch_1.pth', '--data-root', shapes_root,
        '--work-dir', tmp_path, '--show-dir', tmp_path / 'pictures',
        '--out', tmp_path / 'out', '--report', tmp_path,
        *(['--aug-test'] if aug_test else []),
        '--cfg-options', *SMALL, 'model.test_cfg.rcnn.score_thr=0.01',
        fresh=not aug_test,
    )  # fmt: skip
    log = done.stdout + done.stderr
    assert done.returncode == 0, log[-3000:]
    assert f'pictures are in {tmp_path / "pictures"}' in log
    if not aug_test:
        assert 'Warning:' not in log and 'OneDL' not in log
    images = sorted((shapes_root / 'images/validation').iterdir())
    pictures = sorted((tmp_path / 'pictures').iterdir())
    assert [p.name for p in pictures] == [f'{p.stem}.png' for p in images]
    assert cv2.imread(str(pictures[0])).shape == (64, 64, 3)
    metrics = json.loads(next(tmp_path.glob('2*/2*.json')).read_text())
    assert 'coco/segm_mAP' in (tmp_path / 'report.html').read_text()
    for kind in ('bbox', 'segm'):
        path = tmp_path / f'out/predictions.{kind}.json'
        assert json.loads(path.read_text()), 'there are detections'
        score = measure(shapes_root, path, kind)
        assert metrics[f'coco/{kind}_mAP'] == pytest.approx(score, abs=1e-3)


@pytest.mark.slow
def test_thresholds_and_recall(run_tool, trained, shapes_root, tmp_path):
    """What fails upstream after the last image, under NumPy 2 or ever."""
    done = run_tool(
        TEST, CASCADE, trained[0] / 'epoch_1.pth', '--data-root', shapes_root,
        '--work-dir', tmp_path, '--cfg-options', *SMALL,
        'model.test_cfg.rcnn.score_thr=0.01',
        'test_evaluator.metric=[bbox,proposal_fast]',
        'test_evaluator.iou_thrs=[0.5,0.75]',
    )  # fmt: skip
    log = done.stdout + done.stderr
    assert done.returncode == 0, log[-3000:]
    metrics = json.loads(next(tmp_path.glob('2*/2*.json')).read_text())
    assert 0 <= metrics['coco/AR@100'] <= metrics['coco/AR@1000'] <= 1
    # their mean
    assert metrics['coco/bbox_mAP'] == pytest.approx(
        (metrics['coco/bbox_mAP_50'] + metrics['coco/bbox_mAP_75']) / 2,
        abs=1e-3,
    )


@pytest.mark.slow
def test_recall_of_several_classes(run_tool, trained, shapes_root, tmp_path):
    done = run_tool(
        TEST, CASCADE, trained[0] / 'epoch_1.pth', '--data-root', shapes_root,
        '--work-dir', tmp_path, '--cfg-options', *SMALL,
        'test_evaluator=dict(_delete_=True,type="VOCMetric",metric="recall")',
    )  # fmt: skip
    assert 'only the boxes of the first class' in error_of(done)


@pytest.mark.slow
def test_boxes_only(run_tool, shapes_root, tmp_path):
    """FCOS, with the boxes of views merged by MMDetection."""
    common = ['--data-root', shapes_root, '--work-dir', tmp_path]
    done = run_tool(
        TRAIN, FCOS, *common, '--cfg-options', *SMALL, *ONCE,
        'train_dataloader.batch_size=4',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    done = run_tool(
        TEST, FCOS, tmp_path / 'epoch_1.pth', *common, '--aug-test', '--out',
        tmp_path / 'out', '--cfg-options', *SMALL,
        'model.test_cfg.score_thr=0.0001',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert [p.name for p in (tmp_path / 'out').iterdir()] == [
        'predictions.bbox.json'
    ]


def error_of(done):
    """The only line of an error; there must be no traceback."""
    assert done.returncode != 0
    assert 'Traceback' not in done.stderr, done.stderr
    lines = done.stderr.splitlines()
    return next(x for x in lines if x.startswith('error: '))


@pytest.mark.parametrize(
    'config, workers',
    sweep([(CASCADE, 0), (SEGMENTOR, 1)], unpack=True),
    ids=['det', 'seg'],
)
def test_corrupt_image(run_tool, damaged_root, tmp_path, config, workers):
    """Without --skip-corrupt it ends the run, in a worker as well."""
    root, path = damaged_root
    done = run_tool(
        TRAIN, config, '--data-root', root, '--work-dir', tmp_path,
        '--cfg-options', *SMALL, f'train_dataloader.num_workers={workers}',
    )  # fmt: skip
    line = error_of(done)
    assert f'cannot read {path}' in line and '--skip-corrupt' in line


@pytest.mark.parametrize(
    'steps, text',
    [
        ('', 'must end with a transform that packs the sample for the model'),
        (
            ',dict(type="RandomCrop",crop_size=(0.1,2),'
            'crop_type="relative_range"),dict(type="PackDetInputs")',
            'cannot be built (train_dataloader.dataset.pipeline.2): ',
        ),
        (
            ',dict(type="Resize",scale=(0,0)),dict(type="PackDetInputs")',
            'fails on its first sample, in Resize: ',
        ),
    ],
)
def test_pipeline_that_does_not_work(
    run_tool, shapes_root, tmp_path, steps, text
):
    load = 'dict(type="LoadImageFromFile"),dict(type="LoadAnnotations")'
    done = run_tool(
        TRAIN, FCOS, '--data-root', shapes_root, '--work-dir', tmp_path,
        '--cfg-options', *SMALL,
        f'train_dataloader.dataset.pipeline=[{load}{steps}]',
    )  # fmt: skip
    assert text in error_of(done)


def test_not_coco(run_tool, shapes_root, tmp_path):
    root = shutil.copytree(shapes_root, tmp_path / 'shapes')
    (root / ANNOTATIONS).write_text('<annotation/>')
    done = run_tool(
        TEST, FCOS, 'x.pth', '--data-root', root, '--work-dir', tmp_path / 'w'
    )
    assert f'{root / ANNOTATIONS} must be in COCO format' in error_of(done)
    assert not (tmp_path / 'w').exists()
