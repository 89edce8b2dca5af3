import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools/benchmarks/benchmark_backbones.py'
CONFIGS = [
    ROOT / f'configs/upernet_{name}_shapes.py'
    for name in ('replknet-tiny', 'unireplknet-tiny')
]


def test_table(run_tool, tmp_path):
    names = [path.stem for path in CONFIGS]
    areas = [dict(threshold=0.99, ratio=ratio) for ratio in (0.25, 0.5)]
    models = [
        dict(name=n, areas=[a]) for n, a in zip(names, areas, strict=True)
    ]
    erf, out = tmp_path / 'erf.json', tmp_path / 'out.json'
    erf.write_text(json.dumps(dict(models=models)))
    done = run_tool(
        TOOL, *CONFIGS, '--size', 32, '--repeats', 1, '--erf', erf,
        '--out', out,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = json.loads(out.read_text())['rows']
    assert [row['name'] for row in rows] == names
    assert all(row['ms'] > 0 and row['flops'] > 1e6 for row in rows)
    # what kernel_sizes of the config says
    assert rows[0]['kernels'] == ['31×31', '15×15', '9×9', '5×5']
    assert '| 25 % |' in done.stdout and '| 50 % |' in done.stdout


@pytest.mark.parametrize(
    ('options', 'text'),
    [
        (['--size', 8], '--size must be at least 32'),
        (['--erf', 'no.json'], '--erf must be erf.json'),
        ([CONFIGS[0]], 'each config must be given once'),
    ],
)
def test_refusals(run_tool, options, text):
    done = run_tool(TOOL, CONFIGS[0], *options)
    assert done.returncode == 1 and text in done.stderr
    assert 'Traceback' not in done.stderr
