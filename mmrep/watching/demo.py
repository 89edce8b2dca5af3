"""A page to drop pictures on, made with Gradio."""

import html
import os
import tempfile
import time
from functools import lru_cache
from pathlib import Path
from typing import Any, Callable, List, Optional, Tuple

import numpy as np
import PIL.Image
from mmengine.logging import print_log
from mmengine.structures import BaseDataElement

from mmrep.apis import Inferencer
from mmrep.apis.drawing import (
    class_colours,
    class_names,
    css,
    overlay,
    shrunk,
)
from mmrep.errors import UsageError

# Limits of a picture: bytes of its file, and pixels.
MAX_BYTES, MAX_PIXELS = 50 * 2**20, 50_000_000
# Largest width and height of the picture in the browser.
_SHOWN = 1600
_CHIP = (
    '<span style="display: inline-block; margin-right: 1.2em; white-space: '
    'nowrap"><span style="display: inline-block; width: .9em; height: .9em; '
    'margin-right: .4em; border: 1px solid #888; vertical-align: -.1em; '
    'background: {}"></span>{} {}</span> '
)
_CSS = 'footer {display: none !important}'


class Demo:
    """Answers the requests of the page.

    Args:
        inferencer (Inferencer): For a segmentor or detector.
    """

    def __init__(self, inferencer: Inferencer) -> None:
        self.inferencer = inferencer
        # moving a slider does not predict again
        self._predict = lru_cache(maxsize=4)(self._predict_file)

    def __call__(
        self, path: Optional[str], opacity: float, score_thr: float
    ) -> Tuple[Optional[np.ndarray], str, str]:
        """Predict a file.

        Args:
            path (str, optional): The file, or None if it was removed.
            opacity (float): See :meth:`Inferencer.draw`.
            score_thr (float): See :meth:`Inferencer.draw`.

        Returns:
            tuple: An RGB picture or None, a legend in HTML, and the seconds it
                took or what is wrong.
        """
        if path is None:
            return None, '', ''
        try:
            _check_picture(path)
            sample, seconds = self._predict(path)
            if self.inferencer.segments:
                picture, legend = self._labels(path, sample, opacity)
            else:
                picture, legend = self._boxes(path, sample, score_thr)
        except UsageError as error:
            # without the folder in which the server keeps it
            text = str(error).replace(path, Path(path).name)
            return None, '', html.escape(text)
        height, width = picture.shape[:2]
        picture = shrunk(picture, _SHOWN / max(height, width))
        text = f'{seconds:.2f} seconds for {width}×{height} pixels'
        return picture[..., ::-1], legend, text

    def _predict_file(self, path: str) -> Tuple[BaseDataElement, float]:
        start = time.perf_counter()
        sample = self.inferencer.predict(path).cpu()
        return sample, time.perf_counter() - start

    def _labels(
        self, path: str, sample: BaseDataElement, opacity: float
    ) -> Tuple[np.ndarray, str]:
        labels = sample.pred_sem_seg.data[0].numpy()
        areas = np.bincount(labels.ravel())
        names, colours = self._classes(len(areas))
        image = self.inferencer.reader.shown(path)
        picture = overlay(image, labels, colours, opacity)
        entries = [
            _CHIP.format(
                css(colours[i]),
                html.escape(names[i]),
                f'{100 * areas[i] / labels.size:.1f} %',
            )
            for i in np.argsort(-areas, kind='stable')
            if areas[i]
        ]
        return picture, ''.join(entries)

    def _boxes(
        self, path: str, sample: BaseDataElement, score_thr: float
    ) -> Tuple[np.ndarray, str]:
        picture = self.inferencer.draw(path, sample, score_thr=score_thr)
        found = sample.pred_instances
        labels = found.labels[found.scores >= score_thr].numpy()
        counts = np.bincount(labels)
        names, colours = self._classes(len(counts))
        entries = [
            _CHIP.format(css(colours[i]), html.escape(names[i]), counts[i])
            for i in np.flatnonzero(counts)
        ]
        if not entries:
            best = max([0.0, *found.scores.tolist()])
            entries.append(
                f'no box has this score; the highest is {best:.2f}'
                if best
                else 'no boxes'
            )
        return picture, ''.join(entries)

    def _classes(self, count: int) -> Tuple[List[str], np.ndarray]:
        meta = self.inferencer.meta
        count = max(count, len(meta.get('classes') or ()))
        return class_names(meta, count), class_colours(meta, count)


