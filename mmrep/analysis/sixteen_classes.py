"""The 16 categories of Geirhos et al., as indices of ImageNet-1K's classes.

Of the 1,000 classes, numbered in the order of their WordNet ids, 207 are below
one of 16 everyday words in WordNet's hierarchy, without toys, parts and
mixtures. The authors publish these indices with their images. Source:
https://github.com/bethgelab/model-vs-human, human_categories.py
"""

from typing import Dict, Sequence, Tuple, Union


def _expand(parts: Sequence[Union[int, Tuple[int, int]]]) -> Tuple[int, ...]:
    """Expand single indices, and ranges given by first and last index."""
    indices = []
    for part in parts:
        first, last = part if isinstance(part, tuple) else (part, part)
        indices += range(first, last + 1)
    return tuple(indices)


SIXTEEN_CLASSES: Dict[str, Tuple[int, ...]] = {
    name: _expand(parts)
    for name, parts in dict(
        airplane=[404],
        bear=[(294, 297)],
        bicycle=[444, 671],
        bird=[
            8,
            (10, 16),
            (18, 20),
            (22, 24),
            (80, 83),
            (87, 96),
            (98, 100),
            (127, 133),
            (135, 145),
        ],
        boat=[472, 554, 625, 814, 914],
        bottle=[440, 720, 737, 898, 899, 901, 907],
        car=[436, 511, 817],
        cat=[(281, 286)],
        chair=[423, 559, 765, 857],
        clock=[409, 530, 892],
        dog=[
            (152, 191),
            (193, 203),
            (205, 226),
            (228, 241),
            (243, 250),
            (252, 257),
            259,
            (261, 263),
            (265, 268),
        ],
        elephant=[385, 386],
        keyboard=[508, 878],
        knife=[499],
        oven=[766],
        truck=[555, 569, 656, 675, 717, 734, 864, 867],
    ).items()
}
