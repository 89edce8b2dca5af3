"""Test the command ``mmrep``, which runs the scripts of tools/."""

import shutil
import subprocess
import sys

import pytest

import mmrep_cli
from mmrep.version import __version__

CONFIG = 'upernet_replknet31b_ade20k'


def _mmrep(*argv):
    """Call the command without torch in reach."""
    code = (
        'import sys; sys.modules.update(torch=None); '
        'import mmrep_cli; mmrep_cli.main()'
    )
    return subprocess.run(
        [sys.executable, '-c', code, *argv], capture_output=True, text=True
    )


def test_help_names_every_command_without_torch():
    done = _mmrep('--help')
    assert done.returncode == 0, done.stderr
    for command in mmrep_cli.COMMANDS:
        assert f'\n  {command} ' in done.stdout
    assert 'Train a segmentor, detector or classifier.' in done.stdout


def test_version():
    assert _mmrep('--version').stdout == f'mmrep {__version__}\n'


@pytest.mark.parametrize('shell', ['bash', 'zsh'])
@pytest.mark.parametrize(
    'words, found',
    [
        (['mmrep', 'tra'], ['train']),
        (['mmrep', 'train', 'upernet_replknet31b_a'], [CONFIG]),
        (['mmrep', 'test', CONFIG, 'nothing'], []),
    ],
)
def test_completion(shell, words, found):
    if shutil.which(shell) is None:
        pytest.skip(f'{shell} is not here')
    script = (
        f'{_mmrep("--completion").stdout}\n'
        f'COMP_WORDS=({" ".join(words)}); COMP_CWORD={len(words) - 1}\n'
        # zsh counts from 1, but not in a completion for bash
        '[ -z "$ZSH_VERSION" ] || setopt KSH_ARRAYS\n'
        '_mmrep; echo "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(
        [shell, '-c', script], capture_output=True, text=True
    )
    assert done.stdout.split() == found and not done.stderr


@pytest.mark.parametrize(
    'command, hint',
    [('trian', "did you mean 'train'?"), ('zebra', 'see mmrep --help.')],
)
def test_unknown_command(command, hint):
    done = _mmrep(command, '--help')
    assert done.returncode == 1
    assert done.stderr == (
        f'error: {command!r} is not an mmrep command; {hint}\n'
    )


def test_scripts_are_in_the_clone():
    for script in mmrep_cli.COMMANDS.values():
        assert (mmrep_cli.shipped('tools') / script).is_file()


@pytest.mark.parametrize('command', mmrep_cli.COMMANDS)
def test_command_is_the_script(command, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['mmrep', command, '--help'])
    monkeypatch.setitem(sys.modules, '__main__', sys.modules['__main__'])
    with pytest.raises(SystemExit) as end:
        mmrep_cli.main()
    assert end.value.code == 0
    assert f'usage: mmrep {command} ' in capsys.readouterr().out


@pytest.mark.slow
def test_module_passes_on_the_exit_status(tmp_path):
    done = subprocess.run(
        [sys.executable, '-m', 'mmrep', 'train', tmp_path / 'absent.py'],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith('error: the config must be')
