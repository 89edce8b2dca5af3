"""Pictures as a config's test pipeline reads them and as they are shown."""

import copy
from contextlib import contextmanager
from pathlib import Path
from typing import Iterable, Iterator, Union

import cv2
import numpy as np
import PIL.Image
import PIL.ImageOps
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope

from mmrep.deploy.inputs import picture_dataset
from mmrep.errors import UsageError, one_line

Image = Union[str, Path, np.ndarray, PIL.Image.Image]
# Pillow's modes with more than one byte per band.
_WIDE_MODES = ('I', 'F')
# Steps of a test pipeline that sliding windows skip.
_SIZES = ('Resize', 'ResizeToMultiple')
# Transforms that keep the bands of a picture as they are loaded.
_PLAIN = (*_SIZES, 'Pad', 'RandomFlip', 'PackSegInputs', 'PackDetInputs')


@contextmanager
def named(image: Image) -> Iterator[None]:
    """Name the image that the system or OpenCV cannot handle."""
    try:
        yield
    except (OSError, cv2.error) as error:
        text = one_line(error)
        raise UsageError(
            f'{name_of(image)} cannot be processed: {text}'
        ) from error


def name_of(image: Image) -> str:
    """A picture's path, or a text that it has none."""
    return 'an array' if isinstance(image, np.ndarray) else str(image)


def given(image: Image) -> Union[str, np.ndarray]:
    """An image as a path or an array.

    Args:
        image (str | Path | np.ndarray | PIL.Image.Image): A Pillow image is
            rotated as its EXIF data say, as OpenCV does with a file.

    Raises:
        UsageError: If it has another type.
    """
    if isinstance(image, np.ndarray):
        return image
    if isinstance(image, (str, Path)):
        return str(image)
    if not isinstance(image, PIL.Image.Image):
        raise UsageError(
            'an image must be a path, a BGR array (H, W, 3) of uint8 or a '
            f'Pillow image, got {type(image).__name__}.'
        )
    if image.mode.startswith(_WIDE_MODES):
        raise UsageError(
            f'a Pillow image must have 8 bits per channel, got mode '
            f'{image.mode!r}; '
            'give its path, and it is read as the config reads the test set.'
        )
    pixels = PIL.ImageOps.exif_transpose(image).convert('RGB')
    return np.ascontiguousarray(np.asarray(pixels)[..., ::-1])


def check_targets(
    targets: Iterable[Path], inputs: Iterable[Union[str, Path]], option: str
) -> None:
    """Raise an error if a picture would replace one of the user's.

    Args:
        targets (Iterable[Path]): The pictures.
        inputs (Iterable[str | Path]): Files that are read; nothing next to
            them may be replaced.
        option (str): Name of the option that says where the pictures go.

    Raises:
        UsageError: Names the first such picture.
    """
    folders = set()
    for path in map(Path, inputs):
        # where a link is, and where it points to
        folders |= {path.parent.resolve(), path.resolve().parent}
    for target in targets:
        if target.parent.resolve() in folders and target.exists():
            raise UsageError(
                'output must not overwrite files next to the input, and '
                f'{target} exists; give another folder with {option}.'
            )


def read_image(image: Image) -> np.ndarray:
    """A picture as a BGR array of bytes, shape (H, W, 3).

    Raises:
        UsageError: If it is not an image, or cannot be read.
    """
    if not isinstance(image, np.ndarray):
        with named(image):
            content = np.fromfile(str(image), np.uint8)
            # OpenCV raises for an empty file
            flag = cv2.IMREAD_COLOR
            pixels = cv2.imdecode(content, flag) if content.size else 0
        if not isinstance(pixels, np.ndarray):
            raise UsageError(f'{image} is not an image')
        return pixels
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or not image.size:
        raise UsageError(
            'an image must be a uint8 array of shape (H, W, 3), got '
            f'{image.dtype} and {image.shape}'
        )
    if image.ndim == 2 or image.shape[2] == 1:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    if image.shape[2] not in (3, 4):
        raise UsageError(f'an image must have 3 channels, got {image.shape}')
    return np.ascontiguousarray(image[..., :3])


def as_bytes(pixels: np.ndarray) -> np.ndarray:
    """A picture with any bands and of any type, for viewing.

    Args:
        pixels (np.ndarray): Shape (H, W) or (H, W, C).

    Returns:
        np.ndarray: Shape (H, W, 3), uint8: the first three bands, or the first
            one if there are fewer. Values other than bytes are stretched from
            their 2nd to their 98th percentile.
    """
    pixels = np.atleast_3d(pixels)
    pixels = pixels[..., :3] if pixels.shape[2] > 2 else pixels[..., [0] * 3]
    if pixels.dtype != np.uint8:
        low, high = np.nanpercentile(pixels, (2, 98))
        scaled = (pixels - low) * (255 / max(high - low, 1e-12))
        pixels = np.nan_to_num(scaled).clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(pixels)


