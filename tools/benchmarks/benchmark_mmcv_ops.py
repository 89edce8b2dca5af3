"""Time mmrep's substitutes for mmcv's operators and the compiled ones.

    python tools/benchmarks/benchmark_mmcv_ops.py                        # CPU
    python tools/benchmarks/benchmark_mmcv_ops.py --device cuda --out FILE

Each operator is timed in plain torch, with torchvision's kernel if that is
installed, and as compiled by mmcv if `mmcv._ext` exists. Times are medians in
milliseconds from one run, in turn; ratios are relative to the compiled
operator.
"""

import argparse
import importlib
import statistics
import sys
import time
from unittest import mock


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--device', default='cpu', choices=['cpu', 'cuda'])
    parser.add_argument('--out', help='JSON file to write')
    parser.add_argument(
        '--seconds',
        type=float,
        default=0.5,
        help='time for each operator and implementation (default: 0.5)',
    )
    return parser.parse_args()


if __name__ == '__main__':
    parse_args()  # --help is answered before the imports, which take seconds

import torch

from mmrep.compat import focal_loss, mmcv_ext, nms, roi_align, torchvision
from mmrep.files import write_json
from mmrep.machine import facts

IMAGE = (1280, 800)


def boxes_of(count, kind, device):
    """Boxes in an image; 'dense' ones cluster around 20 objects."""
    generator = torch.Generator().manual_seed(0)
    image = torch.tensor(IMAGE)
    if kind == 'dense':
        centre = torch.rand(20, 2, generator=generator) * image
        centre = centre[torch.randint(20, (count,), generator=generator)]
        centre += torch.randn(count, 2, generator=generator) * 20
        size = 150 + torch.randn(count, 2, generator=generator) * 40
    else:
        centre = torch.rand(count, 2, generator=generator) * image
        size = torch.rand(count, 2, generator=generator) * 200
    size = size.clamp(min=1)
    boxes = torch.cat([centre - size / 2, centre + size / 2], 1)
    scores = torch.rand(count, generator=generator)
    return boxes.to(device), scores.to(device)


def rois_of(count, low, high, images, device):
    """RoIs in images of 1280x800 with sides between two sizes."""
    generator = torch.Generator().manual_seed(0)
    image = torch.tensor(IMAGE)
    size = low + torch.rand(count, 2, generator=generator) * (high - low)
    corner = torch.rand(count, 2, generator=generator) * (image - size)
    index = torch.randint(images, (count, 1), generator=generator)
    return torch.cat([index, corner, corner + size], 1).to(device)


def suppression_cases(device):
    """Yield a name, the operator's name, positional and other arguments."""
    for kind in ('dense', 'spread'):
        for count in (100, 1000, 2000, 5000, 10000):
            args = boxes_of(count, kind, device)
            options = dict(iou_threshold=0.7, offset=0)
            yield f'nms, {count} boxes, {kind}', 'nms', args, options
    for method, name in enumerate(('naive', 'linear', 'gaussian')):
        boxes, scores = boxes_of(1000, 'dense', 'cpu')
        options = dict(
            iou_threshold=0.3,
            sigma=0.5,
            min_score=1e-3,
            method=method,
            offset=0,
        )
        args = boxes, scores, boxes.new_empty(1000, 5)
        yield f'softnms, 1000 boxes, {name}', 'softnms', args, options


