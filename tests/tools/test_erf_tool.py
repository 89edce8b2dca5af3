"""tools/analysis/erf.py as a user runs it."""

import importlib.util
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmrep.analysis import high_contribution_areas, rescale
from mmrep.engine import cli

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools/analysis/erf.py'


@pytest.fixture
def configs(tmp_path):
    """Bare backbones of two registries."""
    texts = dict(
        resnet="model = dict(type='mmdet.ResNet', depth=18)\n",
        # whose first convolution takes 12 channels
        yolox="model = dict(type='mmdet.CSPDarknet', deepen_factor=0.33,\n"
        'widen_factor=0.125)\n',
        # whose parts are in the registry of its scope
        unet="model = dict(type='mmseg.UNet', base_channels=4)\n",
        swin='model = dict(type="mmseg.SwinTransformer", embed_dims=8,\n'
        'depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2), window_size=4)\n',
    )
    paths = []
    for name, text in texts.items():
        paths.append(tmp_path / f'{name}.py')
        paths[-1].write_text(text)
    return paths


@pytest.fixture
def run_here(monkeypatch, tmp_path):
    """Run the script's main in this process and in an empty folder."""
    spec = importlib.util.spec_from_file_location('erf_tool', TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    monkeypatch.chdir(tmp_path)

    def run(*args):
        monkeypatch.setattr(sys, 'argv', ['erf.py', *map(str, args)])
        cli.run(tool.main)

    return run


def test_models_of_several_kinds(
    run_here, configs, small_segmentor, shapes_root, tmp_path, capfd
):
    segmentor, checkpoint = small_segmentor
    out = tmp_path / 'out'
    run_here(
        segmentor, segmentor, *configs,
        '--checkpoint', checkpoint, *5 * ['random'],
        '--images', shapes_root / 'images', '--num-images', 2, '--size', 96,
        '--out-dir', out,
    )  # fmt: skip
    names = ['small-1', 'small-2', 'resnet', 'yolox', 'unet', 'swin']
    assert {path.name for path in out.iterdir()} == {
        'erf.md', 'erf.json',
        *(f'{name}.{kind}' for name in names for kind in ('npy', 'png')),
    }  # fmt: skip
    report = json.loads((out / 'erf.json').read_text())
    assert [model['name'] for model in report['models']] == names
    assert report['models'][0]['weights'] == checkpoint.name
    table = (out / 'erf.md').read_text()
    assert table.strip() in capfd.readouterr().out
    for model in report['models']:
        scores = np.load(out / f'{model["name"]}.npy')
        assert scores.shape == (96, 96) and model['images'] == 2
        areas = high_contribution_areas(rescale(scores))
        assert [a['ratio'] for a in model['areas']] == [a.ratio for a in areas]
        line = next(x for x in table.splitlines() if model['name'] in x)
        assert f'{100 * areas[0].ratio:.3g}%' in line
        picture = cv2.imread(str(out / f'{model["name"]}.png'))
        assert picture.std() > 10
    first, second = (np.load(out / f'small-{i}.npy') for i in (1, 2))
    assert not np.allclose(first, second), 'the checkpoint is used'
    assert 'cut off by the border' in table  # of 96 pixels


def test_all_configs_are_read_first(run_here, configs, tmp_path, capfd):
    """So that a wrong one does not end a long run."""
    wrong = tmp_path / 'wrong.py'
    wrong.write_text(
        "model = dict(type='mmdet.ResNet', depth=18, strides=(1,))\n"
    )
    with pytest.raises(SystemExit):
        run_here(configs[0], wrong, '--random', '--size', 64)
    line = capfd.readouterr().err.splitlines()[-1]
    assert 'model of the config cannot be built' in line
    assert not Path('work_dirs').exists()


def test_names_differ(run_here, configs, tmp_path):
    paths = [tmp_path / f'{name}.py' for name in ('a/m', 'b/m', 'm-1')]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.write_text(configs[0].read_text())
    run_here(*paths, '--random', '--num-images', 1, '--size', 64)
    found = {path.stem for path in Path('work_dirs/erf').glob('*.npy')}
    assert found == {'m-1', 'm-2', 'm-3'}


def test_layer_and_noise(run_here, small_segmentor, capfd):
    run_here(
        small_segmentor[0], '--random', '--num-images', 1, '--size', 65,
        '--layer', 'stages.0',
    )  # fmt: skip
    assert '| small | random | 17×17 |' in capfd.readouterr().out
    assert np.load('work_dirs/erf/small.npy').shape == (65, 65)


def test_small_maps_are_explained(run_here, configs, capfd):
    run_here(configs[-1], '--random', '--num-images', 1, '--size', 64)
    out = capfd.readouterr().out
    assert 'the map is 2 x 2' in out and 'not reached' in out
    assert 'the largest square around the centre, 63 x 63' in out


@pytest.mark.parametrize(
    'options, message',
    [
        (['--random', '--checkpoint', 'a.pth', 'b.pth'],
         'one for each of 1 configs, got 2'),
        (['--random', '--layer', 'a', 'b'], 'one for each of 1 configs'),
        (['--random', '--size', 2], '--size at least 3'),
        (['--images', 'absent'], 'existing folder'),
        (['--images', '.'], 'has no images'),
        (['--random', '--checkpoint', 'absent.pth'], 'absent.pth'),
        (['--random', '--size', 64, '--layer', 'x'], "no layer 'x'"),
        (['--random', '--device', 'abacus'], "device 'abacus'"),
    ],
)  # fmt: skip
def test_wrong_arguments_end_in_one_line(
    run_here, configs, capfd, options, message
):
    with pytest.raises(SystemExit) as stopped:
        run_here(configs[0], *options)
    assert stopped.value.code == 1 and not Path('work_dirs').exists()
    line = capfd.readouterr().err.splitlines()[-1]
    assert line.startswith('error: ') and message in line


def test_grey_networks_take_no_images(
    run_here, grey_config, shapes_root, capfd
):
    with pytest.raises(SystemExit):
        run_here(grey_config, '--images', shapes_root)
    assert 'images of 1 channels' in capfd.readouterr().err
    run_here(grey_config, '--random', '--num-images', 1, '--size', 64)
    assert Path(f'work_dirs/erf/{grey_config.stem}.png').exists()
