"""One inferencer for segmentors and detectors, over OpenMMLab's own."""

import copy
import logging
import os.path as osp
import warnings
from numbers import Real
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.logging import print_log
from mmengine.registry import DATASETS
from mmengine.structures import BaseDataElement, PixelData
from mmseg.apis import MMSegInferencer
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.structures import SegDataSample
from torch import nn

from mmrep.apis.drawing import draw_detection, draw_segmentation
from mmrep.apis.pictures import (
    Image,
    PictureReader,
    check_targets,
    given,
    name_of,
    named,
)
from mmrep.apis.slide import slide_labels
from mmrep.compat.noise import quiet
from mmrep.data.heads import input_channels
from mmrep.deploy import load_model
from mmrep.deploy.inputs import picture_dataset
from mmrep.deploy.models import model_kind
from mmrep.deploy.runtime import is_exported, load_exported
from mmrep.engine import check_folder, load_config
from mmrep.errors import UsageError
from mmrep.files import WriteError, replaced, write_image
from mmrep.models.precision import HALF, check_precision, use_half


def list_images(inputs: Union[Image, Sequence[Image]]) -> List[Image]:
    """The inputs of an inferencer, as a list.

    Args:
        inputs (str | Path | np.ndarray | PIL.Image.Image | Sequence): A file,
            a folder, a BGR array, a Pillow image, or a list of these. From a
            folder, all files except hidden ones are used, sorted; its
            subfolders are not searched.

    Returns:
        list: Paths of files, and BGR arrays.

    Raises:
        UsageError: If a file does not exist, a folder has none, or an image
            has another type.
    """
    if isinstance(inputs, (list, tuple)):
        return [image for part in inputs for image in list_images(part)]
    image = given(inputs)
    if isinstance(image, np.ndarray):
        return [image]
    path = Path(image)
    if path.is_file():
        return [str(path)]
    if not path.is_dir() or not image:  # Path('') is the current folder
        raise UsageError(
            'the image must be an existing file or folder, got '
            f'{str(inputs)!r}.'
        )
    files = sorted(
        str(file)
        for file in path.iterdir()
        if file.is_file() and not file.name.startswith('.')
    )
    if not files:
        raise UsageError(f'the folder {inputs!s} has no files.')
    return files


class _Given:
    """Makes an OpenMMLab inferencer use a model that is already loaded."""

    def __init__(self, model: nn.Module, device: str) -> None:
        self._given = model
        cfg = copy.deepcopy(model.cfg)
        # OpenMMLab's look for the pipeline where a wrapper has none
        cfg.test_dataloader.dataset = picture_dataset(cfg)
        with warnings.catch_warnings():
            # the visualizer has no folder and needs none
            warnings.simplefilter('ignore')
            super().__init__(cfg, device=device)
        self.show_progress = False

    def _init_collate(self, cfg: Config) -> Any:
        return pseudo_collate

    def _init_model(
        self, cfg: Config, weights: Optional[str], device: str = 'cpu'
    ) -> nn.Module:
        return self._given


class _SegInferencer(_Given, MMSegInferencer):
    def _init_visualizer(self, cfg: Config) -> Any:
        # MMSegmentation's requires one
        cfg.setdefault('visualizer', dict(type='SegLocalVisualizer'))
        return super()._init_visualizer(cfg)


def _det_inferencer(model: nn.Module, device: str) -> Any:
    from mmdet.apis import DetInferencer  # segmentation does not need MMDet

    class _DetInferencer(_Given, DetInferencer):
        pass

    return _DetInferencer(model, device)


