"""camvid.ipynb runs, on a handful of pictures."""

from pathlib import Path

import cv2
import numpy as np
import pytest

NOTEBOOK = Path(__file__).with_name('camvid.ipynb')
# of the notebook's options: a model and crops of a size for a test
SMALL = {
    'model.backbone.arch.channels': [8, 8, 8, 8],
    'model.backbone.arch.depths': [1, 1, 1, 1],
    'model.backbone.arch.kernel_sizes': [5, 5, 5, 5],
    'model.decode_head.in_channels': [8, 8, 8, 8],
    'model.decode_head.channels': 8,
    'model.auxiliary_head.in_channels': 8,
}


def make_camvid(root):
    """Pictures laid out as CamVid's, whose classes have their own grey."""
    random = np.random.RandomState(0)
    for split, number in (('train', 4), ('val', 2), ('test', 2)):
        for kind in ('images', 'annotations'):
            (root / kind / split).mkdir(parents=True)
        for i in range(number):
            labels = random.randint(0, 12, (6, 8)).astype(np.uint8)
            labels[labels == 11] = 255
            labels = cv2.resize(labels, (480, 360), interpolation=0)
            picture = np.repeat(labels[..., None] * 20, 3, axis=2)
            cv2.imwrite(str(root / f'images/{split}/{i}.jpg'), picture)
            cv2.imwrite(str(root / f'annotations/{split}/{i}.png'), labels)


@pytest.mark.slow
def test_notebook(tmp_path):
    nbformat = pytest.importorskip('nbformat')
    nbclient = pytest.importorskip('nbclient')
    pytest.importorskip('ipykernel')
    make_camvid(tmp_path / 'camvid')
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get('outputs') for cell in notebook.cells)
    (cell,) = [
        cell
        for cell in notebook.cells
        if 'parameters' in cell.metadata.get('tags', ())
    ]
    cell.source = (
        f'data_root = {str(tmp_path / "camvid")!r}\n'
        f'work_dir = {str(tmp_path / "work")!r}\n'
        f'iterations = 2\noptions = {SMALL}\n'
    )
    client = nbclient.NotebookClient(
        notebook, timeout=300, resources=dict(metadata=dict(path=tmp_path))
    )
    client.execute()
    shown = [
        output
        for cell in notebook.cells
        for output in cell.get('outputs', ())
        if 'image/png' in output.get('data', {})
    ]
    assert len(shown) == 3
    assert 'Worst pictures' in (tmp_path / 'work/report.html').read_text()
