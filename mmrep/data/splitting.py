"""Split pictures into train, val and test."""

import hashlib
from typing import Dict, List, Sequence, Tuple

SPLITS = ('train', 'val', 'test')
# Draws of this many pictures come near enough to the shares.
FEW = 200


def draw(name: str, seed: int) -> float:
    """A number from 0 to 1 that depends only on name and seed."""
    digest = hashlib.sha256(f'{seed}/{name}'.encode()).digest()
    return int.from_bytes(digest[:8], 'big') / 2**64


def split(
    names: Sequence[str], ratios: Sequence[float], seed: int
) -> Tuple[Dict[str, str], List[str]]:
    """Split pictures such that each keeps its split when others are added.

    Of fewer than :data:`FEW`, the numbers in the splits are those nearest to
    the shares, and no split with a share is empty if there are enough.

    Args:
        names (Sequence[str]): Their names.
        ratios (Sequence[float]): Shares of train, val and test.
        seed (int): Seed of the split.

    Returns:
        tuple: The split of each name, and the names that got another split
            than by their draw alone; these may change when others are added.
    """
    total = sum(ratios)
    ends = [sum(ratios[: i + 1]) / total for i in range(len(ratios))]
    places = {name: draw(name, seed) for name in names}
    found = {
        name: next(
            s
            for s, end in zip(SPLITS, ends, strict=True)
            if place < end or end == ends[-1]
        )
        for name, place in places.items()
    }
    if len(names) >= FEW:
        return found, []
    counts = _counts(len(names), [ratio / total for ratio in ratios])
    order = [s for s, n in zip(SPLITS, counts, strict=True) for _ in range(n)]
    near = dict(zip(sorted(names, key=places.get), order, strict=True))
    return near, [name for name in names if near[name] != found[name]]


def _counts(number: int, shares: Sequence[float]) -> List[int]:
    """Whole numbers that are nearest to the shares of a number."""
    counts = [int(number * share) for share in shares]
    rest = [number * s - n for s, n in zip(shares, counts, strict=True)]
    for i in sorted(range(len(shares)), key=lambda i: -rest[i]):
        counts[i] += sum(counts) < number
    for i, share in enumerate(shares):
        if share and not counts[i] and max(counts) > 1:
            counts[counts.index(max(counts))] -= 1
            counts[i] = 1
    return counts
