"""Convert BCCD, boxes of blood cells, to COCO format.

SRC is the folder BCCD of https://github.com/Shenggan/BCCD_Dataset, in Pascal
VOC format: Annotations, ImageSets/Main and JPEGImages, with 205 training, 87
validation and 72 test images of 640x480.
"""

import argparse
import os.path as osp
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any, Dict, List

from mmrep_cli.arguments import parse_arguments


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('src', help='the folder BCCD of the repository')
    parser.add_argument('out', help='folder to make, e.g. data/bccd')
    return parse_arguments(parser)


if __name__ == '__main__':
    parse_args()  # --help is answered before the imports, which take seconds

from mmrep.engine.cli import run
from mmrep.errors import UsageError
from mmrep.files import new_folder, write_json

SPLITS = ('train', 'val', 'test')
CLASSES = ('RBC', 'WBC', 'Platelets')


def read_boxes(path: Path) -> List[Dict[str, Any]]:
    """Non-empty boxes of a file, in COCO format without ids."""
    boxes = []
    for found in ET.parse(path).getroot().iter('object'):
        left, top, right, bottom = (
            int(found.findtext(f'bndbox/{side}'))
            for side in ('xmin', 'ymin', 'xmax', 'ymax')
        )
        width, height = right - left, bottom - top
        if not width * height:  # two of the published boxes are
            continue
        boxes.append(
            dict(
                category_id=CLASSES.index(found.findtext('name')) + 1,
                bbox=[left, top, width, height],
                area=width * height,
                iscrowd=0,
                segmentation=[],
            )
        )
    return boxes


def convert(src: Path, split: str, out: Path) -> Dict[str, list]:
    """Copy the images of a split and write its annotations."""
    names = (src / f'ImageSets/Main/{split}.txt').read_text().split()
    (out / split).mkdir()
    images: List[Dict[str, Any]] = []
    annotations: List[Dict[str, Any]] = []
    for name in names:
        path = src / f'Annotations/{name}.xml'
        try:
            size = ET.parse(path).getroot().find('size')
            width, height = (
                int(size.findtext(side)) for side in ('width', 'height')
            )
            boxes = read_boxes(path)
        except (AttributeError, ET.ParseError, TypeError, ValueError) as error:
            raise UsageError(
                f'{path} must have the size of an image and boxes of '
                f'{", ".join(CLASSES)} ({error}).'
            ) from error
        file = f'{name}.jpg'
        shutil.copyfile(src / 'JPEGImages' / file, out / split / file)
        image = dict(
            id=len(images) + 1, file_name=file, width=width, height=height
        )
        images.append(image)
        for box in boxes:
            place = dict(id=len(annotations) + 1, image_id=image['id'])
            annotations.append({**place, **box})
    categories = [dict(id=i, name=c) for i, c in enumerate(CLASSES, 1)]
    written = dict(
        images=images, annotations=annotations, categories=categories
    )
    write_json(out / f'annotations/{split}.json', written)
    return written


def main() -> None:
    args = parse_args()
    with new_folder(args.out) as folder:
        try:
            found = [convert(Path(args.src), s, folder) for s in SPLITS]
        except FileNotFoundError as error:
            raise UsageError(
                f'{args.src} must be the folder BCCD of BCCD_Dataset; '
                f'{osp.relpath(error.filename, args.src)} is missing.'
            ) from error
    parts = ', '.join(
        f'{len(f["images"])} {s}' for f, s in zip(found, SPLITS, strict=True)
    )
    boxes = sum(len(f['annotations']) for f in found)
    print(f'images ({parts}) with {boxes} boxes are in {args.out}')


if __name__ == '__main__':
    run(main)
