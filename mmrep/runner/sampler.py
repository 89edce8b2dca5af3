"""The order of samples and their augmentation, as functions of the seed.

The order of an epoch depends only on (seed, epoch), and the random numbers of
a sample's augmentation only on (seed, epoch, index). So the data of an
iteration are the same for any number of workers, and a resumed run computes
its position instead of replaying the data loader.
"""

import copy
import itertools
import random
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Callable, Iterator, List, Optional, Sized, Tuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Dataset, Sampler

from mmrep.errors import UsageError
from mmrep.registry import DATA_SAMPLERS, type_name


def seed_all(*key: int) -> None:
    """Seed ``random``, NumPy and torch with numbers that may be close.

    Args:
        *key (int): For example seed, rank and iteration.
    """
    words = np.random.SeedSequence(key).generate_state(8)
    random.seed(int(words[0]) << 32 | int(words[1]))
    np.random.seed(words[2:6])
    torch.manual_seed(int(words[6]) << 32 | int(words[7]))


@contextmanager
def seeded(*key: int) -> Iterator[None]:
    """Seed like :func:`seed_all`; restore the CPU's generators afterwards."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    seed_all(*key)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


class SampleIndex(int):
    """An index into a data set that carries what its augmentation needs."""

    key: Tuple[int, int]

    @classmethod
    def of(cls, index: int, seed: int, epoch: int) -> 'SampleIndex':
        """Index ``index``, taken in ``epoch`` of a run with ``seed``."""
        self = cls(index)
        self.key = (seed, epoch)
        return self


@lru_cache(maxsize=None)
def _seeded_class(cls: type) -> type:
    def getitem(self, index: int) -> Any:
        if not isinstance(index, SampleIndex):
            return cls.__getitem__(self, index)
        with seeded(*index.key, int(index)):
            sample = cls.__getitem__(self, int(index))
        check = self.__dict__.get('_mmrep_check')
        if check is not None:
            check(sample)
        return sample

    def reduce(self, protocol: int) -> tuple:
        # spawned workers get the data set pickled
        return _restore, (cls, self.__dict__)

    namespace = dict(
        __getitem__=getitem, __reduce_ex__=reduce, __doc__=cls.__doc__
    )
    return type(cls.__name__, (cls,), namespace)


def _restore(cls: type, state: dict) -> Any:
    self = object.__new__(_seeded_class(cls))
    self.__dict__.update(state)
    return self


def seed_samples(
    dataset: Dataset, check: Optional[Callable[[Any], None]] = None
) -> None:
    """Make a data set seed each sample by its :class:`SampleIndex`.

    Its ``__class__`` becomes a subclass, in place; a wrapper would hide its
    type and its pipeline from hooks that read or set them.

    Args:
        dataset (Dataset): The outermost data set of a data loader.
        check (Callable, optional): Called with every sample; raises an error
            if the sample cannot be used for training. Defaults to None.
    """
    dataset.__class__ = _seeded_class(type(dataset))
    dataset._mmrep_check = check


def end_samplers(cfg: Config, mode: str) -> List[str]:
    """Replace endless samplers where a loop waits for their end.

    Args:
        cfg (Config): Config of the run, changed in place: training by epochs,
            validation and test get MMEngine's DefaultSampler.
        mode (str): 'train' or 'test'.

    Returns:
        list[str]: What was replaced.

    Raises:
        UsageError: If another sampler is endless and cannot be replaced.
    """
    loaders = ['val_dataloader' if mode == 'train' else 'test_dataloader']
    if mode == 'train' and type_name(cfg.get('train_cfg')).endswith(
        'EpochBasedTrainLoop'
    ):
        loaders.append('train_dataloader')
    notes = []
    for key in loaders:
        loader = cfg.get(key) or {}
        for part in ('sampler', 'batch_sampler'):
            sampler = loader.get(part)
            kind = type_name(sampler).rpartition('.')[2]
            if kind.endswith('MultiSourceSampler'):
                raise UsageError(
                    f'{key}.{part}, {kind}, is endless, so an epoch would '
                    'never end; train by iterations (IterBasedTrainLoop) or '
                    'set another one.'
                )
            if kind in ('InfiniteSampler', 'ResumableInfiniteSampler'):
                sampler['type'] = 'DefaultSampler'
                if key != 'train_dataloader':
                    sampler['shuffle'] = False
                notes.append(
                    f'{key}.{part}, {kind}, is endless, so an epoch would '
                    'never end: using DefaultSampler instead.'
                )
    return notes


class _DerivedSampler(Sampler):
    """Code shared by the two samplers below."""

    def __init__(
        self, dataset: Sized, shuffle: bool = True, seed: Optional[int] = None
    ) -> None:
        self.rank, self.world_size = get_dist_info()
        self.dataset = dataset
        self.shuffle = shuffle
        self.seed = sync_random_seed() if seed is None else seed
        self.start = 0

    def _order(self, epoch: int) -> np.ndarray:
        """Indices of the whole data set in the order of an epoch."""
        if not self.shuffle:
            return np.arange(len(self.dataset))
        words = np.random.SeedSequence((self.seed, epoch))
        return np.random.default_rng(words).permutation(len(self.dataset))

    def skip(self, num_samples: int) -> None:
        """Begin the next iteration after samples that were already used.

        Args:
            num_samples (int): Their number in this process, from the start of
                the run or, if the sampler works by epochs, of the epoch.
        """
        if num_samples < 0:
            raise ValueError(
                f'num_samples must not be negative, got {num_samples}.'
            )
        self.start = num_samples


@DATA_SAMPLERS.register_module()
class ResumableInfiniteSampler(_DerivedSampler):
    """MMEngine's InfiniteSampler with an order that follows from the seed.

    Epochs follow one another without a gap; each has its own order.

    Args:
        dataset (Sized): The data set.
        shuffle (bool): Whether to shuffle each epoch. Defaults to True.
        seed (int, optional): The same in all processes. Defaults to None,
            a random one.
    """

    def __iter__(self) -> Iterator[SampleIndex]:
        """Yield the indices of this process, without end."""
        size = len(self.dataset)
        position = self.start * self.world_size + self.rank
        for epoch in itertools.count(position // size):
            order = self._order(epoch)
            while position < (epoch + 1) * size:
                index = order[position - epoch * size]
                yield SampleIndex.of(index, self.seed, epoch)
                position += self.world_size

    def __len__(self) -> int:
        """Length of the data set."""
        return len(self.dataset)

    def set_epoch(self, epoch: int) -> None:
        """Do nothing: epochs follow from the position."""


@DATA_SAMPLERS.register_module()
class ResumableSampler(_DerivedSampler):
    """MMEngine's DefaultSampler with an order that follows from the seed.

    Args:
        dataset (Sized): The data set.
        shuffle (bool): Whether to shuffle each epoch. Defaults to True.
        seed (int, optional): The same in all processes. Defaults to None,
            a random one.
        round_up (bool): Repeat the first samples so that every process gets
            the same number. Defaults to True.
    """

    def __init__(
        self,
        dataset: Sized,
        shuffle: bool = True,
        seed: Optional[int] = None,
        round_up: bool = True,
    ) -> None:
        super().__init__(dataset, shuffle, seed)
        self.round_up = round_up
        self.epoch = 0

    def __iter__(self) -> Iterator[SampleIndex]:
        """Yield the indices of this process in the current epoch."""
        order = self._order(self.epoch)
        total = len(self) * self.world_size if self.round_up else len(order)
        first = self.start * self.world_size + self.rank
        self.start = 0  # the next epoch is a complete one
        for position in range(first, total, self.world_size):
            index = order[position % len(order)]
            yield SampleIndex.of(index, self.seed, self.epoch)

    def __len__(self) -> int:
        """Number of samples of this process in an epoch."""
        mine = len(self.dataset) - (0 if self.round_up else self.rank)
        return -(-mine // self.world_size)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration."""
        self.epoch = epoch


