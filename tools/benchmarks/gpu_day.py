"""Measure everything that only a GPU can show, in half an hour.

    python tools/benchmarks/gpu_day.py --minutes 28 --out DIR
    python tools/benchmarks/gpu_day.py --minutes 9 --out DIR --resume
    python tools/benchmarks/gpu_day.py --toy --out DIR    # on any CPU

Steps run in order of importance. Each command has its own processes, which end
at its time limit together with everything they started. A command that fails,
crashes, is cut off or fills the disk does not stop the next. DIR gets four
files with the results:

    gpu_day.md     a table, and the end of each command's output
    gpu_day.json   each command: how it ended, seconds, versions
    results.json   what the commands wrote, by command and file
    logs.txt       their output

DIR/work has the rest. --resume runs what has not run yet or was interrupted
once, and continues the training; a command that does not fit into --minutes
waits for the next call. --steps runs some steps again. --toy runs every step
at toy size, with Triton in its interpreter. It needs Linux and the packages
named in its first lines of output. The exit status is 1 if a command failed.
"""

import argparse
import ctypes
import fcntl
import json
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from importlib import metadata, util
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from gpu_day_steps import REST, ROOT, SHOWS, commands  # noqa: E402

# Import name and pip name of the packages that some step needs.
PACKAGES = {
    'torch': 'torch',
    'triton': 'triton',
    'scipy': 'scipy',
    'pytest': 'pytest',
    'yapf': 'yapf',
    'cv2': 'opencv-python-headless',
    'mmengine': 'onedl-mmengine',
    'mmcv': 'onedl-mmcv',
    'mmseg': 'onedl-mmsegmentation',
    'mmdet': 'onedl-mmdetection',
    'pycocotools': 'pycocotools',
    'shapely': 'shapely',
    'terminaltables': 'terminaltables',
    'ftfy': 'ftfy',
}
# Largest number of bytes of a log, of one result, and of all results.
LOG, RESULT, RESULTS = 1 << 19, 8 << 20, 10 << 20
# Seconds between a warning and killing what ignores it, and until killing is
# given up.
GRACE, LOST = 5, 10
# prctl(PR_SET_CHILD_SUBREAPER): processes that a command leaves behind stay
# our children.
SUBREAPER = 36
# prctl(PR_SET_PDEATHSIG): a command ends with us, even if we are killed.
DEATH_SIGNAL = 1
LIBC = ctypes.CDLL(None)
# Longest --minutes.
DAY_MINUTES = 24 * 60
ENDED = 'done', 'failed', 'crashed', 'cut', 'disk full'
# Begins the lines that PyTorch's profiler writes whenever it starts or stops.
NOISE = b'USDT:'


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('--out', type=Path, required=True, metavar='DIR')
    parser.add_argument(
        '--minutes', type=float, default=28, help='defaults to 28'
    )
    parser.add_argument('--resume', action='store_true', help='continue DIR')
    parser.add_argument(
        '--steps', nargs='+', choices=SHOWS, metavar='STEP',
        help=f'some of {", ".join(SHOWS)}',
    )  # fmt: skip
    parser.add_argument(
        '--toy', action='store_true', help='toy sizes, without a GPU'
    )
    parser.add_argument(
        '--data-root',
        type=Path,
        default=ROOT / 'data/camvid',
        help='CamVid; defaults to data/camvid',
    )
    parser.add_argument(
        '--extension',
        type=Path,
        metavar='DIR',
        help="source of the published implicit GEMM's PyTorch extension",
    )
    parser.add_argument(
        '--wheels',
        default='WHEELS',
        metavar='DIR',
        help='folder of wheels, for the line that names missing packages',
    )
    args = parser.parse_args()
    if not 0 < args.minutes <= DAY_MINUTES:
        parser.error(
            f'--minutes must be above 0, and at most {DAY_MINUTES}, got '
            f'{args.minutes:g}'
        )
    # commands run in other folders
    args.data_root = args.data_root.resolve()
    args.extension = args.extension and args.extension.resolve()
    return parser, args


