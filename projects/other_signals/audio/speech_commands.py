"""The folders of Speech Commands V2."""

import os
import os.path as osp
from typing import Any, List, Optional, Set

import numpy as np
from mmengine.dataset import BaseDataset

from mmrep.errors import UsageError, one_line
from mmrep.registry import DATASETS

LISTS = dict(val='validation_list.txt', test='testing_list.txt')


@DATASETS.register_module()
class SpeechCommands(BaseDataset):
    """A folder of clips for each word, and lists of two of the splits.

    Words are numbered in alphabetical order, ``metainfo['classes']``. Folders
    whose names begin with ``_`` are not words. Clips that neither
    ``validation_list.txt`` nor ``testing_list.txt`` names are the training
    set.

    Args:
        data_root (str): The folder.
        split (str): 'train', 'val' or 'test'.
        num_classes (int): Number of words that there must be. Defaults to
            35.
        mixup (float): Share of samples into which another random one is mixed.
            Defaults to 0.
        **kwargs: Other arguments of MMEngine's BaseDataset.
    """

    def __init__(
        self,
        data_root: str,
        split: str,
        num_classes: int = 35,
        mixup: float = 0.0,
        **kwargs: Any,
    ) -> None:
        if split not in ('train', *LISTS):
            raise UsageError(
                f"split must be 'train', 'val' or 'test', got {split!r}."
            )
        self.split = split
        self.num_classes = num_classes
        self.mixup = mixup
        super().__init__(data_root=data_root, **kwargs)

    def load_data_list(self) -> List[dict]:
        """List the clips of the split and their words.

        Raises:
            UsageError: If folders, a list or clips are missing, or a word has
                no clips.
        """
        root = self.data_root
        if not osp.isdir(root):
            raise UsageError(f'there is no folder of words at {root}.')
        words = sorted(
            entry.name
            for entry in os.scandir(root)
            if entry.is_dir() and not entry.name.startswith(('_', '.'))
        )
        if len(words) != self.num_classes:
            raise UsageError(
                f'{root} must hold a folder for each of {self.num_classes} '
                f'words, but holds {len(words)} folders.'
            )
        self._metainfo['classes'] = tuple(words)
        clips = {}
        for label, word in enumerate(words):
            names = [
                name
                for name in sorted(os.listdir(osp.join(root, word)))
                if name.lower().endswith('.wav')
            ]
            if not names:
                raise UsageError(
                    f'each folder of {root} must hold .wav clips of a word, '
                    f'but {word} holds none.'
                )
            clips.update({f'{word}/{name}': label for name in names})
        listed = {split: self.read_list(split) for split in LISTS}
        training = self.split == 'train'
        # in training too: clips that are misspelt would be trained on
        for split in LISTS if training else [self.split]:
            missing = sorted(listed[split] - set(clips))
            if missing:
                raise UsageError(
                    f'{root} must hold the clips that {LISTS[split]} names, '
                    f'as WORD/CLIP.wav; of {len(listed[split])} it lacks '
                    f'{len(missing)}, such as {missing[0]}.'
                )
        if training:
            named = set(clips) - listed['val'] - listed['test']
        else:
            named = listed[self.split]
        if not named:
            raise UsageError(f'{root} has no clip of the split {self.split}.')
        return [
            dict(audio_path=osp.join(root, name), gt_label=label)
            for name, label in clips.items()
            if name in named
        ]

    def read_list(self, split: str) -> Set[str]:
        """The clips that a list names."""
        path = osp.join(self.data_root, LISTS[split])
        try:
            with open(path, encoding='utf-8-sig') as file:
                return {line.strip() for line in file} - {''}
        except (OSError, ValueError) as e:
            raise UsageError(
                f'the list {path} cannot be read: {one_line(e)}.'
            ) from e

    def prepare_data(self, idx: int) -> Optional[dict]:
        """A sample; mixup adds ``other``, the one to mix in."""
        results = dict(self.get_data_info(idx), num_classes=self.num_classes)
        if np.random.rand() < self.mixup:
            results['other'] = self.get_data_info(np.random.randint(len(self)))
        return self.pipeline(results)