def _check_picture(path: str) -> None:
    """Check the size before the whole picture is decoded."""
    if os.path.getsize(path) > MAX_BYTES:
        raise UsageError(f'a file may have at most {MAX_BYTES >> 20} MB.')
    try:
        with PIL.Image.open(path) as image:
            width, height = image.size
    except PIL.Image.DecompressionBombError:
        width = height = MAX_PIXELS
    except OSError:  # a format that OpenCV may know
        return
    if width * height > MAX_PIXELS:
        raise UsageError(
            f'a picture may have at most {MAX_PIXELS // 10**6} million '
            'pixels; make it smaller.'
        )


def import_gradio() -> Any:
    """Gradio.

    Raises:
        UsageError: If it is not installed.
    """
    try:
        import gradio
    except ImportError as error:
        raise UsageError(
            'mmrep demo needs Gradio: pip install gradio (tested: '
            'requirements/demo.txt).'
        ) from error
    return gradio


def serve(
    inferencer: Inferencer,
    title: str,
    host: str = '127.0.0.1',
    port: Optional[int] = None,
    ready: Callable[[str], Any] = print_log,
) -> None:
    """Show the page until interrupted.

    It loads nothing from elsewhere, and sends nothing. Pictures are kept in
    a folder that is removed at the end.

    Args:
        inferencer (Inferencer): For a segmentor or detector.
        title (str): Title of the page.
        host (str): Address to listen on; '0.0.0.0' means all of the machine's.
            Defaults to '127.0.0.1', only this machine.
        port (int, optional): Defaults to None, the first free port from 7860.
        ready (Callable): Called with the address. Defaults to ``print_log``.

    Raises:
        UsageError: If Gradio is not installed, or the port is not free.
    """
    with tempfile.TemporaryDirectory(prefix='mmrep-demo-') as folder:
        # read by Gradio when a page is made
        os.environ['GRADIO_TEMP_DIR'] = folder
        page = _page(Demo(inferencer), title)
        try:
            page.launch(
                share=False,
                server_name=host,
                server_port=port,
                show_error=True,
                max_file_size=MAX_BYTES,
                ssr_mode=False,
                quiet=True,
                css=_CSS,
                prevent_thread_lock=True,
            )
        except OSError as error:
            raise UsageError(f'the page cannot be shown: {error}') from error
        ready(page.local_url)
        try:
            while True:
                # an interrupt that another thread gets does not end a sleep
                time.sleep(0.5)
        except KeyboardInterrupt:
            page.close()


def _from_0_to_1(value: Optional[float]) -> float:
    return min(max(value or 0.0, 0.0), 1.0)


def _page(demo: Demo, title: str) -> Any:
    gradio = import_gradio()
    segments = demo.inferencer.segments
    with gradio.Blocks(title=title, analytics_enabled=False) as page:
        gradio.Markdown(f'# {html.escape(title)}')
        with gradio.Row():
            with gradio.Column(scale=1, min_width=280):
                file = gradio.File(
                    label='Picture', file_types=['image'], type='filepath'
                )
                opacity = gradio.Slider(
                    0, 1, 0.5, label='Opacity', visible=segments
                )
                score_thr = gradio.Slider(
                    0, 1, 0.3, label='Minimum score', visible=not segments
                )
                for slider in opacity, score_thr:
                    # a number that is typed may be outside, or empty
                    slider.preprocess = _from_0_to_1
                text = gradio.Markdown(container=False)
            with gradio.Column(scale=3, min_width=320):
                picture = gradio.Image(
                    label='Prediction',
                    interactive=False,
                    format='png',
                    buttons=['download', 'fullscreen'],
                )
                legend = gradio.HTML()
        gradio.on(
            [file.change, opacity.release, score_thr.release],
            demo,
            [file, opacity, score_thr],
            [picture, legend, text],
            api_name='predict',
        )
    return page
