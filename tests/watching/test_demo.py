"""The page to drop pictures on, also in a browser."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from browser import open_browser
from PIL import Image

from mmrep.apis import Inferencer
from mmrep.errors import UsageError
from mmrep.watching import Demo, demo, import_gradio, serve

TOOL = Path(__file__).parents[2] / 'tools/demo.py'


@pytest.fixture(scope='module')
def picture(shapes_root):
    return str(next((shapes_root / 'images/validation').iterdir()))


def test_segmentor(small_segmentor, picture, monkeypatch):
    inferencer = Inferencer(*small_segmentor, device='cpu')
    ask = Demo(inferencer)
    plain, legend, text = ask(picture, 0, 0.3)
    np.testing.assert_array_equal(plain[..., ::-1], cv2.imread(picture))
    assert re.fullmatch(r'[\d.]+ seconds for 64×64 pixels', text)
    shares = re.findall(r'([\d.]+) %</span>', legend)
    assert sum(map(float, shares)) == pytest.approx(100, abs=0.4)
    assert shares == sorted(shares, key=float, reverse=True)
    # another opacity is no other prediction
    monkeypatch.setattr(inferencer, 'predict', None)
    opaque, same, _ = ask(picture, 1, 0.3)
    assert same == legend
    colours = {f'rgb{tuple(c)}' for c in opaque.reshape(-1, 3).tolist()}
    assert colours == {*re.findall(r'rgb\(.*?\)', legend)}
    monkeypatch.setattr(demo, '_SHOWN', 32)
    assert ask(picture, 1, 0.3)[0].shape == (32, 32, 3)
    assert ask(None, 1, 0.3) == (None, '', '')


def test_detector(picture):
    import torch
    from mmengine.structures import InstanceData

    found = InstanceData(
        scores=torch.tensor([0.9, 0.5, 0.4]), labels=torch.tensor([1, 1, 0])
    )
    sample = SimpleNamespace(pred_instances=found)
    sample.cpu = lambda: sample
    drawn = []

    def draw(path, sample, score_thr):
        drawn.append(score_thr)
        return np.zeros((8, 8, 3), np.uint8)

    ask = Demo(
        SimpleNamespace(
            segments=False,
            meta=dict(classes=['a<', 'b'], palette='random'),
            predict=lambda _: sample,
            draw=draw,
        )
    )
    _, legend, _ = ask(picture, 0.5, 0.3)
    assert re.findall(r'></span>(.*?)</span>', legend) == ['a&lt; 1', 'b 2']
    _, legend, _ = ask(picture, 0.5, 0.95)
    assert legend == 'no box has this score; the highest is 0.90'
    assert drawn == [0.3, 0.95]
    sample.pred_instances = found[:0]
    ask = Demo(ask.inferencer)
    assert ask(picture, 0.5, 0)[1] == 'no boxes'


def test_messages(small_segmentor, tmp_path, monkeypatch):
    ask = Demo(Inferencer(*small_segmentor, device='cpu'))
    broken, large = tmp_path / 'broken.png', tmp_path / 'large.png'
    broken.write_bytes(b'no picture')
    Image.new('1', (8000, 7000)).save(large)
    answer = ask(str(broken), 0.5, 0.3)
    assert answer[:2] == (None, '')
    assert answer[2] == 'broken.png is not an image, or is damaged'
    *_, text = ask(str(large), 0.5, 0.3)
    assert text.startswith('a picture may have at most 50 million pixels')
    Image.new('1', (20000, 20000)).save(large)
    assert ask(str(large), 0.5, 0.3)[2] == text
    monkeypatch.setattr(demo, 'MAX_BYTES', 5)
    assert ask(str(broken), 0.5, 0.3)[2].startswith('a file may have')


def test_without_gradio(monkeypatch):
    monkeypatch.setitem(sys.modules, 'gradio', None)
    with pytest.raises(UsageError, match='pip install gradio .*demo.txt'):
        import_gradio()


def test_interrupt_in_another_thread(monkeypatch):
    """The system may choose any thread; Python handles it in the main one."""
    closed = []
    page = SimpleNamespace(
        launch=lambda **_: None, local_url='', close=lambda: closed.append(1)
    )
    monkeypatch.setattr(demo, '_page', lambda *_: page)
    monkeypatch.setenv('GRADIO_TEMP_DIR', '')

    def interrupt():
        time.sleep(0.2)
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)

    # which a shell has told its jobs in the background to ignore
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    # ends a test that would hang
    guard = threading.Timer(20, os.kill, (os.getpid(), signal.SIGINT))
    guard.start()
    start = time.monotonic()
    thread = threading.Thread(target=interrupt)
    serve(None, '', ready=lambda _: thread.start())
    guard.cancel()
    signal.signal(signal.SIGINT, before)
    assert closed and time.monotonic() - start < 15


@pytest.fixture
def served(small_segmentor):
    """Address of the page, in a process that an interrupt ends."""
    pytest.importorskip('gradio')
    process = subprocess.Popen(
        [sys.executable, TOOL, *small_segmentor, '--device', 'cpu'],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline()
        found = re.match(r'The page is (http://127.0.0.1:\d+/)', line)
        assert found, process.stderr.read()
        yield found[1]
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=180)
        assert process.returncode == 0, errors
        assert 'Traceback' not in errors
    finally:
        process.kill()


@pytest.mark.slow
def test_page(served, picture, tmp_path):
    """What a user sees, without network."""
    broken = tmp_path / 'broken.png'
    broken.write_bytes(b'no picture')
    huge = tmp_path / 'huge.png'
    with huge.open('wb') as file:
        file.truncate(demo.MAX_BYTES + 1)
    with open_browser() as browser:
        page = browser.new_page(viewport=dict(width=390, height=800))
        asked = []
        page.on('request', lambda request: asked.append(request.url))
        page.goto(served)
        page.wait_for_selector('input[type=file]', state='attached')
        page.set_input_files('input[type=file]', picture)
        page.wait_for_selector('text=seconds for 64×64 pixels')
        page.wait_for_selector('text=ground')
        shown = page.wait_for_selector('img[src*="/file="]')
        first = shown.get_attribute('src')
        # less opacity is another picture
        slider = page.locator('input[type=range]').first
        slider.fill('0.1')
        slider.dispatch_event('pointerup')
        page.wait_for_function(
            'old => document.querySelector(\'img[src*="/file="]\').src != old',
            arg=page.evaluate('old => new URL(old, location).href', first),
        )
        # as the slider is moved to its end if more is typed
        number = page.locator('input[type=number]').first
        for typed, value in (('5', 1), ('', 0)):
            number.fill(typed)
            number.blur()
            page.wait_for_timeout(1500)
            assert number.input_value() == str(value)
            assert not page.locator('text=Error').count()
        # nothing is cut at the width of a telephone
        assert page.evaluate('document.body.scrollWidth') <= 390
        for file, words in (
            (broken, 'broken.png is not an image'),
            (huge, 'exceed the maximum allowed size of 50.0 Mb'),
        ):
            page.reload()
            page.wait_for_selector('input[type=file]', state='attached')
            page.set_input_files('input[type=file]', file)
            page.wait_for_selector(f'text={words}')
        own = served, 'data:', 'blob:'
        assert [url for url in asked if not url.startswith(own)] == []