@DATA_SAMPLERS.register_module()
class SkippingBatchSampler(Sampler):
    """Another batch sampler, such as MMDetection's, that can be skipped.

    Skipped batches are computed, from indices alone, and discarded.

    Args:
        sampler (Sampler): The sampler of samples.
        batch_size (int): Images per batch.
        batch_sampler (dict): Config of the other batch sampler.
    """

    def __init__(
        self, sampler: Sampler, batch_size: int, batch_sampler: dict
    ) -> None:
        self.sampler = sampler
        self.batch_size = batch_size
        self.batch_sampler = batch_sampler
        self.start = 0
        self._length = len(self._build())

    def _build(self) -> Sampler:
        # a new one each time: MMDetection's keeps the rest of an iteration
        # that was aborted
        return DATA_SAMPLERS.build(
            copy.deepcopy(self.batch_sampler),
            default_args=dict(
                sampler=self.sampler, batch_size=self.batch_size
            ),
        )

    def __iter__(self) -> Iterator[list]:
        """Yield the batches after the skipped ones."""
        start, self.start = self.start, 0
        return itertools.islice(iter(self._build()), start, None)

    def __len__(self) -> int:
        """Number of batches of an epoch."""
        return self._length

    def skip_batches(self, num_batches: int) -> None:
        """Begin the next iteration after ``num_batches`` batches."""
        self.start = num_batches