class Day:
    """The commands of a call, and the record of all calls.

    Args:
        args: The command line.
        record: What earlier calls have recorded.
    """

    def __init__(self, args, record):
        self.args, self.folder = args, args.out.resolve()
        self.work = self.folder / 'work'
        self.end = time.monotonic() + args.minutes * 60
        self.path = self.folder / 'gpu_day.json'
        self.record = record
        self.failed = False
        self.unpack()
        record['calls'].append(
            {
                'date': now(),
                'commit': commit(),
                'words': sys.argv[1:],
                'python': platform.python_version(),
                'packages': versions(),
            }
        )
        commits = {call.get('commit') for call in record['calls']}
        if len(commits) > 1:
            print('warning: the calls are of several commits', flush=True)
        # this much must stay free for the record
        size = shutil.disk_usage(args.out).total
        self.spare = min(200 << 20, size // 10)

    def unpack(self):
        """Restore what is in the four files, after a change of machines."""
        try:
            results = json.loads((self.folder / 'results.json').read_text())
            text = (self.folder / 'logs.txt').read_text()
        except (OSError, ValueError):
            return  # nothing, or cut in the middle
        parts = re.split(r'^==== (\S+)\n', text, flags=re.MULTILINE)
        logs = dict(zip(parts[1::2], parts[2::2], strict=True))
        for name, files in results.items():
            folder = self.work / name
            if folder.exists() or name not in logs:
                continue
            folder.mkdir(parents=True)
            folder.with_suffix('.log').write_text(logs[name][:-1])
            for file, value in files.items():
                if not isinstance(value, str):
                    value = json.dumps(value)
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                (folder / file).write_text(value)

    def left(self):
        """Seconds until the end of this call."""
        return self.end - time.monotonic()

    def run(self):
        """Run what has not run, as long as it fits."""
        for command in commands(self.args, self.work):
            entry = self.entry(command)
            if entry is None:
                continue
            if command.needs:
                entry['ended'] = f'skipped: {command.needs}'
            elif self.left() < LOST + needed(command):
                minutes = (LOST + needed(command)) / 60
                entry['ended'] = (
                    f'waits for a call with {minutes:.1f} min left'
                )
            elif self.is_full():
                entry['ended'] = 'waits for free disk'
            else:
                self.run_one(command, entry)
            self.write()
            print(f'{command.name}: {entry["ended"]}', flush=True)

    def entry(self, command):
        """The record of a command to run, or None if it must not run."""
        known = self.record['commands']
        entry = known.get(command.name, {})
        ended = entry.get('ended', '').partition(':')[0] in ENDED
        # not again and again, if it is what stops the machine
        ended |= entry.get('stops', 0) > 1
        goes_on = command.seconds == float('inf') and entry.get('status') != 0
        if self.args.steps:
            if command.step not in self.args.steps:
                return None
            entry = {}
        elif ended and not goes_on:
            return None
        known[command.name] = {'ended': '', 'seconds': 0.0, **entry}
        return known[command.name]

    def run_one(self, command, entry):
        """Run a command to its end or its time limit."""
        folder = self.work / command.name
        folder.mkdir(parents=True, exist_ok=True)
        limit = min(command.seconds, self.left() - LOST)
        stops = entry.get('stops', 0) + 1
        ended = 'runs, or was interrupted'
        if stops > 1:
            ended += f' twice: --steps {command.step} runs it again'
        entry.update(
            ended=ended,
            stops=stops,
            date=now(),
            command=shlex.join(command.words),
            limit=round(limit),
        )
        self.write()
        start = time.monotonic()
        log = folder.with_suffix('.log')
        with log.open('ab') as file:
            ended, status = attempt(command, file, limit, self.is_full)
        training = command.seconds == float('inf')
        if self.is_full() and not training:
            if size_of(folder, log) > self.spare // 2:
                ended = f'disk full: {folder.name} was removed'
                shutil.rmtree(folder, ignore_errors=True)
            elif ended == 'disk full':  # by another program
                ended = 'waits for free disk'
        shorten(log)
        bad = {*ENDED} - {'done', 'cut' if training else 'done'}
        self.failed |= ended.partition(':')[0] in bad
        entry.update(
            ended=ended,
            status=status,
            stops=0,
            seconds=round(entry['seconds'] + time.monotonic() - start, 1),
        )

    def is_full(self):
        """Whether the reserved space is in danger."""
        return shutil.disk_usage(self.folder).free < self.spare

    def write(self):
        """Write what a reader needs, as far as it exists."""
        replace(self.path, json.dumps(self.record, indent=1) + '\n')
        logs, results, size = {}, {}, 0
        for name in self.record['commands']:
            log = self.work / f'{name}.log'
            if log.is_file():
                logs[name] = log.read_text(errors='replace')
            results[name] = {}
            folder = self.work / name
            # a training says in its own folder why it has failed
            for path in sorted(
                {*folder.glob('*'), *folder.rglob('output.txt')}
            ):
                if path.suffix not in ('.json', '.jsonl', '.md', '.txt'):
                    continue
                file = str(path.relative_to(folder))
                room = min(RESULT, RESULTS - size)
                if path.stat().st_size > room:
                    results[name][file] = 'too large to keep'
                    continue
                size += path.stat().st_size
                results[name][file] = content(path)
        replace(self.folder / 'results.json', json.dumps(results))
        text = ''.join(f'==== {n}\n{log}\n' for n, log in logs.items())
        replace(self.folder / 'logs.txt', text)
        about = results.get('facts-device', {}).get('facts.json')
        about = about if isinstance(about, dict) else {}  # cut in the middle
        replace(self.folder / 'gpu_day.md', self.table(logs, about))

    def table(self, logs, about):
        """All commands, and the end of each one's output, as Markdown."""
        lines = [
            '| command | ended | s | only a GPU shows |',
            '| --- | --- | --- | --- |',
        ]
        said = []
        for name, entry in self.record['commands'].items():
            shows = SHOWS[name.partition('-')[0]]
            ended, seconds = entry['ended'], entry['seconds']
            lines.append(f'| {name} | {ended} | {seconds:.0f} | {shows} |')
            tail = '\n'.join(logs.get(name, '').splitlines()[-25:])
            tail = re.sub(r'[^\n\t -\U0010ffff]', '', tail.replace('```', ''))
            if tail:
                said.append(f'\n## {name}\n\n```text\n{tail}\n```\n')
        keys = 'name', 'torch', 'date', 'commit'
        head = '# A day on a GPU\n\n'
        head += ', '.join(str(about[k]) for k in keys if k in about) + '\n\n'
        if self.record['toy']:
            head += 'Toy sizes on a CPU: no number here means anything.\n\n'
        return head + '\n'.join(lines) + '\n' + ''.join(said)


def needed(command):
    """Seconds that must be left to start a command."""
    return REST if command.seconds == float('inf') else command.seconds


def attempt(command, log, limit, is_full):
    """Run a command; return how it ended and its status or None."""
    deadline = time.monotonic() + limit
    environment = {**os.environ, **command.environment}
    try:
        process = subprocess.Popen(
            command.words,
            cwd=command.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: LIBC.prctl(DEATH_SIGNAL, signal.SIGKILL),
        )
    except OSError as error:
        return f'failed: {error}', None
    ended = None
    try:
        while process.poll() is None:
            if is_full():
                ended = 'disk full'
            elif time.monotonic() > deadline - command.grace:
                ended = f'cut: {limit:.0f} s are over'
            if ended:
                end_all(process, command.warning, command.grace)
                break
            time.sleep(0.1)
    finally:
        end_all(process, signal.SIGKILL, LOST)
    status = process.poll()
    if ended:
        return ended, None
    if status == 0:
        return 'done', 0
    if status is not None and status < 0:
        return f'crashed: {signal.Signals(-status).name}', status
    return f'failed: status {status}', status


def end_all(process, number, seconds):
    """Send a signal to everything that a command started, and wait."""
    end = time.monotonic() + seconds
    for pid in descendants():
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass
    while time.monotonic() < end:
        # first the command, because its status counts
        process.poll()
        left = descendants()
        if not left:
            return
        for pid in left - {process.pid}:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass  # its parent has not collected it yet
        if number == signal.SIGKILL:
            for pid in descendants():
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    pass
        time.sleep(0.05)


def descendants():
    """Descendants of this process, in any session."""
    parents = {}
    for path in Path('/proc').glob('[0-9]*/stat'):
        try:
            text = path.read_text()
        except OSError:
            continue  # it has ended
        # the name, in parentheses, may contain anything
        parents[int(path.parent.name)] = int(
            text.rpartition(')')[2].split()[1]
        )
    found, new = set(), {os.getpid()}
    while new:
        new = {pid for pid, parent in parents.items() if parent in new}
        found |= new
    return found


def size_of(folder, log):
    """Bytes of what a command has written."""
    files = [log, *folder.rglob('*')]
    return sum(path.lstat().st_size for path in files)


def shorten(log):
    """Keep the beginning and the end of a long log, without noise."""
    with log.open('rb') as file:
        if NOISE in file.read(LOG):
            file.seek(0)
            kept = [line for line in file if not line.startswith(NOISE)]
            log.write_bytes(b''.join(kept))
    if log.stat().st_size <= LOG:
        return
    with log.open('rb') as file:
        begin = file.read(LOG // 4)
        file.seek(-LOG // 2, os.SEEK_END)
        end = file.read()
    log.write_bytes(begin + b'\n[... cut ...]\n' + end)


def content(path):
    """The content of a file: JSON as it is, others as text."""
    text = path.read_text(errors='replace')
    if path.suffix == '.json':
        try:
            return json.loads(text)
        except ValueError:
            pass  # cut in the middle
    return text


def replace(path, text):
    """Write a file completely, or keep the old one."""
    draft = path.with_name(path.name + '.new')
    try:
        draft.write_text(text)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def now():
    return time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime())


def commit():
    """The commit of this file, or None."""
    try:
        done = subprocess.run(
            ['git', 'rev-parse', 'HEAD'], cwd=ROOT, capture_output=True,
            text=True,
        )  # fmt: skip
    except OSError:
        return None
    return done.stdout.strip() or None


def versions():
    """Versions of the installed packages."""
    found = {}
    for name in [*PACKAGES.values(), 'torchvision', 'numpy']:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            pass
    return found


def say_what_is_missing(wheels):
    """One line, with the command that installs packages without network."""
    missing = [pip for name, pip in PACKAGES.items() if not is_there(name)]
    if missing:
        print(
            f'missing: {", ".join(missing)}; from a folder of wheels: '
            f'{sys.executable} -m pip install --no-index --no-deps --target '
            f'/tmp/site {wheels}/*.whl && '
            'export PYTHONPATH=/tmp/site:$PYTHONPATH',
            flush=True,
        )


def is_there(name):
    return util.find_spec(name) is not None


def has_cuda():
    """Whether PyTorch sees a device; in a process, to leave CUDA alone."""
    code = 'import torch; raise SystemExit(not torch.cuda.is_available())'
    return not subprocess.run([sys.executable, '-c', code]).returncode


def main():
    parser, args = parse_args()
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        folder = os.open(args.out, os.O_RDONLY)  # locked until the end
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        parser.error(f'another call of gpu_day.py is writing to {args.out}')
    except OSError as error:
        parser.error(f'{args.out} must be a folder to write to ({error})')
    record = {'toy': args.toy, 'calls': [], 'commands': {}}
    path = args.out / 'gpu_day.json'
    if path.is_file():
        if not (args.resume or args.steps):
            parser.error(f'{args.out} holds a run: --resume continues it')
        try:
            known = json.loads(path.read_text())
            record = {key: known[key] for key in record}
        except (ValueError, TypeError, KeyError):
            parser.error(
                f'{path} is damaged; take another --out, or remove it to '
                'run everything again'
            )
        if record['toy'] != args.toy:
            parser.error(
                f'{args.out} was made with{"" if record["toy"] else "out"} '
                '--toy; call it the same way, or take another --out'
            )
    elif args.resume:
        print(f'{args.out} is empty: a new run', flush=True)
    say_what_is_missing(args.wheels)
    if is_there('torch') and not (args.toy or has_cuda()):
        parser.error(
            'PyTorch finds no CUDA device; --toy runs every step on a CPU'
        )
    LIBC.prctl(SUBREAPER, 1, 0, 0, 0)
    for name in 'SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT':
        # even if a shell ignores it, as after '&'
        signal.signal(getattr(signal, name), stop)
    day = Day(args, record)
    if day.is_full():
        parser.error(f'{args.out} needs {day.spare / 1e6:.1f} MB of free disk')
    try:
        try:
            day.run()
        finally:
            day.write()
    except OSError as error:
        return f'error: cannot write the results: {error}'
    print((args.out / 'gpu_day.md').read_text().partition('\n## ')[0])
    return int(day.failed)


def stop(number, frame):
    """End with everything that runs, once."""
    for name in 'SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT':
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    print('interrupted: --resume continues', file=sys.stderr, flush=True)
    sys.exit(128 + number)


if __name__ == '__main__':
    sys.exit(main())
