"""Files in COCO's form that tests spoil."""

import json

import pytest

from mmrep.engine import check_data
from mmrep.errors import UsageError

NAME = 'annotations/instances_training.json'


def change(root, edit):
    """Rewrite the training annotations."""
    path = root / NAME
    content = json.loads(path.read_text())
    content = edit(content) or content
    path.write_text(json.dumps(content))


def message(cfg, *loaders):
    with pytest.raises(UsageError) as error:
        check_data(cfg, *(loaders or ('train_dataloader',)))
    assert '\n' not in str(error.value)
    return str(error.value)


def annotations(edit, every=1):
    """An edit of every annotation, or of every so many."""

    def change_all(content):
        for entry in content['annotations'][::every]:
            edit(entry)

    return change_all