class PictureReader:
    """Reads pictures as a config's test pipeline does.

    Args:
        cfg (Config): Config with a test pipeline.
        channels (int): Channels that the model takes.
    """

    def __init__(self, cfg: Config, channels: int) -> None:
        self.channels = channels
        init_default_scope(cfg.get('default_scope') or 'mmengine')
        steps = Compose(copy.deepcopy(picture_dataset(cfg)['pipeline']))
        loading = [
            step
            for step in steps.transforms
            if type(step).__name__.startswith('Load')
            and 'Annotation' not in type(step).__name__
        ]
        self._load = Compose(loading)
        self._rest = [
            step
            for step in steps.transforms
            if not type(step).__name__.startswith('Load')
        ]
        # the bands of the file are those of the input
        self._plain = all(type(s).__name__ in _PLAIN for s in self._rest)
        # eight bits and three channels, as OpenCV reads by default
        self._common = all(
            getattr(step, 'color_type', 'color') == 'color'
            and getattr(step, 'imdecode_backend', 'cv2') == 'cv2'
            and type(step).__name__ == 'LoadImageFromFile'
            for step in loading
        )

    def load(self, image: Image) -> dict:
        """A picture as the pipeline loads it.

        Args:
            image (str | Path | np.ndarray): A file; or an array of BGR bytes
                or, for a model without one or three channels, of shape (H, W,
                C).

        Returns:
            dict: ``img``, shape (H, W) or (H, W, C), and its metadata.

        Raises:
            UsageError: If it is not an image, or does not have the model's
                channels.
        """
        if isinstance(image, np.ndarray):
            pixels = self._array(image)
            size = pixels.shape[:2]
            return dict(
                img=pixels, img_path=None, img_shape=size, ori_shape=size
            )
        if Path(image).is_file() and not Path(image).stat().st_size:
            raise UsageError(f'{image} is not an image')
        with named(image):
            try:
                results = self._load(dict(img_path=str(image)))
            except (OSError, cv2.error):
                raise
            except AssertionError as error:  # nothing was decoded
                raise UsageError(
                    f'{image} is not an image, or is damaged'
                ) from error
            except Exception as error:  # each library has its own
                text = one_line(error, kind=True)
                raise UsageError(
                    f'{image} is not an image ({text})'
                ) from error
        if results is None:
            raise UsageError(f'{image} is not an image')
        found = np.atleast_3d(results['img']).shape[2]
        if self._plain and found != self.channels:
            raise UsageError(
                f'{image} must have as many channels as the model takes, '
                f"{self.channels}, but has {found} when the config's test "
                "pipeline loads it; see LoadImageFromFile's color_type and "
                'imdecode_backend'
            )
        return results

    def _array(self, image: np.ndarray) -> np.ndarray:
        if self.channels in (1, 3):
            pixels = read_image(image)
            if self.channels == 1:
                pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)[..., None]
            return pixels
        if image.ndim != 3 or image.shape[2] != self.channels:
            raise UsageError(
                f'an image must be of shape (H, W, {self.channels}), got '
                f'{image.shape}'
            )
        return image

    def at_own_size(self, image: Image) -> np.ndarray:
        """A picture as the network gets it, without the pipeline's resizing.

        Returns:
            np.ndarray: Shape (H, W, C).

        Raises:
            UsageError: If it is not an image, or the pipeline changes its size
                other than by resizing.
        """
        results = self.load(image)
        size = results['img'].shape[:2]
        for step in self._rest:
            name = type(step).__name__
            if name in _SIZES or name.startswith('Pack'):
                continue
            with named(image):
                results = step(results)
            if results is None or results['img'].shape[:2] != size:
                raise UsageError(
                    'sliding windows need the picture at its own size, but '
                    f'{name} of the test pipeline changes it; omit slide, or '
                    "set model.test_cfg.mode='slide' in the config"
                )
        return np.atleast_3d(results['img'])

    def shown(self, image: Image) -> np.ndarray:
        """A picture to draw on: BGR bytes, shape (H, W, 3)."""
        if isinstance(image, np.ndarray):
            common = self.channels in (1, 3)
            return read_image(image) if common else as_bytes(image)
        if self._common and Path(image).is_file():
            return read_image(image)
        return as_bytes(self.load(image)['img'])
