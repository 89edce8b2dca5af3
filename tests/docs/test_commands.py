"""Every command of the documentation is run by a test, or says what it needs.

A page cannot name a script, an option, a config or a setting that is not
there. Commands whose comment says that they need data, weights, a GPU or a
cluster are checked that far; the others must be commands that a test runs.
"""

import argparse
import contextlib
import importlib.util
import inspect
import io
import re
from functools import lru_cache
from pathlib import Path

import pytest

from mmrep.compat.configs import config_names
from mmrep.engine import load_config
from mmrep.models import RepLKNet, UniRepLKNet

from .pages import (
    PAGES,
    ROOT,
    blocks,
    build_backbone,
    commands,
    inline_code,
)

# The tests that run each script, and fixtures that write its config: of tests/
# unless they begin with projects/.
TESTS = {
    'tools/train.py': [
        'tools/test_train_test.py::test_train',
        'tools/test_train_test.py::test_resume',
        'watching/test_progress.py::test_tensorboard',
        'tools/test_detection.py::test_train',
        'projects/other_signals/audio/test_audio.py::test_train_and_test',
        'projects/other_signals/audio/test_words.py::test_train_and_test',
        'projects/other_signals/video/test_video.py::test_train_and_test',
        'projects/cue_conflict/test_cue_conflict.py'
        '::test_training_and_shape_bias',
        'projects/other_signals/time_series/test_time_series.py'
        '::test_train_and_test',
        'projects/other_signals/point_cloud/test_point_cloud.py'
        '::test_train_and_test',
    ],
    'tools/plot.py': ['watching/test_curves.py::test_tool'],
    'tools/demo.py': ['watching/test_demo.py::served'],
    'tools/test.py': [
        'watching/test_report.py::test_segmentor',
        'tools/test_train_test.py::test_test',
        'tools/test_train_test.py::test_half_precision',
        'tools/test_detection.py::test_test',
        'projects/other_signals/audio/test_audio.py::test_train_and_test',
        'projects/other_signals/audio/test_words.py::test_train_and_test',
        'projects/other_signals/video/test_video.py::test_train_and_test',
        'tools/test_reparameterize.py::test_metric_is_the_same',
        'projects/other_signals/time_series/test_time_series.py'
        '::test_train_and_test',
        'projects/other_signals/point_cloud/test_point_cloud.py'
        '::test_train_and_test',
    ],
    'tools/dist_train.sh': ['runner/test_two_processes.py::test_torchrun'],
    'tools/dist_test.sh': ['runner/test_two_processes.py::test_torchrun'],
    'tools/slurm_train.sh': ['slurm/test_slurm.py::test_train_and_test'],
    'tools/slurm_test.sh': ['slurm/test_slurm.py::test_train_and_test'],
    'tools/convert_checkpoint.py': [
        'tools/test_convert_checkpoint.py::test_segmentor'
    ],
    'tools/reparameterize.py': [
        'conftest.py::small_segmentor',
        'tools/test_reparameterize.py::test_report',
    ],
    'tools/export.py': ['tools/test_export_tool.py::test_export'],
    'tools/quantize.py': [
        'tools/test_quantize_tool.py::test_quantize',
        'tools/test_quantize_tool.py::test_wrong_input',
    ],
    'tools/benchmarks/benchmark_quantization.py': [
        'tools/test_benchmark_quantization.py::test_table_and_json'
    ],
    'tools/image_demo.py': [
        'conftest.py::small_segmentor',
        'tools/test_image_demo.py::test_folder',
        'watching/test_video.py::test_clip',
        'watching/test_video.py::test_folder_of_frames',
        'tools/test_image_demo.py::test_files_that_are_no_images',
    ],
    'tools/get_flops.py': [
        'tools/test_get_flops.py::test_json_is_all_that_stdout_has'
    ],
    'tools/data.py': [
        'tools/test_data.py::own',
        'docs/test_own_data.py::test_page',
    ],
    'tools/env.py': ['tools/test_env.py::test_facts'],
    'tools/run.py': ['tools/test_run.py::test_confusion_matrix'],
    'tools/benchmarks/benchmark_model.py': [
        'tools/test_benchmark_model.py::test_table_and_json'
    ],
    'tools/benchmarks/benchmark_exported.py': [
        'tools/test_exported_detectors.py::test_masks'
    ],
    'tools/benchmarks/gpu_day.py': [
        'tools/test_gpu_day.py::test_every_step_at_toy_size'
    ],
    'tools/benchmarks/benchmark_mmcv_ops.py': [
        'tools/test_benchmark_mmcv_ops.py::test_a_case'
    ],
    'tools/dataset_converters/make_shapes.py': [
        'conftest.py::shapes_root',
        'tools/test_make_shapes.py::test_layout_and_labels',
    ],
    'tools/analysis/shape_bias.py': [
        'projects/cue_conflict/test_cue_conflict.py'
        '::test_training_and_shape_bias'
    ],
    'projects/cue_conflict/make_cue_conflict.py': [
        'projects/cue_conflict/test_cue_conflict.py::test_layout'
    ],
    'projects/other_signals/audio/make_audio.py': [
        'projects/other_signals/audio/test_audio.py::test_layout_and_labels'
    ],
    'projects/other_signals/audio/make_words.py': [
        'projects/other_signals/audio/test_words.py::test_make_words'
    ],
    'projects/other_signals/export_onnx.py': [
        'projects/other_signals/audio/test_words.py::test_train_and_test',
        'projects/other_signals/video/test_video.py::test_train_and_test',
        'projects/other_signals/time_series/test_time_series.py'
        '::test_train_and_test',
        'projects/other_signals/point_cloud/test_point_cloud.py'
        '::test_train_and_test',
    ],
    'projects/other_signals/video/make_motions.py': [
        'projects/other_signals/video/test_video.py::test_make_motions'
    ],
    'projects/other_signals/compare.py': [
        'projects/other_signals/test_compare.py::test_seeds'
    ],
    'projects/other_signals/point_cloud/make_solids.py': [
        'projects/other_signals/point_cloud/test_point_cloud.py'
        '::test_make_solids'
    ],
    'projects/other_signals/point_cloud/prepare_modelnet.py': [
        'projects/other_signals/point_cloud/test_point_cloud.py'
        '::test_prepare_text_form'
    ],
    'projects/other_signals/time_series/prepare_ncei.py': [
        'projects/other_signals/time_series/test_time_series.py'
        '::test_pickles_are_refused_and_converted'
    ],
}
# What a launcher starts, and which of its arguments are its own.
LAUNCHERS = {
    'tools/dist_train.sh': ('tools/train.py', {1}),
    'tools/dist_test.sh': ('tools/test.py', {2}),
    'tools/slurm_train.sh': ('tools/train.py', {0, 1}),
    'tools/slurm_test.sh': ('tools/test.py', {0, 1}),
}
# Options in running text: of other programs, and of the command mmrep itself.
FOREIGN = {'--completion', '--eval', '--no-deps', '--strict'}