class Inferencer:
    """Predict from pictures with a config and a checkpoint.

    Images are prepared by the config's test pipeline, and predictions are
    MMSegmentation's ``SegDataSample`` or MMDetection's ``DetDataSample``.

    Args:
        config (str | Path | Config): Config of a segmentor or detector.
        checkpoint (str | Path): Weights for all parameters, or a whole model
            written by ``tools/export.py`` (``.onnx``, ``.pt2``, or OpenVINO's
            ``.xml``).
        deploy (bool): Merge and fold the model after loading; an exported file
            is already merged. Defaults to True.
        device (str, optional): Such as 'cpu' or 'cuda:1'. Defaults to the
            GPU if there is one.
        slide (int | tuple[int, int], optional): Size of the windows, or size
            and stride, for pictures that are segmented at their own size
            without the pipeline's resizing; the default stride is two thirds
            of the size. Defaults to None, the mode of the config.
        trust_checkpoint (bool): Run code that the checkpoint may contain.
            Defaults to False.
        runtime (str, optional): What runs an exported file, 'onnxruntime' or
            'openvino'. Defaults to None, by its suffix.
        dtype (str, optional): 'bf16' or 'fp16', to predict in 16 bits, except
            for the last layers of the heads, boxes and NMS. Defaults to None,
            fp32.

    Raises:
        UsageError: If an argument is wrong or a file is missing.

    Examples:
        >>> infer = Inferencer('config.py', 'weights.pth', device='cpu')
        >>> for sample in infer('pictures/', out_dir='out/'):
        ...     labels = sample.pred_sem_seg.data
    """

    @quiet()
    def __init__(
        self,
        config: Union[str, Path, Config],
        checkpoint: Union[str, Path],
        deploy: bool = True,
        device: Optional[str] = None,
        slide: Union[int, Tuple[int, int], None] = None,
        trust_checkpoint: bool = False,
        runtime: Optional[str] = None,
        dtype: Optional[str] = None,
    ) -> None:
        if device is None:
            device = 'cuda' if torch.cuda.is_available() else 'cpu'
        for name, value, kinds in (
            ('config', config, (str, Path, Config)),
            ('checkpoint', checkpoint, (str, Path)),
        ):
            if not isinstance(value, kinds):
                raise UsageError(
                    f'the {name} must be a path, got {type(value).__name__}.'
                )
        checkpoint = str(checkpoint)
        cfg = config if isinstance(config, Config) else load_config(config)
        if runtime is not None and not is_exported(checkpoint):
            raise UsageError(
                f'runtime applies only to exported files, got {checkpoint!r}.'
            )
        if dtype not in (None, *HALF):
            raise UsageError(
                f'dtype must be None or one of {tuple(HALF)}, got {dtype!r}.'
            )
        if dtype is not None and is_exported(checkpoint):
            raise UsageError(
                'dtype applies only to checkpoints, because an exported file '
                f'has its own precision; got {checkpoint!r}.'
            )
        if is_exported(checkpoint):
            self.model = load_exported(
                cfg, checkpoint, runtime, device, trust_checkpoint
            )
            self.channels = self.model.file.channels
        else:
            self.model = load_model(
                cfg, checkpoint, deploy, device, trust_checkpoint
            )
            self.channels = input_channels(self.model)
        if dtype is not None:
            note = check_precision(dtype, device)
            if note:
                print_log(note, 'current', logging.WARNING)
            use_half(self.model, dtype)
        self.segments = model_kind(self.model) == 'segmentor'
        self.meta: Dict[str, Any] = self.model.dataset_meta
        self.reader = PictureReader(cfg, self.channels)
        self.slide = _slide(slide)
        if self.slide and not self.segments:
            raise UsageError('slide needs a segmentor, got a detector.')
        if self.slide and is_exported(checkpoint):
            self.model.check_windows()
        if self.segments:
            self._inferencer = _SegInferencer(self.model, device)
        else:
            self.meta.setdefault('palette', 'random')
            self._inferencer = _det_inferencer(self.model, device)

    def predict(self, image: Image) -> BaseDataElement:
        """Predict one image: a path, a BGR array, or a Pillow image.

        Raises:
            UsageError: If it is not an image, or the config's pipeline
                cannot prepare it.
        """
        if self.slide is None:
            return self._predict_batch([self._prepare(image)])[0]
        image = given(image)
        pixels = self.reader.at_own_size(image)
        labels = slide_labels(self.model, pixels, *self.slide)
        sample = SegDataSample(
            metainfo=dict(
                img_path=None if isinstance(image, np.ndarray) else image,
                ori_shape=labels.shape,
                img_shape=labels.shape,
            )
        )
        sample.pred_sem_seg = PixelData(data=torch.from_numpy(labels)[None])
        return sample

    def _prepare(self, image: Image) -> dict:
        """The output of the test pipeline for an image."""
        image = given(image)
        loaded = self.reader.load(image)
        array = isinstance(image, np.ndarray)
        with named(image):
            return self._inferencer.pipeline(loaded['img'] if array else image)

    @torch.no_grad()
    def _predict_batch(self, data: Sequence[dict]) -> List[BaseDataElement]:
        """Predictions for prepared images, which run together.

        MMSegmentation can stack only images of the same size, so each size is
        its own batch.
        """
        batches: Dict[Any, List[int]] = {}
        for i, part in enumerate(data):
            size = part['inputs'].shape if self.segments else None
            batches.setdefault(size, []).append(i)
        samples: Dict[int, BaseDataElement] = {}
        for places in batches.values():
            batch = pseudo_collate([data[i] for i in places])
            for i, sample in zip(
                places, self.model.test_step(batch), strict=True
            ):
                if self.segments:
                    sample.pop('seg_logits', None)
                    # floats if there is one output channel
                    sample.pred_sem_seg.data = sample.pred_sem_seg.data.long()
                samples[i] = sample
        return [samples[i] for i in range(len(data))]

    def _predict_each(
        self, images: Sequence[Image]
    ) -> List[Union[BaseDataElement, UsageError]]:
        """Predictions for a batch, or what is wrong with an image."""
        results: List[Any] = []
        for image in images:
            try:
                step = self._prepare if self.slide is None else self.predict
                results.append(step(image))
            except UsageError as error:
                results.append(error)
        if self.slide is None:
            good = [i for i, r in enumerate(results) if isinstance(r, dict)]
            samples = self._predict_batch([results[i] for i in good])
            for i, sample in zip(good, samples, strict=True):
                results[i] = sample
        return results

    def draw(
        self,
        image: Image,
        sample: BaseDataElement,
        opacity: float = 0.5,
        score_thr: float = 0.3,
        truth: Optional[np.ndarray] = None,
    ) -> np.ndarray:
        """Draw a prediction.

        Args:
            image (str | Path | np.ndarray | PIL.Image.Image): The image of the
                prediction.
            sample (BaseDataElement): What :meth:`predict` returned.
            opacity (float): Opacity of the classes' colours, 0 to 1, for a
                segmentor. Defaults to 0.5.
            score_thr (float): Minimum score of the boxes, for a detector.
                Defaults to 0.3.
            truth (np.ndarray, optional): True labels (:meth:`read_truth`),
                drawn beside the prediction, with the errors.

        Returns:
            np.ndarray: A BGR picture. A segmentor's has a legend of names
            and colours; a detector's boxes have labels.

        Raises:
            UsageError: If the true labels do not have the image's shape.
        """
        image = given(image)
        pixels = self.reader.shown(image)
        if self.segments:
            labels = sample.pred_sem_seg.data[0].cpu().numpy()
            if truth is not None and truth.shape != labels.shape:
                raise UsageError(
                    f'the ground truth of {name_of(image)} must be a label '
                    f'map of its size, {labels.shape}, got {truth.shape}; '
                    'give label maps, not coloured pictures.'
                )
            return draw_segmentation(pixels, labels, self.meta, opacity, truth)
        return draw_detection(
            pixels, sample, self._inferencer.visualizer, score_thr
        )

    def read_truth(self, path: str) -> np.ndarray:
        """The labels in a segmentation data set's annotation file.

        Returns:
            np.ndarray: Shape (H, W), numbered as in the config's data set; 255
                where there are none.

        Raises:
            UsageError: If the file or the config's data set cannot be used.
        """
        if not self.segments:
            raise UsageError('ground truth can be drawn only for segmentors.')
        if not osp.isfile(path):
            raise UsageError(f'there is no ground truth {path}')
        try:
            dataset = picture_dataset(self.model.cfg)
            dataset = DATASETS.build(
                {**dataset, 'lazy_init': True, 'pipeline': []}
            )
            return LoadAnnotations().transform(
                dict(
                    seg_map_path=path,
                    label_map=dataset.label_map,
                    reduce_zero_label=dataset.reduce_zero_label,
                    seg_fields=[],
                )
            )['gt_seg_map']
        except Exception as error:
            raise UsageError(
                f'the ground truth {path} cannot be read: '
                f'{type(error).__name__}'
            ) from error

    def run(
        self,
        images: Sequence[Image],
        out_dir: Optional[str] = None,
        truth_dir: Optional[str] = None,
        opacity: float = 0.5,
        score_thr: float = 0.3,
        batch_size: int = 1,
    ) -> Iterator[Tuple[Image, Union[BaseDataElement, UsageError]]]:
        """Predict images, and continue if one cannot be read.

        Args:
            images (Sequence): What :func:`list_images` returns.
            out_dir (str, optional): Folder for the pictures, which are PNG
                files with the names of the images; arrays are numbered.
                Defaults to None.
            truth_dir (str, optional): Folder with annotation files to draw
                beside the predictions: PNG files with the names of the images.
                Defaults to None.
            opacity (float): See :meth:`draw`. Defaults to 0.5.
            score_thr (float): See :meth:`draw`. Defaults to 0.3.
            batch_size (int): How many images the model gets at a time. For a
                segmentor they must have the same size after the test pipeline;
                with ``slide`` it is always one. Defaults to 1.

        Yields:
            tuple: Each image with its prediction or its error.

        Raises:
            UsageError: If a picture would replace a file next to the images or
                annotation files (nothing is written then), or if one cannot be
                written, as on a full disk.
        """
        if not isinstance(batch_size, int) or batch_size < 1:
            raise UsageError(
                f'batch_size must be 1 or more, got {batch_size!r}.'
            )
        for name, value in (('opacity', opacity), ('score_thr', score_thr)):
            if not isinstance(value, Real) or not 0 <= value <= 1:
                raise UsageError(f'{name} must lie in 0..1, got {value!r}.')
        names = _names(images)
        if out_dir is not None:
            check_folder('out_dir', out_dir)
            paths = [im for im in images if not isinstance(im, np.ndarray)]
            if truth_dir is not None:
                paths.append(Path(truth_dir, 'truth'))
            targets = [Path(out_dir, name) for name in names]
            check_targets(targets, paths, 'out_dir')
        results = (
            result
            for start in range(0, len(images), batch_size)
            for result in self._predict_each(
                images[start : start + batch_size]
            )
        )
        for image, name, sample in zip(images, names, results, strict=True):
            try:
                if isinstance(sample, UsageError):
                    raise sample
                if out_dir is not None:
                    truth = None
                    if truth_dir is not None:
                        stem = Path(str(image)).stem
                        truth = self.read_truth(f'{truth_dir}/{stem}.png')
                    with named(image):
                        picture = self.draw(
                            image, sample, opacity, score_thr, truth
                        )
                    with replaced(Path(out_dir, name)) as path:
                        write_image(path, picture)
            except WriteError:  # the next one cannot be either
                raise
            except UsageError as error:
                yield image, error
            else:
                yield image, sample

    def __call__(
        self,
        inputs: Union[Image, Sequence[Image]],
        out_dir: Optional[str] = None,
        opacity: float = 0.5,
        score_thr: float = 0.3,
        batch_size: int = 1,
    ) -> List[BaseDataElement]:
        """Predict a file, a folder, an array, or a list of them.

        Args:
            inputs (str | Path | np.ndarray | PIL.Image.Image | Sequence): The
                images; arrays are BGR, as OpenCV reads them.
            out_dir (str, optional): Folder for the pictures. Defaults to None.
            opacity (float): See :meth:`draw`. Defaults to 0.5.
            score_thr (float): See :meth:`draw`. Defaults to 0.3.
            batch_size (int): See :meth:`run`. Defaults to 1.

        Returns:
            list[BaseDataElement]: A prediction for each image.

        Raises:
            UsageError: If one of them is not an image.
        """
        results = []
        for _, result in self.run(
            list_images(inputs),
            out_dir,
            opacity=opacity,
            score_thr=score_thr,
            batch_size=batch_size,
        ):
            if isinstance(result, UsageError):
                raise result
            results.append(result)
        print_log(
            f'{len(results)} images done', 'current', level=logging.DEBUG
        )
        return results


