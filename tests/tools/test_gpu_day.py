"""tools/benchmarks/gpu_day.py: whole, and what goes wrong in a step."""

import argparse
import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / 'tools/benchmarks'
pytestmark = pytest.mark.skipif(
    sys.platform != 'linux', reason='the script reads /proc'
)
# A day of commands of our own; in a process, since it ends all below it.
DAY = """
import sys
sys.path.insert(0, {tools!r})
import gpu_day, gpu_day_processes
from gpu_day_steps import SHOWS, Command

def commands(args, work):
    for name, (code, seconds) in {codes!r}.items():
        words = [sys.executable, '-c', code]
        yield Command(name, words, seconds, None, {{}}, grace=0.5)

gpu_day.commands = commands
gpu_day.find_device = lambda: {device}
gpu_day.answers = lambda: True
gpu_day.REST = 3
gpu_day.LOST = gpu_day_processes.LOST = 2
{extra}
sys.exit(gpu_day.main())
"""
GOOD = "print('well done')"
HANG = """
import signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
child = 'import os, time; os.setsid(); print(os.getpid(), flush=True); '
subprocess.Popen([sys.executable, '-c', child + 'time.sleep(999)'])
time.sleep(999)
"""
# its child lives on in a session of its own
CRASH = """
import os, subprocess, sys, time
child = 'import os, time; os.setsid(); print(os.getpid(), flush=True); '
subprocess.Popen([sys.executable, '-c', child + 'time.sleep(999)'])
time.sleep(1)
os.abort()
"""
FILL = """
import os
with open({path!r}, 'wb') as file:
    while True:
        file.write(os.urandom(1 << 16))
"""


def day(out, codes, *args, device='a GPU', extra=''):
    """Run a day of small programs: name to (code, seconds)."""
    script = DAY.format(
        tools=str(TOOLS), codes=codes, device=repr(device), extra=extra
    )
    return subprocess.run(
        [sys.executable, '-', '--out', str(out), *map(str, args)],
        input=textwrap.dedent(script),
        capture_output=True,
        text=True,
        timeout=600,
    )


def ends(out):
    record = json.loads((out / 'gpu_day.json').read_text())
    return {name: e['ended'] for name, e in record['commands'].items()}


def is_running(pid):
    try:
        status = Path(f'/proc/{pid}/stat').read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(')')[2].split()[0] != 'Z'


@pytest.mark.slow
def test_what_goes_wrong_costs_its_own_time(tmp_path):
    codes = {
        'facts-fails': ('raise SystemExit(3)', 30),
        'tests-hangs': (HANG, 8),
        'operator-crashes': (CRASH, 30),
        'fit-good': (GOOD, 30),
    }
    start = time.monotonic()
    done = day(tmp_path, codes)
    assert done.returncode == 1 and not done.stderr
    # what hangs would sleep for 999 s
    assert time.monotonic() - start < 500
    assert ends(tmp_path) == {
        'facts-fails': 'failed: status 3',
        'tests-hangs': 'cut: 8 s are over',
        'operator-crashes': 'crashed: SIGABRT',
        'fit-good': 'done',
    }
    for name in ('tests-hangs', 'operator-crashes'):
        pid = (tmp_path / f'work/{name}.log').read_text().split()[0]
        assert not is_running(pid), name
    table = (tmp_path / 'gpu_day.md').read_text()
    assert '| fit-good | done |' in table and 'well done' in table
    assert '| fit-good | done |' in done.stdout
    assert 'well done' in (tmp_path / 'logs.txt').read_text()


def test_resume_runs_what_has_not_run(tmp_path):
    """What may take a minute does not begin in a call of 12 seconds."""
    write = (
        'from pathlib import Path; p = Path({path!r}); '
        "p.write_text(p.read_text() + 'x' if p.exists() else 'x')"
    )
    once = write.format(path=str(tmp_path / 'once'))
    codes = {
        'facts-once': (once, 1),
        'tests-fails': (f'{once}; 1 / 0', 1),
        'fit-long': (GOOD, 60),
    }
    assert day(tmp_path, codes, '--minutes', 0.2).returncode == 1
    assert ends(tmp_path)['fit-long'] == 'waits for a call with 1.0 min left'
    again = day(tmp_path, codes)
    assert again.returncode == 2 and 'holds a run' in again.stderr
    assert day(tmp_path, codes, '--minutes', 2, '--resume').returncode == 0
    assert ends(tmp_path)['fit-long'] == 'done'
    assert (tmp_path / 'once').read_text() == 'xx'
    day(tmp_path, codes, '--steps', 'facts')
    assert (tmp_path / 'once').read_text() == 'xxx'
    record = json.loads((tmp_path / 'gpu_day.json').read_text())
    assert len(record['calls']) == 3
    other = day(tmp_path, codes, '--resume', '--toy')
    assert other.returncode == 2 and '--toy' in other.stderr