class Caught(Exception):
    """Carries a script's parser out of it."""


@lru_cache(None)
def parser_of(script: str) -> argparse.ArgumentParser:
    """The parser of a script of tools/ or projects/."""
    name = 'documented_' + Path(script).stem
    spec = importlib.util.spec_from_file_location(name, ROOT / script)
    module = importlib.util.module_from_spec(spec)

    def catch(parser, *_):
        raise Caught(parser)

    with pytest.MonkeyPatch.context() as patch:
        # as when it is run
        patch.syspath_prepend(str((ROOT / script).parent))
        patch.setattr(argparse.ArgumentParser, 'parse_args', catch)
        spec.loader.exec_module(module)
        with pytest.raises(Caught) as caught:
            module.main()
    return caught.value.args[0]


def options_of(parser: argparse.ArgumentParser) -> set:
    """Every option that a parser and its sub-parsers know."""
    found = set(parser._option_string_actions)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                found |= options_of(sub)
    return found


def every_script() -> list:
    paths = [
        path
        for folder in ('tools', 'projects')
        for path in (ROOT / folder).rglob('*.py')
        if "__name__ == '__main__'" in path.read_text()
    ]
    return sorted(p.relative_to(ROOT).as_posix() for p in paths)


def every_command() -> list:
    return [
        pytest.param(command, id=f'{command.where}-{i}')
        for page in PAGES
        for block in blocks(page)
        if block.language == 'bash'
        for i, command in enumerate(commands(block))
    ]


def parse(script: str, arguments: list) -> argparse.Namespace:
    """Parse as the script does; an error fails the test."""
    text = io.StringIO()
    try:
        with contextlib.redirect_stderr(text):
            return parser_of(script).parse_args(arguments)
    except (SystemExit, ValueError) as error:
        pytest.fail(
            f'{script} {" ".join(arguments)}: {text.getvalue()}{error}'
        )


def check_tested(command, script: str, configs: list) -> None:
    """Some test must run this script with these configs and options."""
    sources = []
    for test in TESTS.get(script, []):
        path, name = test.split('::')
        folder = ROOT if path.startswith('projects/') else ROOT / 'tests'
        source = (folder / path).read_text()
        assert re.search(rf'^def {name}\(', source, re.M), test
        sources.append(source)
    assert sources, f'no test runs {script}; mark what the command needs'
    for config in configs:
        assert any(Path(config).stem in source for source in sources), (
            f'no test runs {script} {config}; mark what the command needs'
        )
    for option in command.words:
        if option.startswith('--'):
            assert any(f"'{option}'" in source for source in sources), (
                f'no test runs {script} with {option}'
            )


