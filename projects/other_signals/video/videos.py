"""Videos by class, in folders or in Kinetics' lists."""

import csv
import os
import os.path as osp
from typing import Any, List

from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from mmrep.errors import UsageError, one_line
from mmrep.registry import DATASETS

SUFFIXES = ('.avi', '.mkv', '.mov', '.mp4', '.webm')


@DATASETS.register_module()
class VideoDataset(BaseDataset):
    """Videos and their classes.

    Without ``ann_file``: a folder for each class in ``data_prefix['video']``,
    numbered in alphabetical order, ``metainfo['classes']``. With one, either

    - lines of a path in ``data_prefix['video']``, a space and the number of
      the class, as the published code reads them; or
    - Kinetics' own table, which begins with ``label,youtube_id,time_start,
      time_end``. The videos are ``CLASS/ID_START_END.mp4`` (six digits each);
      missing ones are skipped and counted in the log.

    Args:
        num_classes (int): Number of classes that there must be.
        **kwargs: Arguments of MMEngine's BaseDataset.
    """

    def __init__(self, num_classes: int, **kwargs: Any) -> None:
        self.num_classes = num_classes
        super().__init__(**kwargs)

    def load_data_list(self) -> List[dict]:
        """List the videos and their classes.

        Raises:
            UsageError: If there are more or fewer classes, no videos, or a
                list that cannot be read.
        """
        root = self.data_prefix.get('video')
        if root is None:
            raise UsageError(
                "data_prefix must name the folder of videos, as dict(video='"
                f"train'), got {self.data_prefix}."
            )
        if not osp.isdir(root):
            raise UsageError(f'there is no folder of videos at {root}.')
        if not self.ann_file:
            videos = self.read_folders(root)
        else:
            try:
                with open(
                    self.ann_file, encoding='utf-8-sig', newline=''
                ) as file:
                    lines = file.read().splitlines()
            except (OSError, ValueError) as e:
                raise UsageError(
                    f'the list {self.ann_file} cannot be read: {one_line(e)}.'
                ) from e
            table = lines and lines[0].startswith('label,youtube_id,')
            read = self.read_table if table else self.read_list
            videos = read(root, lines)
        if not videos:
            raise UsageError(
                f'{root} must hold videos ({", ".join(SUFFIXES)}) of the '
                'classes, but holds none.'
            )
        return videos

    def number_classes(self, names: List[str], where: str) -> dict:
        """Numbers of classes by name."""
        if len(names) != self.num_classes:
            raise UsageError(
                f'{where} must have {self.num_classes} classes, but has '
                f'{len(names)}.'
            )
        self._metainfo['classes'] = tuple(names)
        return {name: i for i, name in enumerate(names)}

    def read_folders(self, root: str) -> List[dict]:
        """Videos in folders."""
        names = sorted(e.name for e in os.scandir(root) if e.is_dir())
        return [
            dict(video_path=osp.join(root, name, video), gt_label=label)
            for name, label in self.number_classes(names, root).items()
            for video in sorted(os.listdir(osp.join(root, name)))
            if video.lower().endswith(SUFFIXES)
        ]

    def read_list(self, root: str, lines: List[str]) -> List[dict]:
        """Videos in lines of path and class."""
        videos = []
        for i, line in enumerate(lines, 1):
            name, _, label = line.rpartition(' ')
            if not label.isdecimal() or int(label) >= self.num_classes:
                raise UsageError(
                    f'line {i} of {self.ann_file} must be a path and a class '
                    f'from 0 to {self.num_classes - 1}, got {line!r}.'
                )
            path = osp.join(root, name)
            if not osp.isfile(path):
                raise UsageError(
                    f'line {i} of {self.ann_file} names {path}, which does '
                    'not exist.'
                )
            videos.append(dict(video_path=path, gt_label=int(label)))
        return videos

    def read_table(self, root: str, lines: List[str]) -> List[dict]:
        """Videos in Kinetics' table."""
        rows = list(csv.DictReader(lines))
        names = sorted({row['label'] for row in rows})
        labels = self.number_classes(names, self.ann_file)
        videos = []
        for row in rows:
            try:
                span = [
                    f'{int(row[f"time_{end}"]):06d}'
                    for end in ('start', 'end')
                ]
            except (KeyError, TypeError, ValueError) as e:
                raise UsageError(
                    f'each row of {self.ann_file} must have whole seconds as '
                    f'time_start and time_end, but one is {row}.'
                ) from e
            name = f'{"_".join([row["youtube_id"], *span])}.mp4'
            path = osp.join(root, row['label'], name)
            if osp.isfile(path):
                label = labels[row['label']]
                videos.append(dict(video_path=path, gt_label=label))
        print_log(
            f'{len(videos)} of the {len(rows)} videos of {self.ann_file} are '
            f'in {root}',
            'current',
        )
        return videos
