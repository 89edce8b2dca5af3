"""Pictures and tables of effective receptive fields."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, Dict, Optional, Sequence

import numpy as np
import torch

from mmrep.analysis.erf import Area
from mmrep.files import replaced, write_json, write_text

# The published ratios are for images of 1024; below about half of that the
# field of any network reaches the border.
PUBLISHED_SIZE, SMALL = 1024, 512


def draw_erf(scaled: np.ndarray, path: Path, title: str) -> None:
    """Draw a heat map with a scale from 0 to 1, the same for every model.

    Args:
        scaled (np.ndarray): Contributions (H, W) from 0 to 1, from
            :func:`mmrep.analysis.rescale`.
        path (Path): PNG file to write.
        title (str): Line above the map.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 6), dpi=120)
    axes = figure.subplots()
    # from yellow to green, as in the paper's figures
    shown = axes.imshow(scaled, cmap='YlGn', vmin=0, vmax=1)
    axes.set_title(title, fontsize=10)
    axes.set_xticks([0, scaled.shape[1]])
    axes.set_yticks([0, scaled.shape[0]])
    figure.colorbar(
        shown,
        ax=axes,
        orientation='horizontal',
        fraction=0.05,
        pad=0.08,
        label='log10(contribution + 1), divided by its maximum',
    )
    with replaced(path) as partial:
        figure.savefig(partial, format='png', bbox_inches='tight')


def write_scores(scores: np.ndarray, path: Path) -> None:
    """Write a contribution matrix as a .npy file."""
    with replaced(path) as partial, partial.open('wb') as file:
        np.save(file, scores)


def erf_table(models: Sequence[Dict[str, Any]]) -> str:
    """A Markdown table of area ratios, one line per model.

    Args:
        models (Sequence[dict]): Each with ``name``, ``weights``, ``map`` (its
            height and width) and ``areas`` (:class:`mmrep.analysis.Area`).

    Returns:
        str: The table.
    """
    thresholds = [area.threshold for area in models[0]['areas']]
    lines = [
        '| model | weights | map | '
        + ' | '.join(f't = {t:.0%}' for t in thresholds)
        + ' |',
        '| --- ' * (3 + len(thresholds)) + '|',
    ]
    for model in models:
        cells = [
            model['name'],
            model['weights'],
            '{}×{}'.format(*model['map']),
            *(_cell(area) for area in model['areas']),
        ]
        lines.append('| ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


def write_report(
    models: Sequence[Dict[str, Any]], folder: Path, size: int, source: str
) -> str:
    """Write ``erf.md`` and ``erf.json``.

    Args:
        models (Sequence[dict]): As for :func:`erf_table`, each also with
            ``images`` (how many) and ``notes`` (sentences without a stop).
        folder (Path): Where the files go.
        size (int): Width and height of the images.
        source (str): Description of the images.

    Returns:
        str: The text of ``erf.md``.
    """
    count = models[0]['images']
    lines = [
        f'High-contribution area ratios at {size}×{size}, '
        f'{count} {"image" if count == 1 else "images"} ({source}).',
        '',
        erf_table(models),
    ]
    if size < SMALL:
        lines += [
            '',
            f'At {size} pixels a wide field is cut off by the border; the '
            f'published ratios are of {PUBLISHED_SIZE}.',
        ]
    for model in models:
        lines += [f'\n{model["name"]}: {note}.' for note in model['notes']]
    text = '\n'.join(lines)
    write_text(folder / 'erf.md', text + '\n')
    report = dict(
        size=size,
        source=source,
        torch=torch.__version__,
        models=[
            {**model, 'areas': [asdict(area) for area in model['areas']]}
            for model in models
        ],
    )
    write_json(folder / 'erf.json', report)
    return text


def _cell(area: Area) -> str:
    ratio: Optional[float] = area.ratio
    return 'not reached' if ratio is None else f'{100 * ratio:.3g}%'
