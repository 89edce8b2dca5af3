"""Boxes, random and degenerate, that operators are compared on."""

import torch


def random_boxes(count, size=50.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    corner, side = torch.rand(2, count, 2, generator=generator) * size
    return torch.cat([corner, corner + side], 1)


def box_sets():
    """Name and boxes; (x1, y1, x2, y2) around a map of 100x100."""
    boxes = random_boxes(200)
    yield 'random', boxes
    yield 'whole numbers', boxes.round()
    yield 'none', boxes[:0]
    yield 'one', boxes[:1]
    yield 'identical', boxes[:1].repeat(40, 1)
    yield 'some identical', torch.cat([boxes[:60], boxes[:1].repeat(40, 1)])
    yield 'outside', torch.cat([boxes[:50] - 150, boxes[:50] + 120])
    yield 'half outside', boxes - 40
    yield 'zero area', torch.cat([boxes[:30, [0, 1, 0, 1]], boxes[:30]])
    yield 'lines', torch.cat([boxes[:30, [0, 1, 2, 1]], boxes[:30]])
    yield 'larger than the map', boxes[:20] * 20 - 500
    yield 'many', random_boxes(1500, 400.0)


BOX_SETS = dict(box_sets())
