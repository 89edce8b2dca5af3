"""Draw the bar charts of the documentation from docs/benchmarks/*.json.

It writes docs/assets/speed.svg, which compares the operator and two networks
with nn.Conv2d and the authors' code, and docs/assets/model_speed.svg, with
forms and types of whole models. With --check nothing is written, and the exit
status says whether the files are current, which needs only the standard
library.
"""

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Dict, List, NamedTuple
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parents[2]
MEASURED = ROOT / 'docs/benchmarks'
WIDTH, LEFT, ROW = 660, 250, 21  # pixels; bars begin at LEFT
BARS = WIDTH - LEFT - 60
DARK, LIGHT = '#2b5277', '#e8862e'


class Bar(NamedTuple):
    """A row with a speed-up."""

    label: str
    times: float
    colour: str = DARK


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--check',
        action='store_true',
        help='only check that the pictures are current',
    )
    return parser.parse_args()


def load(name: str) -> dict:
    return json.loads((MEASURED / f'{name}.json').read_text())


def operator_bars() -> Dict[str, List[Bar]]:
    """The operator against nn.Conv2d, and networks against their authors'."""
    forward, both = [], []
    for row in load('op_targets_cpu')['targets']['rows']:
        batch, channels, height, width = row['shape']
        if batch > 1:
            continue
        kernel = row['kernel']
        label = f'{kernel}×{kernel}, {channels} maps of {height}×{width}'
        times = row['times']
        for bars, what in ((forward, 'forward'), (both, 'both')):
            ours = times['auto'][what]
            conv = times['conv'][what] / ours
            last = times['conv channels_last'][what] / ours
            bars += [Bar(label, conv), Bar('', last, LIGHT)]
    network = load('op_network_cpu')['network']
    networks = [
        Bar(
            'RepLKNet-31B, inference',
            network["the authors' form"] / network['mmrep, channels_last'],
        )
    ]
    names = {
        'train': 'training step',
        'eval': 'inference, training form',
        'deploy': 'inference, deploy form',
    }
    for row in load('unireplknet_cpu')['results']:
        if row['arch'] == 'T':
            name = f'UniRepLKNet-T, {names[row["mode"]]}'
            networks.append(Bar(name, row['faster_by']))
    return {
        'One layer, forward and backward, against nn.Conv2d': both,
        'One layer, forward, against nn.Conv2d': forward,
        "A whole backbone, against the authors' code": networks,
    }


def model_bars() -> Dict[str, List[Bar]]:
    """Deploy form against training form, bf16 against fp32."""
    names = {
        'upernet_replknet31b_ade20k': 'RepLKNet-31B',
        'upernet_unireplknet-t_ade20k': 'UniRepLKNet-T',
    }
    forms, types = [], []
    for file in (
        'model_forms_512_two_threads_cpu',
        'model_forms_replknet_1024x2048_cpu',
        'model_forms_1024x2048_cpu',
    ):
        first = {}
        for row in load(file)['rows']:
            model = names[row['model']]
            if row['form'] == 'train':
                first[model] = row['ms']
            elif row['form'] == 'deploy':
                height, width = row['shape']
                label = f'{model}, {height}×{width}'
                forms.append(Bar(label, first[model] / row['ms']))
    for file in ('model_training_replknet_256_cpu', 'model_training_256_cpu'):
        rows = [row for row in load(file)['rows'] if row['model'] in names]
        plain = next(row['ms'] for row in rows if not row['switches'])
        for row in rows:
            if row['switches'] == ['bf16']:
                label = f'{names[row["model"]]}, 256×256'
                types.append(Bar(label, plain / row['ms']))
    return {
        'UperNet, inference: deploy form against training form': forms,
        'UperNet, training step: bf16 against fp32': types,
    }


def draw(
    title: str,
    note: str,
    groups: Dict[str, List[Bar]],
    legend: Dict[str, str],
    log: bool,
) -> str:
    """An SVG of horizontal bars that begin at 1, "as fast"."""
    most = max(bar.times for bars in groups.values() for bar in bars)
    parts: List[str] = []
    y = 58

    def text(x: float, at: float, words: str, more: str = '') -> None:
        parts.append(f'<text x="{x}" y="{at}"{more}>{escape(words)}</text>')

    def length(times: float) -> float:
        """Length of a bar, 0 for 1; logarithmic if values are far apart."""
        if log:
            return BARS * math.log(times) / math.log(most)
        return BARS * (times - 1) / (most - 1)

    text(20, 30, title, ' font-size="17" font-weight="600"')
    x = LEFT
    for name, colour in legend.items():
        parts.append(
            f'<rect x="{x}" y="{y - 14}" width="12" height="12" rx="2" '
            f'fill="{colour}"/>'
        )
        text(x + 18, y - 4, name)
        x += 140
    y += 14 if legend else -6
    for name, bars in groups.items():
        y += 12
        text(20, y, name, ' font-weight="600"')
        y += 10
        for bar in bars:
            text(LEFT - 10, y + 14, bar.label, ' text-anchor="end"')
            wide = max(2, round(length(bar.times), 1))
            parts.append(
                f'<rect x="{LEFT}" y="{y + 3}" width="{wide}" '
                f'height="{ROW - 6}" rx="2" fill="{bar.colour}"/>'
            )
            text(LEFT + wide + 6, y + 14, f'{bar.times:.3g}×')
            y += ROW
        y += 8
    y += 12
    text(20, y, note, ' font-size="11" fill="#555"')
    height = y + 16
    return '\n'.join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" '
            f'height="{height}" viewBox="0 0 {WIDTH} {height}" role="img" '
            'font-family="Helvetica, Arial, sans-serif" font-size="12.5" '
            'fill="#1c1c1c">',
            f'<title>{escape(title)}</title>',
            f'<rect width="{WIDTH}" height="{height}" rx="8" fill="#fff"/>',
            *parts,
            '</svg>\n',
        ]
    )


def charts() -> Dict[Path, str]:
    """The text of each file."""
    note = 'fp32, two cores of an AMD EPYC (Zen 4, AVX-512), PyTorch 2.13; '
    return {
        ROOT / 'docs/assets/speed.svg': draw(
            'How many times faster on a CPU',
            note + 'the scale is logarithmic.',
            operator_bars(),
            {'contiguous': DARK, 'channels_last': LIGHT},
            log=True,
        ),
        ROOT / 'docs/assets/model_speed.svg': draw(
            'How many times faster on a CPU',
            note + 'bars begin at 1.',
            model_bars(),
            {},
            log=False,
        ),
    }


def main() -> int:
    args = parse_args()
    for path, text in charts().items():
        if not args.check:
            from mmrep.files import write_text

            write_text(path, text)
        elif not path.is_file() or path.read_text() != text:
            print(
                f'{path.relative_to(ROOT)} is out of date; run '
                'tools/benchmarks/draw_speed.py.',
                file=sys.stderr,
            )
            return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
