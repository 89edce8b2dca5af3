"""Small data sets as tools for labelling write them."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ('cat', 'dog')
SIZE = (64, 48)
COLOURS = ((0, 0, 0), (128, 0, 0), (0, 128, 0))
NAMES = ('a b', 'größe', *(f'pic{i:02d}' for i in range(10)))


def box_of(i: int) -> tuple:
    """x1, y1, x2, y2 of the object in picture ``i``."""
    return 8 + i, 6 + i, 28 + i, 26 + i


def class_of(i: int) -> int:
    return i % len(CLASSES)


def save_picture(path: Path, i: int, orientation: int = 1) -> None:
    """A dark picture with a bright box, turned back for EXIF to turn it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(i)
    pixels = rng.integers(0, 60, (SIZE[1], SIZE[0], 3), np.uint8)
    x1, y1, x2, y2 = box_of(i)
    pixels[y1:y2, x1:x2, class_of(i)] = 255
    image = Image.fromarray(pixels)
    if orientation == 6:
        image = image.transpose(Image.Transpose.ROTATE_90)
    exif = image.getexif()
    if orientation != 1:
        exif[274] = orientation
    image.save(path, exif=exif)


def make_voc(folder: Path, names=NAMES) -> Path:
    for i, name in enumerate(names):
        save_picture(folder / 'JPEGImages' / f'{name}.jpg', i)
        save_voc(folder / 'Annotations' / f'{name}.xml', i)
    return folder


def save_voc(path: Path, i: int, size=SIZE, box=None, name=None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sides = ('xmin', 'ymin', 'xmax', 'ymax')
    values = zip(sides, box or box_of(i), strict=True)
    corners = ''.join(f'<{s}>{v}</{s}>' for s, v in values)
    path.write_text(
        f'<annotation><filename>{path.stem}.jpg</filename><size>'
        f'<width>{size[0]}</width><height>{size[1]}</height></size><object>'
        f'<name>{name or CLASSES[class_of(i)]}</name>'
        f'<bndbox>{corners}</bndbox></object></annotation>',
        encoding='utf-8',
    )


def outline(i: int) -> list:
    x1, y1, x2, y2 = box_of(i)
    return [[x1, y1], [x2, y1], [x2, y2], [x1, y2]]


def make_yolo(folder: Path, polygons: bool = False) -> Path:
    for i, name in enumerate(NAMES):
        save_picture(folder / 'images' / f'{name}.jpg', i)
        x1, y1, x2, y2 = box_of(i)
        values = [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]
        if polygons:
            values = [v for point in outline(i) for v in point]
        shares = [v / SIZE[j % 2] for j, v in enumerate(values)]
        line = ' '.join(map(str, [class_of(i), *shares]))
        path = folder / 'labels' / f'{name}.txt'
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'{line}\n')
    (folder / 'data.yaml').write_text('names: [cat, dog]\n')
    return folder


def make_labelme(folder: Path) -> Path:
    for i, name in enumerate(NAMES):
        save_picture(folder / f'{name}.jpg', i)
        shape = dict(
            label=CLASSES[class_of(i)],
            points=outline(i),
            shape_type='polygon',
            group_id=None,
        )
        content = dict(
            imagePath=f'{name}.jpg',
            imageWidth=SIZE[0],
            imageHeight=SIZE[1],
            shapes=[shape],
        )
        (folder / f'{name}.json').write_text(json.dumps(content))
    return folder


def make_cvat(folder: Path) -> Path:
    images = ''
    for i, name in enumerate(NAMES):
        save_picture(folder / 'images' / f'{name}.jpg', i)
        points = ';'.join(f'{x},{y}' for x, y in outline(i))
        images += (
            f'<image id="{i}" name="{name}.jpg" width="{SIZE[0]}" '
            f'height="{SIZE[1]}"><polygon label="{CLASSES[class_of(i)]}" '
            f'points="{points}" z_order="0"/></image>'
        )
    labels = ''.join(f'<label><name>{c}</name></label>' for c in CLASSES)
    (folder / 'annotations.xml').write_text(
        f'<annotations><meta><task><labels>{labels}</labels></task></meta>'
        f'{images}</annotations>',
        encoding='utf-8',
    )
    return folder


def make_coco(folder: Path) -> Path:
    images, annotations = [], []
    for i, name in enumerate(NAMES):
        save_picture(folder / 'images' / f'{name}.jpg', i)
        images.append(dict(id=i, file_name=f'{name}.jpg', width=64, height=48))
        x1, y1, x2, y2 = box_of(i)
        annotations.append(
            dict(
                id=i,
                image_id=i,
                category_id=class_of(i) + 1,
                bbox=[x1, y1, x2 - x1, y2 - y1],
                area=400,
                segmentation=[[v for p in outline(i) for v in p]],
            )
        )
    categories = [dict(id=i, name=n) for i, n in enumerate(CLASSES, 1)]
    path = folder / 'annotations' / 'instances_default.json'
    path.parent.mkdir()
    path.write_text(
        json.dumps(
            dict(images=images, annotations=annotations, categories=categories)
        )
    )
    return folder


def label_map(i: int) -> np.ndarray:
    labels = np.zeros(SIZE[::-1], np.uint8)
    x1, y1, x2, y2 = box_of(i)
    labels[y1:y2, x1:x2] = class_of(i) + 1
    return labels


def make_masks(folder: Path, kind: str = 'coloured') -> Path:
    """Masks that are coloured, have a palette, or are grey tones."""
    for i, name in enumerate(NAMES):
        save_picture(folder / 'images' / f'{name}.jpg', i)
        labels = label_map(i)
        if kind == 'coloured':
            mask = Image.fromarray(np.array(COLOURS, np.uint8)[labels])
        elif kind == 'palette':
            mask = Image.fromarray(labels, 'P')
            mask.putpalette([v for colour in COLOURS for v in colour])
        else:
            mask = Image.fromarray(labels * 100)
        path = folder / 'masks' / f'{name}.png'
        path.parent.mkdir(exist_ok=True)
        mask.save(path)
    return folder


MAKERS = dict(
    voc=make_voc,
    yolo=make_yolo,
    labelme=make_labelme,
    cvat=make_cvat,
    coco=make_coco,
)