@pytest.mark.parametrize(
    'number', (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)
)
def test_an_interrupted_command_gets_a_second_chance(number, tmp_path):
    """Its processes end, and a third call leaves it alone."""
    code = 'import os, time; print(os.getpid(), flush=True); time.sleep(999)'
    codes = {'facts-long': (code, 300), 'fit-good': (GOOD, 5)}
    script = DAY.format(tools=str(TOOLS), codes=codes, device=True, extra='')
    log = tmp_path / 'work/facts-long.log'
    for count in (1, 2):
        process = subprocess.Popen(
            [sys.executable, '-c', script, '--out', tmp_path, '--resume'],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        while not log.is_file() or len(log.read_text().split()) < count:
            assert process.poll() is None
            time.sleep(0.05)
        if count == 2:
            other = day(tmp_path, codes, '--resume')
            assert other.returncode == 2 and 'another call' in other.stderr
        process.send_signal(number)
        said = process.communicate(timeout=60)[1]
        if number != signal.SIGKILL:
            assert process.returncode == 128 + number
            assert said == 'interrupted: --resume continues\n'
        # the system ends it after a SIGKILL, at once but not before
        end = time.monotonic() + 10
        while is_running(log.read_text().split()[-1]):
            assert time.monotonic() < end
            time.sleep(0.05)
    assert day(tmp_path, codes, '--resume').returncode == 0
    assert len(log.read_text().split()) == 2
    assert ends(tmp_path)['facts-long'] == (
        'runs, or was interrupted twice: --steps facts runs it again'
    )
    assert ends(tmp_path)['fit-good'] == 'done'


@pytest.mark.parametrize('who', ('parent', 'group', 'child'))
def test_a_kill_leaves_nothing(who, tmp_path):
    """Not even what has left the group of its command."""
    codes = {'facts-long': (HANG, 300)}
    script = DAY.format(tools=str(TOOLS), codes=codes, device=True, extra='')
    process = subprocess.Popen(
        [sys.executable, '-c', script, '--out', tmp_path],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    log = tmp_path / 'work/facts-long.log'
    while not log.is_file() or not log.read_text().strip():
        assert process.poll() is None
        time.sleep(0.05)
    path = Path(f'/proc/{process.pid}/task/{process.pid}/children')
    (child,) = map(int, path.read_text().split())
    if who == 'group':
        os.killpg(process.pid, signal.SIGKILL)
    else:
        os.kill(process.pid if who == 'parent' else child, signal.SIGKILL)
    process.wait(60)
    end = time.monotonic() + 10
    while any(map(is_running, (child, log.read_text().strip()))):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_what_a_command_leaves_stops_no_other(tmp_path):
    """Names that are no text, odd files, endless output, no log, no end."""
    odd = """
import ctypes, json, os, pathlib, subprocess, sys, time
folder = pathlib.Path({folder!r})
os.mkfifo(folder / 'pipe.json')
os.symlink('nowhere', folder / 'link.json')
os.mkdir(folder / 'folder.json')
(folder / 'deep.json').write_text('[' * 200_000)
(folder / 'bytes.txt').write_bytes(bytes(range(256)) * (1 << 14))
(folder / 'good.json').write_text('[1]')
os.remove(folder.with_suffix('.log'))
child = "import ctypes, time; ctypes.CDLL(None).prctl(15, b'{name}')"
subprocess.Popen([sys.executable, '-c', child + '; time.sleep(999)'])
time.sleep(1)
"""
    immortal = (
        'import os, pathlib, time; '
        f'pathlib.Path({str(tmp_path / "pid")!r}).write_text(str(os.getpid()))'
        '; time.sleep(20)'
    )
    codes = {
        'facts-odd': (odd.format(
            folder=str(tmp_path / 'work/facts-odd'), name=r'\xff)'), 30),
        'tests-endless': (
            "import os\nwhile True: os.write(1, bytes([255]) * 9999)", 60),
        'operator-immortal': (immortal, 2),
        'fit-unnamed': ('import os; os.kill(os.getpid(), 40)', 30),
        'models-good': (GOOD, 30),
    }  # fmt: skip
    extra = f"""
import os, pathlib
path = pathlib.Path({str(tmp_path / 'pid')!r})
def kill(pid, number, kill=os.kill):
    if not path.exists() or path.read_text() != str(pid):
        kill(pid, number)
gpu_day.os.kill = kill
gpu_day.ENDLESS = gpu_day_processes.ENDLESS = 1 << 20
"""
    done = day(tmp_path, codes, extra=extra)
    assert done.returncode == 1 and not done.stderr
    assert [*ends(tmp_path).values()] == [
        'done', 'failed: over 1 MB of output', 'cut: 2 s are over',
        'crashed: signal 40',
        'done',
    ]  # fmt: skip
    record = json.loads((tmp_path / 'gpu_day.json').read_text())
    # the one that does not end is not waited for again
    assert record['commands']['models-good']['seconds'] < 2
    results = json.loads((tmp_path / 'results.json').read_text())['facts-odd']
    assert results['good.json'] == [1]
    assert not {'pipe.json', 'link.json', 'folder.json'} & set(results)
    for path in tmp_path.iterdir():
        assert path.is_dir() or path.stat().st_size < 16 << 20


def test_a_lost_gpu(tmp_path):
    """What it has stopped, or has kept from starting, runs again."""
    gone = str(tmp_path / 'gone')
    once = f'import pathlib; pathlib.Path({gone!r}).touch(); raise OSError'
    codes = {'facts-loses': (once, 9), 'fit-good': (GOOD, 9)}
    extra = f"""
import pathlib
gpu_day.answers = lambda: not pathlib.Path({gone!r}).exists()
"""
    assert day(tmp_path, codes, extra=extra).returncode == 1
    assert ends(tmp_path) == {
        'facts-loses': 'interrupted: the GPU was lost (failed: status 1)',
        'fit-good': 'waits for a GPU that answers',
    }
    os.remove(gone)
    codes['facts-loses'] = (GOOD, 9)
    assert day(tmp_path, codes, '--resume', extra=extra).returncode == 0
    assert {*ends(tmp_path).values()} == {'done'}


def test_steps_leave_no_old_result(tmp_path):
    """One that fails the second time has none, and the table says of which
    code or device the others are."""
    code = (
        'import pathlib; '
        f"(pathlib.Path({str(tmp_path)!r}) / 'work/fit-a/a.json')"
        ".write_text('[1]')"
    )
    codes = {'fit-a': (code, 9), 'models-b': (GOOD, 9)}
    assert day(tmp_path, codes).returncode == 0
    assert 'other code' not in (tmp_path / 'gpu_day.md').read_text()
    codes['fit-a'] = ('raise OSError', 9)
    done = day(tmp_path, codes, '--steps', 'fit', device='another')
    assert done.returncode == 1 and 'warning: earlier calls' in done.stdout
    results = json.loads((tmp_path / 'results.json').read_text())
    assert results['fit-a'] == {}
    table = (tmp_path / 'gpu_day.md').read_text()
    assert '| models-b | done (other code or device) |' in table
    assert '| fit-a | failed: status 1 |' in table


def test_what_stays_on_a_machine_is_made_again_on_another(tmp_path):
    first, second = tmp_path / 'first', tmp_path / 'second'
    second.mkdir()
    codes = {'operator-compile': (GOOD, 5), 'operator-times': (GOOD, 60)}
    extra = """
other = gpu_day.commands
gpu_day.commands = lambda *args: (
    c._replace(before=('operator-times',) if 'compile' in c.name else ())
    for c in other(*args)
)
"""
    day(first, codes, '--minutes', 0.2, extra=extra)
    for path in first.glob('*.*'):
        shutil.copy(path, second)
    for folder, calls in (first, 1), (second, 2):
        day(folder, codes, '--minutes', 0.2, '--resume', extra=extra)
        text = (folder / 'work/operator-compile.log').read_text()
        assert ends(folder)['operator-times'].startswith('waits')
        record = json.loads((folder / 'gpu_day.json').read_text())
        entry = record['commands']['operator-compile']
        assert entry['call'] == calls - 1 and text == 'well done\n'


def test_another_machine_gets_the_four_files(tmp_path):
    """Results and logs are kept, and later commands can read them."""
    first, second = tmp_path / 'first', tmp_path / 'second'
    found = "'work/fit-a/a.json').write_text('[1]')"
    codes = {
        'fit-a': (f'import pathlib; (pathlib.Path({str(first)!r}) / {found}; '
                  "print('USDT: noise'); print('well done')", 5),
        'fit-b': ('print(open({path!r}).read())'.format(
            path=str(second / 'work/fit-a/a.json')), 60),
    }  # fmt: skip
    done = day(first, codes, '--minutes', 0.2, '--copy', second)
    assert done.returncode == 0
    names = {path.name for path in first.iterdir()} - {'work'}
    assert {path.name for path in second.iterdir()} == names
    assert day(second, codes, '--resume').returncode == 0
    assert ends(second) == {'fit-a': 'done', 'fit-b': 'done'}
    results = json.loads((second / 'results.json').read_text())
    assert results['fit-a'] == {'a.json': [1]}
    logs = (second / 'logs.txt').read_text()
    assert logs == '==== fit-a\nwell done\n\n==== fit-b\n[1]\n\n'


@pytest.mark.parametrize('text', ('', '[]', '{"toy": true}', '{"toy": fal'))
def test_a_damaged_record(text, tmp_path):
    (tmp_path / 'gpu_day.json').write_text(text)
    done = day(tmp_path, {}, '--resume')
    assert done.returncode == 2 and 'gpu_day.json is damaged' in done.stderr
    assert (tmp_path / 'gpu_day.json').read_text() == text


@pytest.mark.parametrize(
    ('args', 'text'),
    [
        (['--minutes', '0'], '--minutes must be above 0'),
        (['--minutes', 'nan'], '--minutes must be above 0'),
        (['--minutes', 'inf'], 'at most 1440, got inf'),
        ([], 'finds no CUDA device; --toy runs'),
    ],
)
def test_what_cannot_be_measured(args, text, tmp_path):
    done = day(tmp_path / 'out', {}, *args, device='')
    assert done.returncode == 2 and text in done.stderr


def test_a_file_is_no_folder(tmp_path):
    path = tmp_path / 'file'
    path.touch()
    done = day(path, {})
    assert done.returncode == 2 and 'must be a folder' in done.stderr


@pytest.mark.slow
def test_a_training_lasts_until_the_time_is_over(tmp_path):
    code = (
        'import time; from pathlib import Path; '
        f'p = Path({str(tmp_path / "n")!r}); '
        'n = int(p.read_text()) if p.exists() else 0; '
        'p.write_text(str(n + 1)); time.sleep(99 * (n < 2))'
    )
    codes = {'camvid-rest': (code, 'inf')}
    script = DAY.replace('seconds, None', 'float(seconds), None')
    for n, ended in enumerate(('cut', 'cut', 'done', 'done'), start=1):
        done = subprocess.run(
            [sys.executable, '-', '--out', str(tmp_path), '--resume',
             '--minutes', '0.15'],
            input=script.format(
                tools=str(TOOLS), codes=codes, device=True, extra=''
            ),
            capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert ends(tmp_path)['camvid-rest'].startswith(ended)
        assert (tmp_path / 'n').read_text() == str(min(n, 3))


@pytest.fixture
def full_size(tmp_path, monkeypatch):
    """The commands for a GPU, as if each had left its results."""
    monkeypatch.syspath_prepend(str(TOOLS))
    import gpu_day_steps

    extension = tmp_path / 'extension'
    extension.mkdir()
    for name in ('setup.py', 'library.so'):
        (extension / name).touch()
    args = argparse.Namespace(
        out=tmp_path, toy=False, data_root=tmp_path, extension=extension
    )
    found = []
    for command in gpu_day_steps.commands(args, tmp_path / 'work'):
        found.append(command)
        if command.name.startswith('fit'):
            word = command.words[-1]
            if word.endswith('.json'):
                Path(word).parent.mkdir(parents=True)
                Path(word).touch()
    return gpu_day_steps, found


def test_arguments_for_a_gpu(full_size, monkeypatch, capsys):
    """Every script knows its options, and every file is there."""
    steps, found = full_size
    assert list(dict.fromkeys(c.step for c in found)) == list(steps.SHOWS)
    names = [c.name for c in found]
    for command in found:
        assert not command.needs or command.needs.startswith('needs '), (
            command.needs
        )
        assert set(command.before) <= set(names)
        assert command.environment['TRITON_INTERPRET'] == '0'
        for word in command.words:
            if word.startswith(('configs/', 'tests/', 'projects/')):
                assert (steps.ROOT / word).is_file(), word
        script = command.words[1]
        if script.endswith('.py') and script != 'setup.py':
            monkeypatch.setattr('sys.argv', command.words[1:])
            runpy.run_path(script)['parse_args']()
    coefficients = found[names.index('fit-coefficients')]
    assert len([w for w in coefficients.words if w.endswith('.json')]) == 3


def test_the_steps_take_what_the_docs_say(full_size):
    _, found = full_size
    docs = (TOOLS.parents[1] / 'docs/benchmarks.md').read_text()
    for step, minutes in re.findall(r'^\| `(\w+)` \| ([\d.]+) \|', docs, re.M):
        seconds = sum(c.seconds for c in found if c.step == step)
        assert 0.5 < seconds / 60 / float(minutes) <= 1, step
    times = [c.seconds for c in found if c.seconds != float('inf')]
    # half of half an hour is left for what starts late, and the training
    assert sum(times) <= 19 * 60


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 16 MB, where that can be had."""
    folder = tmp_path / 'disk'
    folder.mkdir()
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=16m', 'tmpfs', str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True)
    except FileNotFoundError:
        pytest.skip('needs mount')
    if done.returncode:
        pytest.skip('needs the right to mount')
    yield folder
    subprocess.run(['umount', '-l', str(folder)], check=True)


@pytest.mark.parametrize('where', ('facts-fills/large', 'facts-fills.log'))
def test_a_full_disk(small_disk, where):
    """By a file of its own, and by what it says."""
    path = str(small_disk / 'work' / where)
    codes = {
        'facts-fills': (FILL.format(path=path), 30),
        'fit-good': (GOOD, 30),
    }
    done = day(small_disk, codes)
    assert done.returncode == 1, done.stderr
    found = ends(small_disk)
    assert found['facts-fills'].startswith('disk full'), found
    assert found['fit-good'] == 'done'
    used = sum(p.stat().st_size for p in small_disk.rglob('*') if p.is_file())
    assert used < 4 << 20


def test_a_disk_that_another_program_fills(small_disk):
    path = small_disk / 'large'
    write = f'open({str(path)!r}, "wb").write(bytes(15 << 20)); '
    codes = {
        'facts-beside': (write + 'import time; time.sleep(99)', 30),
        'fit-good': (GOOD, 30),
    }
    assert day(small_disk, codes).returncode == 0
    assert {*ends(small_disk).values()} == {'waits for free disk'}
    path.unlink()
    codes['facts-beside'] = (GOOD, 30)
    assert day(small_disk, codes, '--resume').returncode == 0
    assert {*ends(small_disk).values()} == {'done'}
    codes['fit-fills'] = (
        f'open({str(path)!r}, "wb").write(bytes(1 << 24))',
        9,
    )
    done = day(small_disk, codes, '--resume')
    assert done.returncode == 1
    assert done.stderr.startswith('error: cannot write the results')
    assert not [*small_disk.glob('*.new')]


@pytest.mark.slow
def test_what_a_reader_gets_is_small(tmp_path):
    """Long logs and large results are cut."""
    code = (
        'import json, os; from pathlib import Path; '
        f'folder = Path({str(tmp_path)!r}) / "work" / "{{name}}"; '
        "(folder / 'small.json').write_text(json.dumps({{'a': 1}})); "
        "(folder / 'large.json').write_text('x' * (9 << 20)); "
        "print('begin'); print('y' * (3 << 20)); print('end')"
    )
    names = [f'fit-{i}' for i in range(20)]
    codes = {name: (code.format(name=name), 30) for name in names}
    assert day(tmp_path, codes).returncode == 0
    files = [p for p in tmp_path.iterdir() if p.is_file()]
    assert len(files) == 4
    assert all(p.stat().st_size < 15 << 20 for p in files)
    results = json.loads((tmp_path / 'results.json').read_text())
    assert results['fit-3']['small.json'] == {'a': 1}
    assert results['fit-3']['large.json'] == 'too large to keep'
    log = (tmp_path / 'work/fit-3.log').read_text()
    assert log.startswith('begin') and log.endswith('end\n')


@pytest.mark.slow
def test_every_step_at_toy_size(tmp_path):
    """As on a GPU, but for what only a GPU can show."""
    done = subprocess.run(
        [sys.executable, TOOLS / 'gpu_day.py', '--toy', '--out', tmp_path],
        capture_output=True,
        text=True,
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
    )
    assert done.returncode == 0, done.stderr
    found = ends(tmp_path)
    logs = (tmp_path / 'logs.txt').read_text()
    assert {n for n, ended in found.items() if ended != 'done'} == {
        'extension-build',
        'extension-times',
    }, f'{found}\n{logs[-5000:]}'
    results = json.loads((tmp_path / 'results.json').read_text())
    table1 = results['operator-table1']['op_table1_cpu.json']['table1']
    assert len(table1) == 4 and 'triton' in table1[0]['times']
    assert table1[0]['times']['conv']['kernels']
    assert 'COEFFICIENTS' in results['fit-coefficients']['coefficients.txt']
    rows = results['models-toy']['model.json']['rows']
    assert [row['switches'] for row in rows] == [[], ['bf16', 'channels_last']]
    (row,) = results['camvid-training']['from_scratch.json']['rows']
    assert 0 <= row['test']['mIoU'] <= 100
