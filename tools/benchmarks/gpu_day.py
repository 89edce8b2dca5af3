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
import fcntl
import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from gpu_day_machine import (  # noqa: E402
    answers,
    find_device,
    is_there,
    say,
    say_what_is_missing,
    versions,
)
from gpu_day_processes import (  # noqa: E402
    ENDLESS,
    LOST,
    attempt,
    guard,
)
from gpu_day_steps import REST, ROOT, SHOWS, commands  # noqa: E402

# Largest number of bytes of a log that is kept, of one result and of all.
LOG, RESULT, RESULTS = 1 << 19, 8 << 20, 10 << 20
# Most characters of a command's output in the table's file.
TAIL = 4000
# Longest --minutes.
DAY_MINUTES = 24 * 60
# Seconds to wait for a call that is ending.
LOCKED = 10
# What a reader needs.
FILES = 'gpu_day.md', 'gpu_day.json', 'results.json', 'logs.txt'
TOO_LARGE = 'too large to keep'
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
    parser.add_argument(
        '--copy',
        type=Path,
        metavar='DIR',
        help='also write the four files there, after each command',
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
        device: Name of the GPU.
        start: When the call began.
    """

    def __init__(self, args, record, device, start):
        self.args, self.folder = args, args.out.resolve()
        self.work = self.folder / 'work'
        self.end = start + args.minutes * 60
        self.path = self.folder / 'gpu_day.json'
        self.record = record
        self.failed = False
        self.unpack()
        record['calls'].append(
            {
                'date': now(),
                'commit': commit(),
                'code': code(),
                'device': device,
                'words': sys.argv[1:],
                'python': platform.python_version(),
                'packages': versions(),
            }
        )
        if not all(map(self.is_like_this, range(len(record['calls'])))):
            say('warning: earlier calls had other code or another device')
        # where it does not answer at once, its silence means nothing
        self.asks = bool(device) and answers()
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
        if not isinstance(results, dict):
            return
        parts = re.split(r'^==== (\S+)\n', text, flags=re.MULTILINE)
        logs = dict(zip(parts[1::2], parts[2::2], strict=True))
        for name in self.record['commands']:
            folder, files = self.work / name, results.get(name, {})
            if folder.exists() or name not in logs:
                continue
            folder.mkdir(parents=True)
            folder.with_suffix('.log').write_text(logs[name][:-1])
            for file, value in files.items():
                if value == TOO_LARGE:
                    continue
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
            elif self.asks and not answers():
                entry['ended'] = 'waits for a GPU that answers'
            else:
                self.run_one(command, entry)
            self.write()
            say(f'{command.name}: {entry["ended"]}')

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
        elif ended and not goes_on and not self.is_missed(command):
            return None
        known[command.name] = {'ended': '', 'seconds': 0.0, **entry}
        return known[command.name]

    def is_missed(self, command):
        """Whether commands wait for what one left on another machine."""
        known = self.record['commands']
        waiting = any(
            known.get(name, {}).get('ended', '').partition(':')[0] not in ENDED
            for name in command.before
        )
        ran = known[command.name]['ended'].startswith(('done', 'cut'))
        return waiting and ran and not self.mark(command).is_file()

    def mark(self, command):
        """The file that says that a command has run on this machine."""
        return self.work / f'{command.name}.here'

    def is_like_this(self, number):
        """Whether a call had the same code and device as this one."""
        one, this = self.record['calls'][number], self.record['calls'][-1]
        return all(one.get(k) == this[k] for k in ('code', 'device'))

    def run_one(self, command, entry):
        """Run a command to its end or its time limit."""
        folder = self.work / command.name
        training = command.seconds == float('inf')
        if not entry.get('stops') and not training:
            # nothing old may pass for a result
            shutil.rmtree(folder, ignore_errors=True)
            folder.with_suffix('.log').unlink(missing_ok=True)
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
            call=len(self.record['calls']) - 1,
            command=shlex.join(command.words),
            limit=round(limit),
        )
        self.write()
        start = time.monotonic()
        log = folder.with_suffix('.log')
        with log.open('ab') as file:
            ended, status = attempt(command, file, limit, self.is_full)
        if self.is_full() and not training:
            if size_of(folder, log) > self.spare // 2:
                ended = f'disk full: {folder.name} was removed'
                shutil.rmtree(folder, ignore_errors=True)
            elif ended == 'disk full':  # by another program
                ended = 'waits for free disk'
        shorten(log)
        self.mark(command).touch()
        if ended not in ('done', 'disk full') and self.asks and not answers():
            self.failed = True
            entry['ended'] = f'interrupted: the GPU was lost ({ended})'
            return
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
                logs[name] = log.read_text(errors='ignore')
            results[name] = {}
            folder = self.work / name
            # a training says in its own folder why it has failed
            for path in sorted(
                {*folder.glob('*'), *folder.rglob('output.txt')}
            ):
                if path.suffix not in ('.json', '.jsonl', '.md', '.txt'):
                    continue
                if not path.is_file():  # but a pipe, or a link to nothing
                    continue
                room = min(RESULT, RESULTS - size)
                value, count = content(path, room)
                size += count
                results[name][str(path.relative_to(folder))] = value
        replace(self.folder / 'results.json', json.dumps(results))
        text = ''.join(f'==== {n}\n{log}\n' for n, log in logs.items())
        replace(self.folder / 'logs.txt', text)
        about = results.get('facts-device', {}).get('facts.json')
        about = about if isinstance(about, dict) else {}  # cut in the middle
        replace(self.folder / 'gpu_day.md', self.table(logs, about))
        self.copy()

    def copy(self):
        """Copy the four files, in case the machine does not come back."""
        copies = self.args.copy
        if not copies or copies.resolve() == self.folder:
            return
        try:
            copies.mkdir(parents=True, exist_ok=True)
            for name in FILES:
                shutil.copyfile(self.folder / name, copies / f'{name}.new')
                os.replace(copies / f'{name}.new', copies / name)
        except OSError as error:
            say(f'warning: --copy: {error}')

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
            if 'call' in entry and not self.is_like_this(entry['call']):
                ended += ' (other code or device)'
            lines.append(f'| {name} | {ended} | {seconds:.0f} | {shows} |')
            tail = '\n'.join(logs.get(name, '').splitlines()[-25:])
            tail = tail[-TAIL:]
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


def size_of(folder, log):
    """Bytes of what a command has written."""
    files = [log, *folder.rglob('*')]
    return sum(os.path.lexists(f) and f.lstat().st_size for f in files)


def shorten(log):
    """Keep the beginning and the end of a long log, without noise."""
    if not log.is_file():  # the command has removed it
        return
    with log.open('rb') as file:
        if log.stat().st_size <= ENDLESS and NOISE in file.read(LOG):
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


def content(path, room):
    """What a file says, JSON as it is, and its bytes in results.json."""
    try:
        if path.stat().st_size > room:
            return TOO_LARGE, 0
        text = path.read_text(errors='ignore')
    except OSError as error:
        return f'cannot be read: {error.strerror}', 0
    value = text
    if path.suffix == '.json':
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            pass  # cut in the middle
    size = len(json.dumps(value))
    return (value, size) if size <= room else (TOO_LARGE, 0)


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


def code():
    """A digest of the code: there may be no git, or changes beside it."""
    digest = hashlib.sha256()
    for folder in (
        'configs',
        'mmrep',
        'mmrep_cli',
        'projects',
        'tests',
        'tools',
    ):
        for path in sorted((ROOT / folder).rglob('*.py')):
            digest.update(str(path.relative_to(ROOT)).encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def lock(folder):
    """Lock a folder until we end, after a call that is just ending."""
    file = os.open(folder, os.O_RDONLY)
    end = time.monotonic() + LOCKED
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def main():
    start = time.monotonic()
    parser, args = parse_args()
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        lock(args.out)
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
        say(f'{args.out} is empty: a new run')
    say_what_is_missing(args.wheels)
    guard()
    device = ''
    if is_there('torch') and not args.toy:
        device = find_device()
        if not device:
            parser.error(
                'PyTorch finds no CUDA device; --toy runs every step on a CPU'
            )
    day = Day(args, record, device, start)
    if day.is_full():
        parser.error(f'{args.out} needs {day.spare / 1e6:.1f} MB of free disk')
    try:
        try:
            day.run()
        finally:
            day.write()
    except OSError as error:
        return f'error: cannot write the results: {error}'
    say((args.out / 'gpu_day.md').read_text().partition('\n## ')[0])
    return int(day.failed)


if __name__ == '__main__':
    sys.exit(main())
