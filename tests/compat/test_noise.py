"""What is left out of the output of a run, and that nothing else is."""

import io
import logging
import subprocess
import sys
import warnings

import pytest
from mmengine.logging import MMLogger, print_log

from mmrep.compat import noise


@pytest.mark.slow
def test_imports_print_nothing():
    done = subprocess.run(
        [sys.executable, '-c', 'import mmrep, mmseg.datasets, mmdet.datasets'],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout + done.stderr == ''


def test_print_log(capsys, monkeypatch):
    assert print_log is noise.print_log
    print_log('debugging', level=logging.DEBUG)
    print_log('Loads checkpoint by  backend from path: x.pth')
    monkeypatch.setattr(MMLogger, '_instance_dict', {})
    prefix = 'The prefix is not set in metric class IoUMetric.'
    print_log(prefix, 'current', logging.WARNING)
    print_log('hello')
    assert capsys.readouterr().out == 'hello\n'


@pytest.mark.parametrize('level, lines', [('INFO', 1), ('DEBUG', 2)])
def test_logger(tmp_path, level, lines):
    """The file has what the terminal has not."""
    file = tmp_path / 'log'
    name = f'test_noise_{level}'
    logger = MMLogger(name, log_file=str(file), log_level=level)
    terminal = io.StringIO()
    logger.handlers[0].setStream(terminal)
    noise.silence_logger(logger)
    logger.info('paramwise_options -- backbone.stem.weight:lr=0.1')
    logger.info('what matters, with paramwise_options -- in it')
    shown = terminal.getvalue().splitlines()
    assert 'what matters' in shown[-1] and len(shown) == lines
    assert len(file.read_text().splitlines()) == 2


def test_warnings():
    text = 'Default ``avg_non_ignore`` is False, if you would like to'
    module = 'mmseg.models.losses.cross_entropy_loss'
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter('always')
        noise.silence_warnings()
        warnings.warn_explicit(text, UserWarning, 'a.py', 1, module)
        assert not shown
        warnings.warn_explicit(text, UserWarning, 'a.py', 1, 'mine')
        warnings.warn_explicit('else', UserWarning, 'a.py', 1, module)
    assert len(shown) == 2


def test_loggers_of_export():
    logger = logging.getLogger('onnxscript.optimizer._constant_folding')
    logger.setLevel(logging.NOTSET)
    noise.silence_warnings()
    assert not logger.isEnabledFor(logging.WARNING)
    assert logger.isEnabledFor(logging.ERROR)