def _names(images: Sequence[Image]) -> List[str]:
    """A different file name for the picture of each image."""
    names: List[str] = []
    taken = set()
    for i, image in enumerate(images):
        if isinstance(image, np.ndarray):
            candidates = [f'{i:08d}.png']
        else:
            path = Path(image)
            candidates = [f'{path.stem}.png', f'{path.name}.png']
        candidates.append(f'{i:08d}_{candidates[0]}')
        names.append(next(n for n in candidates if n not in taken))
        taken.add(names[-1])
    return names


def _slide(
    slide: Union[int, Sequence[int], None],
) -> Optional[Tuple[Tuple[int, int], Tuple[int, int]]]:
    """Size and stride of the windows, each as height and width."""
    if slide is None:
        return None
    sizes = list(slide) if isinstance(slide, (list, tuple)) else [slide]
    whole = all(isinstance(size, int) for size in sizes)
    if whole and len(sizes) == 1:
        sizes.append(max(sizes[0] * 2 // 3, 1))
    if not whole or len(sizes) != 2 or not 0 < sizes[1] <= sizes[0]:
        raise UsageError(
            'slide must be the size of a window, and a stride no larger than '
            f'it, got {slide}.'
        )
    return (sizes[0], sizes[0]), (sizes[1], sizes[1])