def check_tool(command) -> None:
    """A command that runs a script of tools/ or projects/."""
    script, *arguments = [w for w in command.words if w != 'python']
    parsed_by = script
    assert (ROOT / script).is_file()
    if script.endswith('.sh'):
        text = (ROOT / script).read_text()
        for variable in command.variables:
            assert '${' + variable.partition('=')[0] in text, variable
        parsed_by, own = LAUNCHERS[script]
        assert len(arguments) > max(own)
        arguments = [a for i, a in enumerate(arguments) if i not in own]
    else:
        assert set(command.variables) <= {'OMP_NUM_THREADS=1'}
    options = getattr(parse(parsed_by, arguments), 'cfg_options', None)
    configs = [w for w in arguments if re.match(r'(projects/.+/)?configs/', w)]
    configs += [f'configs/{w}.py' for w in arguments if w in config_names()]
    for config in configs:
        cfg = load_config(str(ROOT / config), options)
        if options:
            build_backbone(cfg.model)
    if not command.needs:
        check_tested(command, script, configs)


def check_setup(command) -> None:
    """A command that installs: its files and versions are the repository's."""
    program, *words = command.words
    if program == 'make':
        makefile = (ROOT / 'Makefile').read_text()
        for target in words:
            assert re.search(rf'^{target}:', makefile, re.M), target
    elif program == 'pip':
        for option, name in zip(words, words[1:], strict=False):
            assert option != '-r' or (ROOT / name).is_file(), name
        pinned = (ROOT / 'requirements.txt').read_text().split()
        assert {w for w in words if '==' in w} <= set(pinned)
    elif program == 'apt-get':
        assert {*words} <= {*(ROOT / '.ci/run').read_text().split()}
    else:
        known = (
            ['python', '-m', 'venv', '.venv'],
            ['source', '.venv/bin/activate'],
            ['PYTHONPATH=.'],
            # tests/slurm/test_slurm.py::test_killed_job_resumes
            '[ $? -le 128 ] || scontrol requeue $SLURM_JOB_ID'.split(),
        )
        assert command.words in known, command.words


@pytest.mark.parametrize('command', every_command())
def test_command(command, capsys):
    words = command.words
    if words[:2] == ['python', '-c']:
        exec(words[2], {})
        assert capsys.readouterr().out
    elif any(word.startswith(('tools/', 'projects/')) for word in words[:2]):
        check_tool(command)
    else:
        check_setup(command)


def test_switches():
    """Every key of the table is in a config, or something reads it."""
    page = (ROOT / 'docs/configs.md').read_text()
    table = page[page.index('| key |') :].partition('\n\n')[0]
    cells = [row.split('|')[1] for row in table.splitlines()[2:]]
    keys = [k for cell in cells for k in re.findall('`([a-z_][^`]+)`', cell)]
    assert len(keys) > 20
    known = ''.join(p.read_text() for p in (ROOT / 'tests').rglob('test_*.py'))
    for backbone in (RepLKNet, UniRepLKNet):
        known += str(inspect.signature(backbone))
    configs = [
        load_config(str(ROOT / f'configs/{name}_replknet31b_{data}.py'))
        for name, data in (('upernet', 'ade20k'), ('fcos', 'coco'))
    ]
    for key in keys:
        if not any(has(cfg, key) for cfg in configs):
            assert re.search(rf'\b{key.split(".")[-1]}\b', known), key


def has(cfg, key: str) -> bool:
    """Whether a config has a dotted key."""
    for part in key.split('.'):
        if part not in cfg:
            return False
        cfg = cfg[part]
    return True


def test_there_are_commands():
    tools = [c for c in every_command() if 'tools/' in str(c.values)]
    assert len(tools) > 30


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_running_text(page):
    """Scripts, files and options that are named between the blocks."""
    known = set(FOREIGN)
    for script in every_script():
        known |= options_of(parser_of(script))
    for code in inline_code(page):
        assert not code.startswith('python '), f'put {code} into a block'
        for word in re.findall(
            r'(?<![\w/.])(?:tools|configs|projects)/[\w./-]+', code
        ):
            word = word.rstrip('.')
            assert '…' in code or (ROOT / word).exists(), word
        for option in re.findall(r'(?<![\w-])--[a-z][a-z-]*', code):
            assert option in known, f'{option} in {code}'
    for block in blocks(page):
        assert block.language in ('bash', 'python', 'text', 'bibtex'), block
    outside = re.sub(r'^```.*?^```$', '', page.read_text(), flags=re.M | re.S)
    assert not re.search(r'^ {4}(python|tools/|make )', outside, re.M)
