import numpy as np
import pytest
from mmengine.config import Config

from mmrep.data.datasets import dataset_meta, first_dataset, inner_datasets
from mmrep.errors import UsageError


@pytest.fixture
def cfg():
    """A repeated pair, one of which is wrapped."""
    inner = [dict(type='mmseg.ADE20KDataset'), dict(a=2), dict(a=3)]
    joined = dict(datasets=[inner[0], dict(dataset=inner[1]), inner[2]])
    wrapped = dict(type='RepeatDataset', dataset=joined)
    return Config(dict(test_dataloader=dict(dataset=wrapped)))


def test_wrappers_are_looked_through(cfg):
    keys, found = zip(*inner_datasets(cfg, 'test_dataloader'), strict=True)
    start = 'test_dataloader.dataset.dataset.datasets'
    assert keys == (f'{start}.0', f'{start}.1.dataset', f'{start}.2')
    assert [d.get('a') for d in found] == [None, 2, 3]
    assert first_dataset(cfg, 'test_dataloader') is found[0]
    assert first_dataset(cfg, 'val_dataloader') is None
    cfg.test_dataloader.dataset = None
    assert list(inner_datasets(cfg, 'test_dataloader')) == []


def test_classes_of_the_checkpoint_go_before(cfg):
    def found(**meta):
        return dataset_meta(cfg, dict(meta=meta))

    assert found()['classes'][0] == 'wall'
    assert found()['palette'][0] == (120, 120, 120)
    new = dict(classes=['a'], palette=[[1, 2, 3]])
    expected = dict(classes=('a',), palette=[(1, 2, 3)])
    assert found(dataset_meta=new) == expected
    # of MMSegmentation 0.x and MMDetection 2.x
    old = dict(CLASSES=('a',), PALETTE=None)
    assert found(**old)['classes'] == ('a',)
    assert found(**old)['palette'][0] == (120, 120, 120)
    old['PALETTE'] = np.array([[1, 2, 3]])
    assert found(**old) == expected
    assert dataset_meta(Config(dict(model={})), {}) == {}


def test_classes_in_a_file(cfg, tmp_path):
    path = tmp_path / 'classes.txt'
    dataset = first_dataset(cfg, 'test_dataloader')
    dataset['metainfo'] = dict(classes=str(path))
    with pytest.raises(
        UsageError, match='a tuple of names, or a file .*classes.txt'
    ):
        dataset_meta(cfg, {})
    path.write_text('wall\nsky\n')
    assert dataset_meta(cfg, {})['classes'] == ('wall', 'sky')
