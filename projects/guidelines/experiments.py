"""RepLKNet's five guidelines as experiments: their runs and results.

Paper: `Scaling Up Your Kernels to 31x31: Revisiting Large Kernel Design in
CNNs <https://arxiv.org/abs/2203.06717>`_, Tables 1 to 5. Its figures are
quoted next to ours, which are for other data: mIoU on CamVid's validation
images after training from scratch.
"""

import statistics
from typing import Dict, NamedTuple, Optional, Sequence

import torch
from torch import nn

from mmrep.files import replaced
from mmrep.ops import DepthwiseConv2d
from mmrep.ops.benchmark import Clock
from projects.runs import table_rows


class Row(NamedTuple):
    """A model of an experiment.

    Attributes:
        name: Name in the table.
        key: Name of its folder, which rows of several tables may share.
        options: Its changes to the table's config.
        paper: The paper's figures, in the order of ``Table.metrics``.
    """

    name: str
    key: str
    options: Dict[str, str]
    paper: Sequence[Optional[float]]


class Table(NamedTuple):
    """An experiment with several training runs.

    Attributes:
        title: What is compared.
        published: The paper's table.
        metrics: What the paper measured.
        config: Name of the config for a GPU; the one for a CPU also has the
            suffix '-128x128'.
        rows: The models.
    """

    title: str
    published: str
    metrics: Sequence[str]
    config: str
    rows: Sequence[Row]


def mobilenet(
    kernel: int,
    *paper: Optional[float],
    small: bool = False,
    shortcut: bool = True,
    last: bool = False,
) -> Row:
    """A row of MobileNetV2 with one kernel size.

    Args:
        kernel (int): Size of the depth-wise kernels.
        *paper (float, optional): The paper's figures.
        small (bool): With a parallel 3x3 kernel. Defaults to False.
        shortcut (bool): With shortcuts. Defaults to True.
        last (bool): Only in the last stage. Defaults to False.
    """
    sizes = [3, 3, 3, 3, 3, 3, kernel] if last and kernel > 3 else kernel
    words = [f'{kernel}x{kernel}'] + ['3x3 branch'] * small
    words += [] if shortcut else ['no shortcut']
    key = f'last{kernel}' if isinstance(sizes, list) else f'k{kernel}'
    key += '_small3' * small + ('' if shortcut else '_no-shortcut')
    options = {
        'kernel_sizes': str(sizes).replace(' ', ''),
        'small_kernel': '3' if small else 'None',
        'shortcut': str(shortcut),
    }
    options = {f'model.backbone.{k}': v for k, v in options.items()}
    return Row(', '.join(words), key, options, paper)


def replknet(sizes: Sequence[int], *paper: Optional[float]) -> Row:
    """A row of RepLKNet with these kernel sizes in its stages."""
    name = '-'.join(map(str, sizes))
    # the branch of RepLKNet is 5x5, which does not fit into kernels of 3x3
    small = '5' if min(sizes) >= 5 else 'None'
    options = {
        'kernel_sizes': str(list(sizes)).replace(' ', ''),
        'small_kernel': small,
    }
    options = {f'model.backbone.arch.{k}': v for k, v in options.items()}
    return Row(name, name, options, paper)


TABLES = {
    2: Table(
        'Identity shortcuts in MobileNetV2',
        'Table 2',
        ('ImageNet top-1',),
        'fcn_mobilenetv2_camvid',
        (
            mobilenet(3, 68.67, shortcut=False),
            mobilenet(3, 71.76),
            mobilenet(9, None, shortcut=False),
            mobilenet(9, 72.67),
            mobilenet(13, 53.98, shortcut=False),
            mobilenet(13, 72.53),
        ),
    ),
    3: Table(
        'Re-parameterization with a 3x3 kernel in MobileNetV2',
        'Table 3',
        ('ImageNet top-1', 'Cityscapes mIoU'),
        'fcn_mobilenetv2_camvid',
        (
            mobilenet(3, 71.76, 72.31),
            mobilenet(9, 72.67, 76.11),
            mobilenet(9, 73.09, 76.30, small=True),
            mobilenet(13, 72.53, 75.67),
            mobilenet(13, 73.24, 76.60, small=True),
        ),
    ),
    4: Table(
        'Kernel sizes of the stages of RepLKNet',
        'Table 5',
        ('ImageNet top-1', 'ADE20K mIoU'),
        'fcn_replknet-small_camvid',
        (
            replknet((3, 3, 3, 3), 82.11, 46.05),
            replknet((7, 7, 7, 7), 82.73, 48.05),
            replknet((13, 13, 13, 13), 83.02, 48.35),
            replknet((25, 25, 25, 13), 83.00, 48.68),
            replknet((31, 29, 27, 13), 83.07, 49.17),
        ),
    ),
    5: Table(
        "Kernel sizes of MobileNetV2's last stage",
        'Table 4',
        ('ImageNet top-1', 'Cityscapes mIoU'),
        'fcn_mobilenetv2_camvid',
        (
            mobilenet(3, 71.76, 72.31, last=True),
            mobilenet(7, 72.00, 74.30, last=True, small=True),
            mobilenet(13, 71.97, 74.62, last=True, small=True),
        ),
    ),
}

