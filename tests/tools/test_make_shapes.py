from pathlib import Path

import cv2
import numpy as np
from pycocotools.coco import COCO

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / 'tools/dataset_converters/make_shapes.py'


def test_layout_and_labels(shapes_root):
    for split, count in (('training', 16), ('validation', 6)):
        images = sorted((shapes_root / 'images' / split).iterdir())
        labels = sorted((shapes_root / 'annotations' / split).iterdir())
        assert [p.stem for p in images] == [p.stem for p in labels]
        assert len(images) == count
        seen = set()
        for path in labels:
            label = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            assert label.shape == (64, 64) and label.dtype == np.uint8
            seen |= set(np.unique(label))
        assert seen == set(range(1, 8)), 'every class occurs, 0 never'
        assert cv2.imread(str(images[0])).shape == (64, 64, 3)


def test_instances_are_the_label_maps(shapes_root):
    """Masks and boxes, read by COCO's own tools, against the label maps."""
    for split in ('training', 'validation'):
        coco = COCO(shapes_root / f'annotations/instances_{split}.json')
        folder = shapes_root / 'images' / split
        images = coco.loadImgs(coco.getImgIds())
        assert {i['file_name'] for i in images} == {
            path.name for path in folder.iterdir()
        }
        assert {c['id']: c['name'] for c in coco.dataset['categories']} == {
            1: 'disc', 2: 'ring', 3: 'square', 4: 'triangle', 5: 'cross',
            6: 'star',
        }  # fmt: skip
        for image in images:
            name = Path(image['file_name']).with_suffix('.png')
            path = shapes_root / 'annotations' / split / name
            truth = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            assert truth.shape == (image['height'], image['width'])
            labels = np.ones_like(truth)
            entries = coco.loadAnns(coco.getAnnIds(image['id']))
            for entry in entries:
                mask = coco.annToMask(entry).astype(bool)
                assert (labels[mask] == 1).all(), 'masks do not overlap'
                labels[mask] = entry['category_id'] + 1
                assert entry['area'] == mask.sum() >= 16
                box = cv2.boundingRect(mask.astype(np.uint8))
                assert entry['bbox'] == list(box) and not entry['iscrowd']
            # what is left of a covered shape may be too small to count
            assert (labels != truth).sum() < 16 * 3
            assert ((labels == truth) | (labels == 1)).all()


def test_seed_decides(run_tool, shapes_root, tmp_path):
    size = ['--train', 2, '--val', 1, '--size', 64]
    for name, seed in (('same', 0), ('other', 1)):
        done = run_tool(SCRIPT, tmp_path / name, *size, '--seed', seed)
        assert done.returncode == 0, done.stderr
    image = Path('images/training/shapes_training_00000.jpg')
    reference = (shapes_root / image).read_bytes()
    assert (tmp_path / 'same' / image).read_bytes() == reference
    assert (tmp_path / 'other' / image).read_bytes() != reference


def test_existing_folder_is_kept(run_tool, tmp_path):
    (tmp_path / 'precious').touch()
    done = run_tool(SCRIPT, tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith('error: ') and 'not exist' in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ['precious']


def test_one_line_of_what_is_wrong(run_tool, tmp_path):
    file = tmp_path / 'file'
    file.touch()
    below = file / 'deep/er'
    for args, status, text in (
        ([tmp_path / 'out', '--seed', -1], 2, 'must be 0 or more, got -1'),
        ([below], 1, f'error: {below} cannot be written: '),
    ):
        done = run_tool(SCRIPT, *args)
        assert done.returncode == status
        assert text in done.stderr and 'Traceback' not in done.stderr
    assert list(tmp_path.iterdir()) == [file]


def test_wrong_size(run_tool, tmp_path):
    done = run_tool(SCRIPT, tmp_path / 'x', '--size', 8)
    assert done.returncode == 2 and '--size at least 32' in done.stderr
