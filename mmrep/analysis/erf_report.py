"""Pictures and tables of effective receptive fields."""

from pathlib import Path
from typing import Any, Dict, Optional, Sequence

import numpy as np

from mmrep.analysis.erf import Area
from mmrep.checkpoint.saving import replaced


def draw_erf(scaled: np.ndarray, path: Path, title: str) -> None:
    """Draw a heat map with a scale from 0 to 1, the same for every model.

    Args:
        scaled (np.ndarray): Contributions (H, W) from 0 to 1, of
            :func:`mmrep.analysis.rescale`.
        path (Path): PNG file to write.
        title (str): Line above the map.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 6), dpi=120)
    axes = figure.subplots()
    # from yellow to green, as the paper's figures
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
    """A Markdown table of area ratios, a line for each model.

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


def _cell(area: Area) -> str:
    ratio: Optional[float] = area.ratio
    return 'not reached' if ratio is None else f'{100 * ratio:.3g}%'