# Table 1: milliseconds of 24 layers on a GTX 2080Ti, (64, 384, R, R), fp32.
KERNELS = 3, 5, 7, 9, 13, 17, 21, 27, 29, 31
PUBLISHED_MS = {
    16: {
        'PyTorch': (
            5.6, 11.0, 14.4, 17.6, 36.0, 57.2, 83.4, 133.5, 150.7, 171.4,
        ),
        'theirs': (5.6, 6.5, 6.4, 6.9, 7.5, 8.4, 8.4, 8.4, 8.3, 8.4),
    },
    32: {
        'PyTorch': (
            21.9, 34.1, 54.8, 76.1, 141.2, 230.5, 342.3, 557.8, 638.6, 734.8,
        ),
        'theirs': (
            21.9, 28.7, 34.6, 40.6, 52.5, 64.5, 73.9, 87.9, 92.7, 96.7,
        ),
    },
    64: {
        'PyTorch': (
            69.6, 141.2, 228.6, 319.8, 600.0, 977.7, 1454.4, 2371.1, 2698.4,
            3090.4,
        ),
        'theirs': (
            69.6, 112.6, 130.7, 152.6, 199.7, 251.5, 301.0, 378.2, 406.0,
            431.7,
        ),
    },
}  # fmt: skip
DEPTH = 24
METHODS = 'nn.Conv2d', 'nn.Conv2d, channels_last', 'mmrep'


def stack_latency(
    size: int, kernel: int, batch: int, channels: int, clock: Clock
) -> Dict[str, float]:
    """Time a forward through a stack of depth-wise layers.

    Args:
        size (int): Height and width of the maps.
        kernel (int): Size of the kernels.
        batch (int): Number of maps at a time.
        channels (int): Channels of the maps.
        clock (Clock): Times it.

    Returns:
        dict[str, float]: Median milliseconds by method.
    """
    x = torch.randn(batch, channels, size, size, device=clock.device)
    last = x.to(memory_format=torch.channels_last)

    def stack(layer: type) -> nn.Module:
        layers = [
            layer(
                channels,
                channels,
                kernel,
                padding=kernel // 2,
                groups=channels,
                bias=False,
            )
            for _ in range(DEPTH)
        ]
        return nn.Sequential(*layers).to(clock.device)

    plain, ours = stack(nn.Conv2d), stack(DepthwiseConv2d)
    # longer runs are timed once
    limit = 1500 if clock.device == 'cpu' else float('inf')
    calls = lambda: plain(x), lambda: plain(last), lambda: ours(x)
    with torch.no_grad():
        times = dict(zip(METHODS, calls, strict=True))
        return clock.together(times, limit=limit)


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation of a sample, and its size."""
    text = f'{statistics.mean(values):.2f}'
    if len(values) > 1:
        text += f' ± {statistics.stdev(values):.2f}'
    return f'{text} ({len(values)})'


def markdown(result: dict) -> str:
    """The Markdown table of a result.

    Args:
        result (dict): A result of projects/guidelines/guidelines.py.
    """
    if result['guideline'] == 1:
        return latency_markdown(result)
    metrics = result['metrics']
    header = ['', 'CamVid val mIoU, mean ± std (seeds)']
    header += [f'{result["published"]}: {m}' for m in metrics]
    rows = []
    for row in result['rows']:
        paper = ['' if p is None else f'{p:.2f}' for p in row['paper']]
        paper += [''] * (len(metrics) - len(paper))
        rows.append([row['name'], spread(row['mIoU']), *paper])
    return table_rows(header, rows)


def latency_markdown(result: dict) -> str:
    """Milliseconds by map and method, a column for each kernel size."""
    kernels = sorted({row['kernel'] for row in result['rows']})
    rows = []
    for size in sorted({row['size'] for row in result['rows']}):
        ms = {
            row['kernel']: row['ms']
            for row in result['rows']
            if row['size'] == size
        }
        for method in METHODS:
            times = [short(ms[k][method]) for k in kernels]
            rows.append([f'{size}x{size}', method, *times])
        ratio = [ours_faster(ms[k]) for k in kernels]
        rows.append(['', 'mmrep faster by', *(f'{r:.1f}' for r in ratio)])
        theirs = [paper_faster(size, k) for k in kernels]
        rows.append(['', 'paper: faster by', *(f'{r:.1f}' for r in theirs)])
    return table_rows(['maps', 'ms', *(f'{k}x{k}' for k in kernels)], rows)


def short(ms: float) -> str:
    """Round to three digits, but keep all before the point."""
    return f'{ms:.0f}' if ms >= 100 else f'{ms:.3g}'


def ours_faster(ms: Dict[str, float]) -> float:
    """Time of contiguous ``nn.Conv2d``, as in the paper, divided by ours."""
    return ms['nn.Conv2d'] / ms['mmrep']


def paper_faster(size: int, kernel: int) -> float:
    """Time of PyTorch divided by that of the paper's operator."""
    i = KERNELS.index(kernel)
    published = PUBLISHED_MS[size]
    return published['PyTorch'][i] / published['theirs'][i]


