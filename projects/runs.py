"""Training runs started by a script, each in its own process and only once.

This module also writes the table of their results.
"""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Union

from mmrep.engine import load_config
from mmrep.errors import UsageError
from mmrep.files import write_json

RECORD = 'run.json'


class Training(NamedTuple):
    """A training run with tools/train.py.

    Attributes:
        config: Path of the config.
        work_dir: Where it writes; a run that began there continues.
        options: What ``--cfg-options`` sets.
        data_root: Folder of the data set.
        amp: 'fp16' or 'bf16' for mixed precision, or False.
    """

    config: Path
    work_dir: Path
    options: Dict[str, str]
    data_root: Path
    amp: Union[str, bool] = False

    def settings(self) -> Dict[str, object]:
        """What a reader of the result must know."""
        return {
            'config': self.config.name,
            'options': self.options,
            'amp': self.amp,
        }

    def identity(self) -> Dict[str, object]:
        """What a finished run must have in common with a requested one."""
        content = repr(load_config(str(self.config)).to_dict())
        return {
            'config': self.config.name,
            "config's content": hashlib.sha256(content.encode()).hexdigest(),
            'data root': str(self.data_root.resolve()),
            'amp': self.amp,
            **self.options,
        }

    def command(self, script: Path) -> List[str]:
        """The command line."""
        words = [sys.executable, script, self.config, '--resume']
        if self.amp:
            words += ['--amp', self.amp]
        return [str(word) for word in [*words, *self.arguments()]]

    def arguments(self) -> List[object]:
        """Arguments that a test of the trained model shares with it."""
        words = ['--data-root', self.data_root, '--work-dir', self.work_dir]
        if self.options:
            words += ['--cfg-options']
            words += [f'{k}={v}' for k, v in self.options.items()]
        return words


def check_best_is_kept(config: Path, options: Dict[str, object]) -> None:
    """Raise an error before training if there would be nothing to test.

    Raises:
        UsageError: If the config does not keep the best checkpoint.
    """
    cfg = load_config(str(config), options)
    hooks = cfg.get('default_hooks') or {}
    if not (hooks.get('checkpoint') or {}).get('save_best'):
        raise UsageError(
            f'{config} must keep the checkpoint with the best validation '
            'score: set default_hooks.checkpoint.save_best.'
        )


def recorded(training: Training) -> Optional[Dict[str, float]]:
    """The metrics of a finished training run, or None.

    Args:
        training (Training): The requested run.

    Returns:
        dict[str, float], optional: Metrics of its last validation.

    Raises:
        UsageError: If the work dir holds another run.
    """
    path = training.work_dir / RECORD
    if not path.is_file():
        return None
    record = json.loads(path.read_text())
    there, asked = record['run'], training.identity()
    trained = record['metrics'] or any(training.work_dir.glob('*.pth'))
    if trained and there != asked:
        differing = ', '.join(
            f'{key} {there.get(key)}, not {asked.get(key)}'
            for key in {**there, **asked}
            if there.get(key) != asked.get(key)
        )
        raise UsageError(
            f'{training.work_dir} holds another run ({differing}); give '
            'another --out-dir.'
        )
    return record['metrics']


def train(training: Training, script: Path) -> Dict[str, float]:
    """Train to the end, starting where an earlier attempt stopped.

    Args:
        training (Training): The requested run.
        script (Path): Path of tools/train.py.

    Returns:
        dict[str, float]: Metrics of the last validation; read from the record
            if the run is already finished.

    Raises:
        UsageError: If it fails; the error has its last line and the path of
            the log.
    """
    metrics = recorded(training)
    if metrics is not None:
        return metrics
    record = {'run': training.identity(), 'metrics': None}
    path = training.work_dir / RECORD
    write_json(path, record)
    run(training.command(script), training.work_dir / 'output.txt')
    record['metrics'] = last_metrics(training.work_dir)
    write_json(path, record)
    return record['metrics']


def evaluate(
    training: Training, script: Path, *options: str
) -> Dict[str, float]:
    """Test the checkpoint with the best validation score, once.

    Args:
        training (Training): A finished run.
        script (Path): Path of tools/test.py.
        *options (str): Its options, such as '--aug-test'.

    Returns:
        dict[str, float]: The metrics; if it was tested before, those of the
            first time.

    Raises:
        UsageError: If the test fails, or there is no such checkpoint.
    """
    work_dir = training.work_dir / '_'.join(['test', *options])
    record = work_dir / RECORD
    if record.is_file():
        return json.loads(record.read_text())
    work_dir.mkdir(exist_ok=True)
    command = [sys.executable, script, training.config]
    command += [best_checkpoint(training.work_dir), *options]
    command += training._replace(work_dir=work_dir).arguments()
    run([str(word) for word in command], work_dir / 'output.txt')
    newest = max(work_dir.glob('*/*.json'))
    metrics = json.loads(newest.read_text())
    metrics = {k: v for k, v in metrics.items() if not k.endswith('time')}
    write_json(record, metrics)
    return metrics


def best_checkpoint(work_dir: Path) -> Path:
    """The checkpoint that CheckpointHook's ``save_best`` keeps."""
    found = sorted(work_dir.glob('best_*.pth'))
    if len(found) != 1:
        raise UsageError(
            f'{work_dir} must hold one best_*.pth, but holds {len(found)}.'
        )
    return found[0]


def run(command: List[str], output: Path) -> None:
    """Run a command with its output in a file.

    Args:
        command (list[str]): The command line.
        output (Path): The file; its existing content stays.

    Raises:
        UsageError: If the exit status is not 0.
    """
    with output.open('a') as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT
        )
        try:
            process.wait()
        except KeyboardInterrupt:
            process.terminate()  # a training writes a checkpoint
            process.wait()
            raise
    if process.returncode:
        lines = output.read_text().strip().splitlines()
        raise UsageError(
            f'{" ".join(command)} ended with status {process.returncode}: '
            f'{lines[-1] if lines else "no output"} (all of it: {output}).'
        )


def last_metrics(work_dir: Path) -> Dict[str, float]:
    """Metrics of the last validation in a run's log.

    Args:
        work_dir (Path): Its work dir.

    Returns:
        dict[str, float]: Metrics by name, with 'step'.

    Raises:
        UsageError: If there was no validation.
    """
    found = validations(work_dir)
    if not found:
        raise UsageError(f'{work_dir} must hold the log of a validation.')
    return found[-1]


def validations(work_dir: Path) -> List[Dict[str, float]]:
    """Metrics of each validation in a run's log, in order."""
    return [
        {k: v for k, v in entry.items() if not k.endswith('time')}
        for entry in logged(work_dir)
        if 'loss' not in entry  # training logs its loss
    ]


def logged(work_dir: Path) -> List[Dict[str, float]]:
    """What a run logged, in order, over all its attempts."""
    paths = sorted(work_dir.glob('*/vis_data/scalars.json'))
    return [
        json.loads(line)
        for path in paths
        for line in path.read_text().splitlines()
    ]


def table_rows(header: Sequence[str], rows: List[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ['---'] * len(header), *rows]
    return ''.join(f'| {" | ".join(line)} |\n' for line in lines)
