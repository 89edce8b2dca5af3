"""Relax what only pycocotools requires of annotation files."""

from functools import wraps


def take_missing_crowds_as_none() -> None:
    """Treat annotations without ``iscrowd`` as ordinary, as MMDetection does.

    COCOeval 2.0 fails with a KeyError after the whole test. The method is
    replaced in this process, because MMDetection's metric builds its own COCO.
    """
    from pycocotools.coco import COCO

    original = COCO.createIndex
    if hasattr(original, '__wrapped__'):
        return

    @wraps(original)
    def create_index(self) -> None:
        for entry in self.dataset.get('annotations', ()):
            entry.setdefault('iscrowd', 0)
        original(self)

    COCO.createIndex = create_index
