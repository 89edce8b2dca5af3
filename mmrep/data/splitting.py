"""Split pictures into train, val and test."""

import hashlib
from typing import Dict, List, Sequence, Tuple

SPLITS = ('train', 'val', 'test')


def draw(name: str, seed: int) -> float:
    """A number from 0 to 1 that depends only on name and seed."""
    digest = hashlib.sha256(f'{seed}/{name}'.encode()).digest()
    return int.from_bytes(digest[:8], 'big') / 2**64


def split(
    names: Sequence[str], ratios: Sequence[float], seed: int
) -> Tuple[Dict[str, str], List[str]]:
    """Split pictures such that each keeps its split when others are added.

    Args:
        names (Sequence[str]): Their names.
        ratios (Sequence[float]): Shares of train, val and test.
        seed (int): Seed of the split.

    Returns:
        tuple: The split of each name, and the names moved to a split because
            it would be empty; these may change when others are added.
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
    moved: List[str] = []
    for i, (which, ratio) in enumerate(zip(SPLITS, ratios, strict=True)):
        if not ratio or which in found.values() or len(names) < len(SPLITS):
            continue
        middle = ends[i] - ratio / total / 2
        # from the largest split, so that none becomes empty in turn
        sizes = {s: list(found.values()).count(s) for s in SPLITS}
        largest = max(SPLITS, key=lambda s: sizes[s])
        name = min(
            (n for n in names if found[n] == largest),
            key=lambda n: abs(places[n] - middle),
        )
        found[name] = which
        moved.append(name)
    return found, moved