def draw(result: dict, path: str) -> None:
    """Draw a result next to the paper's figures.

    Args:
        result (dict): A result of projects/guidelines/guidelines.py.
        path (str): The PNG file.
    """
    from matplotlib.figure import Figure

    if result['guideline'] == 1:
        figure = Figure(figsize=(7, 3), layout='constrained')
        draw_latency(result, figure)
    else:
        rows = result['rows']
        figure = Figure(
            figsize=(8, 1.2 + 0.32 * len(rows)), layout='constrained'
        )
        draw_scores(result, figure)
    with replaced(path) as partial:
        figure.savefig(partial, dpi=80, format='png')


def draw_latency(result: dict, figure) -> None:
    """Draw how many times as fast as nn.Conv2d, by kernel size."""
    axes = figure.subplots(1, 2, sharex=True, sharey=True)
    for size in sorted({row['size'] for row in result['rows']}):
        rows = [row for row in result['rows'] if row['size'] == size]
        axes[0].plot(
            [row['kernel'] for row in rows],
            [ours_faster(row['ms']) for row in rows],
            'o-',
            label=f'{size}x{size}',
        )
        axes[1].plot(
            KERNELS,
            [paper_faster(size, kernel) for kernel in KERNELS],
            'o-',
            label=f'{size}x{size}',
        )
    axes[0].set_title(f'mmrep, {result["device"]}', fontsize=9)
    axes[1].set_title('paper, GTX 2080Ti', fontsize=9)
    axes[0].set_ylabel('times faster than nn.Conv2d')
    for axis in axes:
        axis.set_yscale('log')
        axis.axhline(1, color='grey', linewidth=0.8)
        axis.set_xlabel('kernel size')
        axis.legend(title='maps', fontsize=8)


def draw_scores(result: dict, figure) -> None:
    """Draw ours with every seed and the paper's, one row per model."""
    rows = result['rows'][::-1]
    metrics = result['metrics']
    axes = figure.subplots(1, 1 + len(metrics), sharey=True)
    for y, row in enumerate(rows):
        scores = row['mIoU']
        axes[0].plot(scores, [y] * len(scores), '.', color='grey')
        error = statistics.stdev(scores) if len(scores) > 1 else None
        axes[0].errorbar(
            statistics.mean(scores), y, xerr=error, fmt='C0o', capsize=3
        )
        for axis, value in zip(axes[1:], row['paper'], strict=False):
            if value is not None:
                axis.plot(value, y, 's', color='black')
    axes[0].set_yticks(range(len(rows)), [row['name'] for row in rows])
    axes[0].set_title('ours: CamVid val mIoU', fontsize=9)
    for axis, metric in zip(axes[1:], metrics, strict=True):
        axis.set_title(f'{result["published"]}: {metric}', fontsize=9)
    for axis in axes:
        axis.margins(y=0.15)
        axis.grid(axis='x', linewidth=0.4)
