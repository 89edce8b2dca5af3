"""benchmark_mmcv_ops.py, on a case small enough for any machine."""

import itertools
import json
import runpy
from pathlib import Path

TOOL = Path(__file__).parents[2] / 'tools/benchmarks/benchmark_mmcv_ops.py'


def test_a_case(monkeypatch, capsys, tmp_path):
    main = runpy.run_path(str(TOOL))['main']
    cases = main.__globals__['suppression_cases']
    few = lambda device: itertools.islice(cases(device), 1)  # noqa: E731
    monkeypatch.setitem(main.__globals__, 'suppression_cases', few)
    for name in ('pooling_cases', 'loss_cases'):
        monkeypatch.setitem(main.__globals__, name, lambda device: ())
    out = tmp_path / 'ops.json'
    options = ['--device', 'cpu', '--seconds', '0', '--out', str(out)]
    monkeypatch.setattr('sys.argv', [str(TOOL), *options])
    main()
    (row,) = json.loads(out.read_text())['rows']
    assert row['case'] == 'nms, 100 boxes, dense'
    assert row['milliseconds']['torch'] > 0
    assert row['case'] in capsys.readouterr().out
