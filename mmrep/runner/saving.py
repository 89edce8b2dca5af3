"""Write MMEngine's other files completely or not at all."""

import errno
import logging
import os
from pathlib import Path
from typing import Union

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.fileio import LocalBackend as _LocalBackend
from mmengine.fileio import dump
from mmengine.visualization import LocalVisBackend as _LocalVisBackend
from mmengine.visualization.vis_backend import force_init_env

from mmrep.files import WriteError, replaced, write_image
from mmrep.registry import VISBACKENDS


class LocalBackend(_LocalBackend):
    """MMEngine's local files, which replace others once they are complete.

    All libraries use it to write results, metrics and pictures.
    """

    def put(self, obj: bytes, filepath: Union[str, Path]) -> None:
        """Write bytes; see :func:`mmrep.files.replaced`."""
        with replaced(filepath) as partial:
            super().put(obj, partial)

    def put_text(
        self, obj: str, filepath: Union[str, Path], encoding: str = 'utf-8'
    ) -> None:
        """Write a text; see :func:`mmrep.files.replaced`."""
        with replaced(filepath) as partial:
            super().put_text(obj, partial, encoding)


@VISBACKENDS.register_module()
class LocalVisBackend(_LocalVisBackend):
    """MMEngine's LocalVisBackend, but it reports what it could not write.

    Arguments are MMEngine's.
    """

    @force_init_env
    def add_config(self, config: Config, **kwargs) -> None:
        """Write the config."""
        with replaced(self._config_save_file) as partial:
            config.dump(partial)

    @force_init_env
    def add_image(
        self, name: str, image: np.ndarray, step: int = 0, **kwargs
    ) -> None:
        """Write a picture (RGB, uint8) to ``NAME_STEP.png``."""
        with replaced(Path(self._img_save_dir, f'{name}_{step}.png')) as path:
            write_image(path, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))

    def _dump(
        self, value_dict: dict, file_path: str, file_format: str
    ) -> None:
        """Append a complete line, or nothing."""
        text = dump(value_dict, file_format=file_format) + '\n'
        line = text.encode()
        with open(file_path, 'ab', buffering=0) as file:
            end = file.tell()
            try:
                if file.write(line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError as error:
                file.truncate(end)
                raise WriteError(Path(file_path), error) from error


def end_without_log(logger: logging.Logger) -> None:
    """Make a log that cannot be written end the run.

    Otherwise Python prints a traceback for each record and continues.
    """
    for handler in logger.handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handleError = _reraise  # type: ignore[method-assign]


def _reraise(record: logging.LogRecord) -> None:
    raise  # noqa: PLE0704  what the handler is called for