def pooling_cases(device):
    """Likewise, for RoIAlign forward and backward."""
    small = (1, 256, 200, 320), (500, 16, 112), 7, 1 / 4
    for name, (shape, rois, bins, scale), ratio, mode in (
        ('P2, 500 boxes', small, 0, 1),
        (
            'P3, 300 boxes',
            ((1, 256, 100, 160), (300, 112, 224), 7, 1 / 8),
            0,
            1,
        ),
        (
            'P4, 200 boxes',
            ((1, 256, 50, 80), (200, 224, 448), 7, 1 / 16),
            0,
            1,
        ),
        ('P2, 100 boxes, 14x14', (small[0], (100, 16, 112), 14, 1 / 4), 0, 1),
        (
            'masks of 30 objects',
            ((30, 1, 800, 1280), (60, 50, 500), 28, 1.0),
            0,
            1,
        ),
        ('P2, 2x2 samples', small, 2, 1),
        ('P2, 2x2 samples, max', small, 2, 0),
    ):
        x = torch.randn(shape, device=device)
        rois = rois_of(*rois, shape[0], device)
        out = x.new_zeros(len(rois), shape[1], bins, bins)
        places = x.new_zeros(2, *(out.shape if mode == 0 else [0]))
        options = dict(
            aligned_height=bins,
            aligned_width=bins,
            spatial_scale=scale,
            sampling_ratio=ratio,
            pool_mode=mode,
            aligned=True,
        )
        args = x, rois, out, *places
        yield f'roi_align, {name}', 'roi_align_forward', args, options
        roi_align.roi_align_forward(*args, **options)
        args = torch.randn_like(out), rois, *places, torch.zeros_like(x)
        yield f'its gradient, {name}', 'roi_align_backward', args, options


def loss_cases(device):
    """Likewise, for the sigmoid focal loss of 20 000 points, 80 classes."""
    x = torch.randn(20000, 80, device=device)
    target = torch.randint(81, (20000,), device=device)
    args = x, target, x.new_empty(0), torch.zeros_like(x)
    options = dict(gamma=2.0, alpha=0.25)
    for way in ('forward', 'backward'):
        name = f'sigmoid_focal_loss_{way}'
        yield f'{name}, 20000x80', name, args, options


def implementations(operator, device):
    """The implementations that can run here, by name."""
    home = {'nms': nms, 'roi_align': roi_align, 'focal_loss': focal_loss}
    function = getattr(home[mmcv_ext.OPERATORS[operator]], operator)

    def plain(*args, **kwargs):
        with mock.patch.object(torchvision, 'version', lambda: None):
            function(*args, **kwargs)

    found = {'torch': plain}
    if torchvision.has_kernel(operator, device):
        found['torchvision'] = function
    extension = importlib.import_module('mmcv._ext')
    is_compiled = extension.__spec__.origin != mmcv_ext.__name__
    if is_compiled and not (device == 'cpu' and 'focal' in operator):
        found['compiled'] = getattr(extension, operator)
    return found


def measure(functions, device, seconds):
    """Median milliseconds of each function, run in turn."""

    def once(run):
        if device != 'cpu':
            torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        if device != 'cpu':
            torch.cuda.synchronize()
        return (time.perf_counter() - start) * 1e3

    for run in functions.values():
        run()
    slowest = max(once(run) for run in functions.values())
    rounds = max(3, min(100, int(seconds * 1e3 / slowest)))
    times = {name: [] for name in functions}
    for _ in range(rounds):
        for name, run in functions.items():
            times[name].append(once(run))
    return {name: statistics.median(t) for name, t in times.items()}


def main():
    args = parse_args()
    if args.device == 'cuda' and not torch.cuda.is_available():
        sys.exit('error: PyTorch sees no CUDA device.')
    about = {**facts(args.device), 'torchvision': torchvision.version()}
    print(about)
    rows = []
    for cases in (suppression_cases, pooling_cases, loss_cases):
        for name, operator, positional, options in cases(args.device):
            functions = {
                key: lambda f=f: f(*positional, **options)  # noqa: B023
                for key, f in implementations(operator, args.device).items()
            }
            times = measure(functions, args.device, args.seconds)
            rows.append(dict(case=name, milliseconds=times))
            text = ', '.join(f'{k} {ms:.3g}' for k, ms in times.items())
            if 'compiled' in times:
                ratio = times['torch'] / times['compiled']
                rows[-1]['torch / compiled'] = ratio
                text += f', torch / compiled {ratio:.2f}'
            print(f'{name}: {text}', flush=True)
    if args.out:
        write_json(args.out, {**about, 'rows': rows})


if __name__ == '__main__':
    main()
