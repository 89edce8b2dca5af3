"""Detectors, which go by epochs and group images by their aspect ratio."""

import os
import random
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.fileio import dump, load
from pycocotools.mask import decode, encode, frPyObjects

from .conftest import ROOT
from .test_resume import assert_same, losses, state_of

SMALL = {
    'model.backbone.arch.depths': '[1,1,1,1]',
    'model.backbone.arch.kernel_sizes': '[7,7,5,5]',
    'model.backbone.drop_path_rate': 0.3,
    'train_dataloader.batch_size': 2,
    'train_dataloader.dataset.indices': 8,
    'train_cfg.max_epochs': 2,
    'train_cfg.val_interval': 100,
    'default_hooks.logger.interval': 1,
    'default_hooks.checkpoint.by_epoch': False,
    'default_hooks.checkpoint.interval': 3,
}
BY_RATIO = """
train_dataloader = dict(
    batch_sampler=dict(type='mmdet.AspectRatioBatchSampler')
)
"""


def note_images():
    """Write the images of each iteration into a file of the work dir."""
    from mmrep.runner.loops import EpochBasedTrainLoop, file_names

    run_iter = EpochBasedTrainLoop.run_iter
    path = Path(sys.argv[sys.argv.index('--work-dir') + 1], 'images')

    def run_and_note(self, i, data_batch):
        run_iter(self, i, data_batch)
        with path.open('a') as file:
            file.write(f'{self._iter} {file_names(data_batch)}\n')

    EpochBasedTrainLoop.run_iter = run_and_note


def images_of(work_dir):
    """Images by iteration; those that were written last count."""
    lines = (work_dir / 'images').read_text().splitlines()
    return dict(line.split(' ', 1) for line in lines)


@pytest.fixture(scope='module')
def mixed_root(shapes_root, tmp_path_factory):
    """The shapes, every third image higher than wide."""
    root = tmp_path_factory.mktemp('mixed')
    name = 'annotations/instances_training.json'
    data = load(shapes_root / name)
    folder = root / 'images/training'
    folder.mkdir(parents=True)
    higher = set()
    for i, entry in enumerate(data['images']):
        image = cv2.imread(
            str(shapes_root / 'images/training' / entry['file_name'])
        )
        if i % 3 == 0:
            higher.add(entry['id'])
            entry['height'] += 16
            image = cv2.copyMakeBorder(image, 0, 16, 0, 0, cv2.BORDER_REFLECT)
        cv2.imwrite(str(folder / entry['file_name']), image)
    for shape in data['annotations']:
        if shape['image_id'] in higher:
            rle = frPyObjects(shape['segmentation'], 64, 64)
            pixels = np.pad(decode(rle), ((0, 16), (0, 0)))
            mask = encode(np.asfortranarray(pixels))
            shape['segmentation'] = {**mask, 'counts': mask['counts'].decode()}
    (root / 'annotations').mkdir()
    dump(data, root / name)
    for part in ('annotations/instances_validation.json', 'images/validation'):
        os.symlink(shapes_root / part, root / part)
    return root


def test_kill_and_resume(train, tmp_path, mixed_root):
    """In the middle of an epoch: the same images, losses and weights."""
    kwargs = dict(
        config=ROOT / 'configs/cascade-mask-rcnn_replknet-tiny_shapes.py',
        options=SMALL,
        extra=BY_RATIO,
        prepare=note_images,
    )
    common = ['--data-root', mixed_root]
    whole = train(*common, work_dir='whole', **kwargs)
    broken = train(*common, work_dir='broken', **kwargs)
    # iteration 3 is logged before its checkpoint is written
    epoch, i = random.choice([(1, 4), (2, 1), (2, 2), (2, 3)])
    broken.wait_for(f'[{epoch}][{i}/4]')
    broken.kill()
    assert whole.wait() == 0, whole.log[-3000:]
    resumed = train(*common, '--resume', work_dir='broken', **kwargs)
    assert resumed.wait() == 0, resumed.log[-3000:]
    assert 'resumed epoch: ' in resumed.log
    paths = [tmp_path / name for name in ('whole', 'broken')]
    images, again = map(images_of, paths)
    assert len(images) == 8 and images == again
    found, expected = map(losses, paths)
    assert len(found) == 8 and found == expected
    assert_same(*(state_of(path / 'iter_8.pth') for path in paths))
