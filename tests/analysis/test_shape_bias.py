import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image
from torch import nn

from mmrep.analysis.shape_bias import (
    Stimulus,
    categories_of,
    count_decisions,
    decide,
    input_size,
    list_stimuli,
    predict,
)
from mmrep.analysis.sixteen_classes import SIXTEEN_CLASSES
from mmrep.errors import UsageError

# As published: the paper maps 207 of ImageNet's classes.
SIZES = dict(
    airplane=1, bear=4, bicycle=2, bird=49, boat=5, bottle=7, car=3, cat=6,
    chair=4, clock=3, dog=109, elephant=2, keyboard=2, knife=1, oven=1,
    truck=8,
)  # fmt: skip


def test_sixteen_classes():
    found = {name: len(indices) for name, indices in SIXTEEN_CLASSES.items()}
    assert found == SIZES and sum(found.values()) == 207
    indices = [i for part in SIXTEEN_CLASSES.values() for i in part]
    assert len(set(indices)) == 207, 'no class is in two categories'
    assert 0 <= min(indices) and max(indices) < 1000
    # tabby, tench, African elephant, golden retriever, mountain tent
    of = {i: name for name, part in SIXTEEN_CLASSES.items() for i in part}
    named = [of.get(i) for i in (281, 0, 386, 207, 672)]
    assert named == ['cat', None, 'elephant', 'dog', None]


def write(folder, *names):
    rng = np.random.default_rng(0)
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(path)


NAMES = ('cat', 'dog', 'sea-lion', 'sea')


def test_layout(tmp_path):
    write(
        tmp_path, 'dog/dog10-cat3.png', 'cat/cat7-dog1.png',
        'cat/0001_x_cat1-cat2.png', 'sea/sea1-sea-lion2.png',
        'sea-lion/sea-lion1-sea3.png',
    )  # fmt: skip
    (tmp_path / 'cat/notes.txt').touch()
    (tmp_path / 'cat/._cat7-dog1.png').touch()
    stimuli = list_stimuli(str(tmp_path), NAMES)
    assert [(s.shape, s.texture) for s in stimuli] == [
        ('cat', 'cat'), ('cat', 'dog'), ('dog', 'cat'),
        ('sea', 'sea-lion'), ('sea-lion', 'sea'),
    ]  # fmt: skip


@pytest.mark.parametrize(
    'name',
    ['cat/dog1-cat1.png', 'cat/cat1.png', 'cat/cat1-wolf1.png',
     'wolf/cat1-dog1.png', 'cat1-dog1.png', 'a/cat/cat1-dog1.png'],
)  # fmt: skip
def test_wrong_names(tmp_path, name):
    write(tmp_path, 'cat/cat7-dog1.png', name)
    with pytest.raises(UsageError, match=f'{name}.$') as error:
        list_stimuli(str(tmp_path), NAMES)
    assert '\n' not in str(error.value)


def test_folders_without_conflicts(tmp_path):
    with pytest.raises(UsageError, match='existing folder'):
        list_stimuli(str(tmp_path / 'absent'), NAMES)
    with pytest.raises(UsageError, match='no images'):
        list_stimuli(str(tmp_path), NAMES)
    write(tmp_path, 'cat/cat1-cat2.png')
    with pytest.raises(UsageError, match='none of the 1 images'):
        list_stimuli(str(tmp_path), NAMES)


def test_categories_of_other_classifiers():
    assert categories_of(1000) is SIXTEEN_CLASSES
    own = categories_of(1000, [f'class{i}' for i in range(1000)])
    assert len(own) == 1000 and own['class7'] == (7,)
    assert categories_of(2, ['cat', 'dog']) == dict(cat=(0,), dog=(1,))
    with pytest.raises(UsageError, match='--classes'):
        categories_of(2)
    with pytest.raises(UsageError, match='2 classes.* got 3'):
        categories_of(2, ['a', 'b', 'c'])
    with pytest.raises(UsageError, match='different names'):
        categories_of(2, ['a', 'a'])


def test_probabilities_are_averaged():
    """By the sum, or by the best class, a dog would win."""
    scores = torch.full((1, 1000), -20.0)
    scores[0, list(SIXTEEN_CLASSES['dog'])] = 0.0
    scores[0, 207] = 1.5
    scores[0, 404] = 0.5  # the only class of airplanes
    assert decide(scores, SIXTEEN_CLASSES) == ['airplane']
    scores[0, 404] = -0.5
    assert decide(scores, SIXTEEN_CLASSES) == ['dog']
    # a class outside of the categories takes no part
    scores[0, 0] = 50.0
    assert decide(scores, SIXTEEN_CLASSES) == ['dog']


def test_known_decisions_give_the_known_bias():
    pairs = [('cat', 'dog')] * 5 + [('dog', 'cat')] * 3 + [('cat', 'cat')] * 4
    stimuli = [Stimulus(None, *pair) for pair in pairs]
    decisions = ['cat', 'cat', 'dog', 'sea', 'cat', 'cat', 'dog', 'sea']
    decisions += ['cat'] * 4  # which do not count
    result = count_decisions(stimuli, decisions)
    assert (result.images, result.agreeing) == (8, 4)
    assert result.hits == (4, 2)
    assert result.bias == pytest.approx(4 / 6)
    assert result.of('cat') == pytest.approx(3 / 4)
    assert result.of('dog') == pytest.approx(1 / 2)
    assert result.accuracy == pytest.approx(6 / 8)
    nothing = count_decisions(stimuli, ['sea'] * 12)
    assert nothing.bias is None and nothing.of('cat') is None


class Brightness(nn.Module):
    """Class 1 for bright images."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        bright = x.mean((1, 2, 3)) * self.scale
        return torch.stack([-bright, bright], 1)


def test_predictions_come_in_order(tmp_path):
    bright = np.random.default_rng(0).random(7) < 0.5
    names = [f'cat/cat{i}-dog1.png' for i in range(7)]
    write(tmp_path, *names)
    for name, value in zip(names, bright, strict=True):
        pixels = np.full((6, 9, 3), 250 * value, np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
    stimuli = list_stimuli(str(tmp_path), ('cat', 'dog'))
    cfg = Config(dict(model=dict(type='x')))
    categories = categories_of(2, ('cat', 'dog'))
    found = list(predict(Brightness(), cfg, stimuli, 8, categories, 3))
    assert 0 < bright.sum() < 7
    assert found == ['dog' if value else 'cat' for value in bright]


@pytest.mark.parametrize(
    'steps, size',
    [
        ([dict(scale=(9999, 256)), dict(crop_size=224), dict(type='x')], 224),
        ([dict(scale=(384, 384))], 384),
        ([dict(scale=(9999, 256))], None),
        ([], None),
    ],
)
def test_input_size(steps, size):
    cfg = Config(dict(test_dataloader=dict(dataset=dict(pipeline=steps))))
    if size is None:
        with pytest.raises(UsageError, match='--size'):
            input_size(cfg)
    else:
        assert input_size(cfg) == size
