"""Shape bias: does a classifier decide by shape or by texture?

It is measured as in Geirhos et al. (`ImageNet-trained CNNs are biased towards
texture <https://arxiv.org/abs/1811.12231>`_), on images that have the shape of
one class and the texture of another: among the images in which the classifier
sees one of the two, the share in which it sees the shape.
"""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

import torch
from mmengine.config import Config
from torch import Tensor, nn

from mmrep.analysis.backbones import find_images, read_images
from mmrep.analysis.sixteen_classes import SIXTEEN_CLASSES
from mmrep.errors import UsageError

Categories = Dict[str, Tuple[int, ...]]


@dataclass(frozen=True)
class Stimulus:
    """An image with its two cues.

    Args:
        path (Path): The file.
        shape (str): Category of the shape.
        texture (str): Category of the texture.
    """

    path: Path
    shape: str
    texture: str


@dataclass(frozen=True)
class ShapeBias:
    """How a classifier decided.

    Args:
        images (int): Images whose shape and texture differ; only these count.
        agreeing (int): Images skipped because shape and texture are the same.
        shape (dict[str, int]): Decisions for the shape, by its category.
        texture (dict[str, int]): Decisions for the texture, by the category
            of the image's shape.
    """

    images: int
    agreeing: int
    shape: Dict[str, int]
    texture: Dict[str, int]

    @property
    def hits(self) -> Tuple[int, int]:
        """Number of decisions for the shape, and for the texture."""
        return sum(self.shape.values()), sum(self.texture.values())

    @property
    def bias(self) -> Optional[float]:
        """Shape decisions among both; None if there are neither."""
        return _share(*self.hits)

    @property
    def accuracy(self) -> float:
        """Share of the images in which one of the two cues was seen."""
        return sum(self.hits) / self.images

    def of(self, category: str) -> Optional[float]:
        """The bias for the images with one shape."""
        return _share(
            self.shape.get(category, 0), self.texture.get(category, 0)
        )


def _share(part: int, other: int) -> Optional[float]:
    return part / (part + other) if part + other else None


def categories_of(
    num_classes: int, classes: Optional[Sequence[str]] = None
) -> Categories:
    """Categories among which a classifier decides, and their classes.

    Args:
        num_classes (int): Outputs of the classifier.
        classes (Sequence[str], optional): Their names. Defaults to None; then
            1,000 classes are ImageNet-1K's.

    Returns:
        dict[str, tuple[int, ...]]: For ImageNet-1K the 16 categories of
            Geirhos et al.; otherwise each class is a category.

    Raises:
        UsageError: If the names are needed but do not fit.
    """
    if num_classes == 1000 and not classes:
        return SIXTEEN_CLASSES
    if not classes:
        raise UsageError(
            f'the classifier has {num_classes} classes, so it is not for '
            'ImageNet-1K, and neither its checkpoint nor its config names '
            'them; give their names, in order, with --classes.'
        )
    if len(classes) != num_classes or len(set(classes)) != len(classes):
        raise UsageError(
            f'the classifier has {num_classes} classes, so as many different '
            f'names are needed, got {len(classes)} ({", ".join(classes)}).'
        )
    return {name: (index,) for index, name in enumerate(classes)}


def list_stimuli(folder: str, names: Sequence[str]) -> List[Stimulus]:
    """Read the names of a cue-conflict set.

    The folder has a subfolder for each category of shapes, with images named
    by shape, number, texture and number: ``cat/cat7-elephant1.png``. A prefix
    that ends in an underscore is ignored.

    Args:
        folder (str): The folder.
        names (Sequence[str]): The categories.

    Returns:
        list[Stimulus]: The images, ordered by name.

    Raises:
        UsageError: If the folder has another layout, or shape and texture
            differ in no image.
    """
    known = '|'.join(re.escape(n) for n in sorted(names, key=len)[::-1])
    pattern = re.compile(rf'(?:.*_)?({known})\d+-({known})\d+')
    stimuli = []
    for path in find_images(folder):
        cues = pattern.fullmatch(path.stem)
        own = path.parent.relative_to(folder)
        if cues is None or str(own) != cues[1]:
            raise UsageError(
                'a cue-conflict image must have a name like '
                'cat/cat7-elephant1.png, in which the folder and the first '
                'word are the shape and the second word is the texture, each '
                f'one of {", ".join(names)}; got {own / path.name}.'
            )
        stimuli.append(Stimulus(path, *cues.groups()))
    if all(stimulus.shape == stimulus.texture for stimulus in stimuli):
        raise UsageError(
            f'shape and texture differ in none of the {len(stimuli)} images '
            f'of {folder}, so there is no bias to measure.'
        )
    return stimuli


def input_size(cfg: Config) -> int:
    """Width and height of the images in the config's test.

    Raises:
        UsageError: If the test pipeline does not define them.
    """
    dataset = (cfg.get('test_dataloader') or {}).get('dataset') or {}
    for step in reversed(dataset.get('pipeline') or []):
        size = step.get('crop_size', step.get('scale'))
        if size is not None:
            width, height = (size, size) if isinstance(size, int) else size
            if width == height:
                return width
            break
    raise UsageError(
        "the config's test pipeline does not produce square images; give "
        'their size with --size.'
    )


def decide(scores: Tensor, categories: Categories) -> List[str]:
    """The category that a classifier sees in each image.

    The probability of a category is the mean over its classes, so categories
    with many classes have no advantage.

    Args:
        scores (Tensor): Logits (N, num_classes).
        categories (dict[str, tuple[int, ...]]): From :func:`categories_of`.

    Returns:
        list[str]: A category for each image.
    """
    probabilities = scores.double().softmax(1)
    means = torch.stack(
        [
            probabilities[:, list(indices)].mean(1)
            for indices in categories.values()
        ],
        1,
    )
    names = list(categories)
    return [names[i] for i in means.argmax(1).tolist()]


@torch.no_grad()
def predict(
    model: nn.Module,
    cfg: Config,
    stimuli: Sequence[Stimulus],
    size: int,
    categories: Categories,
    batch_size: int = 32,
) -> Iterator[str]:
    """Decide for each complete image at one size.

    Args:
        model (nn.Module): Classifier in evaluation mode, which returns logits.
        cfg (Config): Its config, which says how images are normalised.
        stimuli (Sequence[Stimulus]): The images.
        size (int): Width and height to which they are warped.
        categories (dict[str, tuple[int, ...]]): From :func:`categories_of`.
        batch_size (int): Images per batch. Defaults to 32.

    Yields:
        str: The category.
    """
    device = next(model.parameters()).device
    for start in range(0, len(stimuli), batch_size):
        paths = [s.path for s in stimuli[start : start + batch_size]]
        images = torch.cat(list(read_images(paths, size, cfg)))
        yield from decide(model(images.to(device)), categories)


def count_decisions(
    stimuli: Sequence[Stimulus], decisions: Sequence[str]
) -> ShapeBias:
    """Count decisions.

    Args:
        stimuli (Sequence[Stimulus]): The images.
        decisions (Sequence[str]): What was seen in each.

    Returns:
        ShapeBias: The counts.
    """
    shape: Counter = Counter()
    texture: Counter = Counter()
    conflicts = 0
    for stimulus, decision in zip(stimuli, decisions, strict=True):
        if stimulus.shape == stimulus.texture:
            continue
        conflicts += 1
        shape[stimulus.shape] += decision == stimulus.shape
        texture[stimulus.shape] += decision == stimulus.texture
    return ShapeBias(
        conflicts, len(stimuli) - conflicts, dict(shape), dict(texture)
    )
