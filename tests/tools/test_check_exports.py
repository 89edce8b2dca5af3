import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools/benchmarks/check_exports.py'


@pytest.mark.slow
def test_boxes_masks_and_logits_are_compared(run_tool, tmp_path):
    out = tmp_path / 'out.json'
    names = [
        'configs/cascade-mask-rcnn_replknet-tiny_shapes.py',
        'configs/upernet_replknet-tiny_shapes.py',
    ]
    command = [TOOL, *names, '--shape', 64, 64, '--out', out]
    done = run_tool(*command)
    assert done.returncode == 0, done.stderr
    detector, segmentor = json.loads(out.read_text())['rows']
    assert [detector['config'], segmentor['config']] == names
    # masks of no boxes would be equal
    assert len(detector['detections']) == 3
    assert all(
        0 < n <= 20 for counts in detector['detections'] for n in counts
    )
    for found in detector['differences'].values():
        assert found['boxes'] < 1e-2 and found['scores'] < 1e-4
        assert found['masks'] < 1e-3
    assert 'detections' not in segmentor
    assert len(segmentor['differences']) == 3
    assert all(set(d) == {'logits'} for d in segmentor['differences'].values())

    before = out.read_bytes()
    again = run_tool(*command)
    assert again.stdout.count('compared before') == 2
    assert out.read_bytes() == before


@pytest.mark.parametrize('row', ['{"name": "x"}', '{"config": ""}'])
def test_results_of_another_tool_are_kept(run_tool, tmp_path, row):
    out = tmp_path / 'out.json'
    out.write_text(f'{{"rows": [{row}]}}')
    done = run_tool(TOOL, 'upernet_replknet-tiny_shapes', '--out', out)
    assert done.returncode == 1 and '--out must be new' in done.stderr
    assert 'Traceback' not in done.stderr
    assert out.read_text() == f'{{"rows": [{row}]}}'
