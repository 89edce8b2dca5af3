import itertools
import pickle
import random
import time

import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset, ConcatDataset
from torch.utils.data import BatchSampler, DataLoader, Dataset

from mmrep.registry import DATA_SAMPLERS
from mmrep.runner.loops import resumable
from mmrep.runner.sampler import (
    ResumableInfiniteSampler,
    ResumableSampler,
    SkippingBatchSampler,
    seed_samples,
    seeded,
)


class Noise(Dataset):
    """Samples that are their index and three kinds of random numbers."""

    def __len__(self):
        return 7

    def __getitem__(self, index):
        return (
            index,
            random.random(),
            float(np.random.rand()),
            float(torch.rand(())),
        )


def of_rank(sampler, rank, world_size):
    sampler.rank, sampler.world_size = rank, world_size
    return sampler


def take(sampler, n):
    return [int(i) for i in itertools.islice(sampler, n)]


def test_infinite_order():
    sampler = ResumableInfiniteSampler(range(7), seed=3)
    epochs = [take(sampler, 21)[i : i + 7] for i in (0, 7, 14)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert take(ResumableInfiniteSampler(range(7), seed=4), 7) != epochs[0]
    plain = ResumableInfiniteSampler(range(3), shuffle=False, seed=3)
    assert take(plain, 7) == [0, 1, 2, 0, 1, 2, 0]


def test_infinite_ranks_share_the_order():
    whole = take(ResumableInfiniteSampler(range(7), seed=3), 30)
    for rank in range(3):
        part = of_rank(ResumableInfiniteSampler(range(7), seed=3), rank, 3)
        assert take(part, 10) == whole[rank::3]


@pytest.mark.parametrize('rank', [0, 1])
def test_infinite_skip(rank):
    sampler = of_rank(ResumableInfiniteSampler(range(7), seed=3), rank, 2)
    expected = take(sampler, 40)
    for n in (0, 1, 3, 4, 13, 39):
        sampler.skip(n)
        assert take(sampler, 40 - n) == expected[n:]
    with pytest.raises(ValueError, match='negative'):
        sampler.skip(-1)


def test_infinite_skip_is_quick():
    sampler = ResumableInfiniteSampler(range(20_000), seed=3)
    begin = time.perf_counter()
    sampler.skip(100_000 * 16)
    take(sampler, 1)
    assert time.perf_counter() - begin < 1


@pytest.mark.parametrize('round_up', [True, False])
@pytest.mark.parametrize('size', [6, 7])
def test_epochs(size, round_up):
    ranks = [
        of_rank(ResumableSampler(range(size), seed=3, round_up=round_up), r, 2)
        for r in range(2)
    ]
    orders = []
    for epoch in range(2):
        for sampler in ranks:
            sampler.set_epoch(epoch)
        parts = [take(sampler, 99) for sampler in ranks]
        assert [len(p) for p in parts] == [len(sampler) for sampler in ranks]
        joined = parts[0] + parts[1]
        assert set(joined) == set(range(size))
        assert len(joined) == (-(-size // 2) * 2 if round_up else size)
        orders.append(parts[0])
        ranks[0].skip(2)
        assert take(ranks[0], 99) == parts[0][2:]
        assert take(ranks[0], 99) == parts[0], 'only the next one is cut'
    assert orders[0] != orders[1]


def batches(workers, skip=0, n=8, epoch=None, context=None):
    dataset = Noise()
    seed_samples(dataset)
    if epoch is None:
        sampler = ResumableInfiniteSampler(dataset, seed=3)
    else:
        sampler = ResumableSampler(dataset, seed=3)
        sampler.set_epoch(epoch)
    sampler.skip(2 * skip)
    loader = DataLoader(
        dataset, 2, sampler=sampler, num_workers=workers,
        multiprocessing_context=context if workers else None,
        collate_fn=list,
    )  # fmt: skip
    return list(itertools.islice(loader, n))


@pytest.mark.parametrize('workers', [1, 3])
def test_samples_do_not_depend_on_workers(workers):
    expected = batches(0)
    torch.rand(1), random.random(), np.random.rand()
    assert batches(workers) == batches(0) == expected
    assert batches(workers, skip=5, n=3) == expected[5:]
    # an image is augmented in another way in each epoch
    by_index = {}
    for index, *noise in itertools.chain(*expected):
        by_index.setdefault(index, set()).add(tuple(noise))
    assert all(len(kinds) > 1 for kinds in by_index.values())
    assert batches(workers, n=99, epoch=1) == batches(0, n=99, epoch=1)


@pytest.mark.slow
def test_spawned_workers():
    assert batches(1, n=2, context='spawn') == batches(0, n=2)


def test_seeding_leaves_the_generators_alone():
    def draw():
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = draw()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    with seeded(1, 2, 3):
        inside = draw()
    assert draw() == expected != inside
    with seeded(1, 2, 3):
        assert draw() == inside
    with seeded(1, 2, 4):
        assert not set(draw()) & set(inside)


class Listed(BaseDataset):
    def load_data_list(self):
        return [dict(number=i) for i in range(5)]

    def prepare_data(self, idx):
        return self.get_data_info(idx)['number'] + random.random()


def test_data_set_stays_what_it_is():
    """Hooks look at the type and exchange the pipeline."""
    dataset = ConcatDataset([Listed(), Listed()])
    seed_samples(dataset)
    assert isinstance(dataset, ConcatDataset)
    assert type(dataset).__name__ == 'ConcatDataset'
    sampler = ResumableInfiniteSampler(dataset, seed=0)
    first = [dataset[i] for i in itertools.islice(sampler, 10)]
    again = pickle.loads(pickle.dumps(dataset))
    assert isinstance(again, ConcatDataset)
    assert [again[i] for i in itertools.islice(sampler, 10)] == first
    assert dataset[3] != dataset[3], 'a plain index is not seeded'


@DATA_SAMPLERS.register_module()
class OddEvenBatches(BatchSampler):
    """Keeps what it has begun, as MMDetection's aspect-ratio batches do."""

    def __init__(self, sampler, batch_size, drop_last=False):
        super().__init__(sampler, batch_size, drop_last)
        self.kept = [[], []]

    def __iter__(self):
        for index in self.sampler:
            kept = self.kept[index % 2]
            kept.append(index)
            if len(kept) == self.batch_size:
                yield kept[:]
                kept.clear()


def test_batch_sampler_can_be_skipped():
    sampler = ResumableSampler(range(20), seed=3)
    batches = SkippingBatchSampler(
        sampler, 3, dict(type='mmrep.OddEvenBatches')
    )
    expected = list(batches)
    assert len(expected) >= 4
    next(iter(batches))  # broken off
    batches.skip_batches(2)
    assert list(batches) == expected[2:]
    assert list(batches) == expected
    assert len(batches) == len(BatchSampler(sampler, 3, False))


def test_resumable_config():
    config = dict(
        sampler=dict(type='DefaultSampler'),
        batch_sampler=dict(type='AspectRatioBatchSampler'),
    )
    found = resumable(config, 5)
    assert found['sampler'] == dict(type='mmrep.ResumableSampler', seed=5)
    assert found['batch_sampler']['type'] == 'mmrep.SkippingBatchSampler'
    assert config['sampler'] == dict(type='DefaultSampler')
    config = dict(sampler=dict(type='mmengine.InfiniteSampler', seed=1))
    assert resumable(config, 5)['sampler'] == dict(
        type='mmrep.ResumableInfiniteSampler', seed=1
    )
    config = dict(sampler=dict(type='Mine'), batch_sampler=dict(type='X'))
    assert resumable(config, 5) == config
