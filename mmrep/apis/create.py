"""Models as plain modules, for users with their own training loop."""

from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from mmrep.apis.folder import load_weights, read_folder, save_folder
from mmrep.apis.targets import check_integers, check_tensor, read_target
from mmrep.checkpoint import (
    check_fit,
    fit_pretrained,
    get_state_dict,
    load_checkpoint,
)
from mmrep.checkpoint.fit import compare_states
from mmrep.compat.noise import quiet
from mmrep.data.datasets import dataset_meta
from mmrep.data.heads import heads, input_channels, num_labels
from mmrep.deploy import build_model
from mmrep.deploy.models import model_kind
from mmrep.engine import load_config
from mmrep.errors import UsageError
from mmrep.files import as_path
from mmrep.models.initialise import initialise

Images = Union[Tensor, Sequence[Tensor]]


@quiet()
def create_model(
    config: Union[str, Config],
    num_classes: Optional[int] = None,
    pretrained: Optional[str] = None,
    classes: Optional[Sequence[str]] = None,
) -> Union['Segmentor', 'Detector']:
    """Build a segmentor or detector as a plain module.

    Args:
        config (str | Config): Name of one of mmrep's configs, such as
            'upernet_replknet31b_ade20k', path of a config, or a config.
        num_classes (int, optional): Number of classes of every head. Defaults
            to None, the number of ``classes`` or that of the config.
        pretrained (str, optional): A checkpoint of such a model, or released
            weights of the backbone. Parameters with other shapes start from
            random weights. Defaults to None, random weights.
        classes (Sequence[str], optional): Names of the classes, which are
            saved with the model. Defaults to None, the names that the file or
            the config has for this number.

    Returns:
        Segmentor | Detector: The model, in training mode.

    Raises:
        UsageError: If the config or the file cannot be used, ``classes`` are
            not different names, or not ``num_classes`` of them.
    """
    if not isinstance(config, Config):
        config = load_config(str(as_path(config, 'config')))
    cfg = Config(config.to_dict())
    if classes is not None and (
        not isinstance(classes, Sequence)
        or isinstance(classes, str)
        or not all(isinstance(name, str) for name in classes)
        or len(set(classes)) < len(classes)
    ):
        raise UsageError(
            f'classes must be different names in a list, got {classes!r}.'
        )
    if classes is not None and num_classes is None:
        num_classes = len(classes)
    if num_classes is not None:
        count = num_classes if classes is None else len(classes)
        if type(num_classes) is not int or not num_classes == count > 0:
            raise UsageError(
                'num_classes must be 1 or more, and as many as classes, got '
                f'{num_classes!r} and {classes}.'
            )
        _set_classes(cfg.get('model'), num_classes)
    drop_weights(cfg.get('model'))
    model = build_model(cfg)
    initialise(model)
    meta = dataset_meta(cfg, {})
    if pretrained is not None:
        pretrained = str(as_path(pretrained, 'pretrained'))
        loaded = load_checkpoint(pretrained)
        meta = dataset_meta(cfg, loaded)
        _load(model, get_state_dict(loaded), pretrained)
    known = meta.get('classes')
    if classes is None and len(known or ()) == _count_classes(model):
        classes = known
    return _wrap(model, cfg, classes).train()


@quiet()
def from_pretrained(folder: str) -> Union['Segmentor', 'Detector']:
    """Load a model saved by ``save_pretrained``.

    Nothing in the folder is executed: the config is data, and may name only
    registered classes, not files.

    Args:
        folder (str): The folder.

    Returns:
        Segmentor | Detector: The model, in evaluation mode.

    Raises:
        UsageError: If the folder lacks something, does not fit, or names
            something that is not allowed.
    """
    cfg, classes, weights = read_folder(folder)
    model = build_model(cfg)
    load_weights(model, weights)
    return _wrap(model, cfg, classes).eval()


def _wrap(
    model: nn.Module, cfg: Config, classes: Optional[Sequence[str]]
) -> Union['Segmentor', 'Detector']:
    """The plain module around a model of MMSegmentation or MMDetection."""
    kinds = dict(segmentor=Segmentor, detector=Detector)
    return kinds[model_kind(model)](model, cfg, classes)


def _set_classes(node: Any, number: int) -> None:
    """Set every ``num_classes`` in a model's config."""
    for key, value in list(_items(node)):
        if key == 'num_classes':
            node[key] = number
        _set_classes(value, number)


def drop_weights(node: Any) -> None:
    """Remove the files that parts of a model would start from."""
    for key, value in list(_items(node)):
        file = isinstance(value, dict) and 'checkpoint' in value
        if (key == 'init_cfg' and file) or key == 'pretrained':
            node[key] = None
        drop_weights(value)


def _items(node: Any) -> Any:
    if isinstance(node, dict):
        return node.items()
    return enumerate(node) if isinstance(node, (list, tuple)) else ()


def _count_classes(model: nn.Module) -> Optional[int]:
    heads = (m for m in model.modules() if hasattr(m, 'num_classes'))
    # a detector's first head may be its RPN, which has one class
    return max((head.num_classes for head in heads), default=None)


def _load(model: nn.Module, state: Dict[str, Tensor], filename: str) -> None:
    """Load what fits the whole model or else its backbone."""
    own = model.state_dict()
    if not own.keys() & state.keys():
        result = fit_pretrained(model.backbone, filename)
        model.backbone.load_state_dict(result.state, strict=False)
        return
    warning = check_fit(model, state, strict=False)
    if warning is not None:
        print_log(warning, 'current')
    fitting = compare_states(own, state)[0]
    model.load_state_dict({key: state[key] for key in fitting}, strict=False)


class _PlainModel(nn.Module):
    """A model of MMSegmentation or MMDetection that takes tensors.

    Args:
        model (nn.Module): The model.
        cfg (Config): Its config.
        classes (Sequence[str], optional): The names of the classes.

    Attributes:
        model: The model, whose parameters have the names of checkpoints.
        cfg: Its config.
        classes: The names of the classes, None if they are not known.
    """

    def __init__(
        self,
        model: nn.Module,
        cfg: Config,
        classes: Optional[Sequence[str]],
    ) -> None:
        super().__init__()
        self.model = model
        self.cfg = cfg
        self.classes = None if classes is None else tuple(classes)
        self._channels = input_channels(model)
        self._is_first = True  # for the images, whose range is checked

    def save_pretrained(self, folder: str) -> None:
        """Save the weights, the config and a README into a folder.

        Args:
            folder (str): The folder, which is created if needed; its
                ``config.json``, ``model.safetensors`` and ``README.md`` are
                replaced. Read it with :func:`mmrep.from_pretrained`.

        Raises:
            UsageError: If safetensors is not installed,
                :func:`mmrep.from_pretrained` would not read the config, or the
                folder cannot be written. It is then as it was before.
        """
        save_folder(folder, self.model, self.cfg, self.classes)

    def _normalise(self, image: Tensor) -> Tensor:
        """RGB images (..., 3, H, W) in the form that the network takes."""
        check_tensor(image, 'an image')
        if image.dim() < 3 or image.shape[-3] != self._channels:
            raise UsageError(
                f'images must have {self._channels} channels in front of '
                f'height and width, got the shape {tuple(image.shape)}.'
            )
        if image.is_floating_point():
            # interpolation may exceed this slightly; a GPU would wait for each
            looks = self._is_first or image.device.type == 'cpu'
            if looks and image.numel() and not image.max() <= 2:
                raise UsageError(
                    'images must be floats from 0 to 1 or uint8 from 0 to '
                    f'255, got floats up to {float(image.max()):g}.'
                )
            image = image * 255
        self._is_first = False
        known = self.model.data_preprocessor
        # what the config converts from BGR to RGB is already RGB here
        if self._channels == 3 and not known._channel_conversion:
            image = image.flip(-3)
        if not known._enable_normalize:
            return image.float()
        device = image.device
        return (image - known.mean.to(device)) / known.std.to(device)

    def _losses(self, losses: Dict[str, Any]) -> Dict[str, Tensor]:
        """The terms of the loss, as numbers to add."""
        return {
            name: sum(part.mean() for part in parts)
            if isinstance(parts, (list, tuple))
            else parts.mean()
            for name, parts in losses.items()
            if 'loss' in name
        }


class Segmentor(_PlainModel):
    """A segmentor that takes and returns tensors.

    It is built by :func:`mmrep.create_model`.
    """

    def forward(
        self, images: Tensor, targets: Optional[Tensor] = None
    ) -> Union[Tensor, Dict[str, Tensor]]:
        """Logits of each pixel, or the losses of the config's heads.

        Args:
            images (Tensor): Shape (N, C, H, W), RGB as torchvision's
                transforms return it: uint8 from 0 to 255, or floats from 0 to
                1. The model normalises them. On a GPU, only the first batch is
                checked for this range, because the GPU would wait each time.
            targets (Tensor, optional): Labels of shape (N, H, W), integers;
                pixels with the config's ``ignore_index``, 255, are ignored.
                Defaults to None.

        Returns:
            Tensor | dict[str, Tensor]: Without targets, logits of shape (N,
            classes, H, W). With them, the losses of all heads by name,
            including auxiliary ones; MMSegmentation minimises their sum.
        """
        is_first = self._is_first
        check_tensor(images, 'images')
        x = self._normalise(images)
        if x.dim() != 4:
            raise UsageError(
                'images must have the shape (N, C, H, W), got '
                f'{tuple(images.shape)}.'
            )
        meta = dict(img_shape=x.shape[2:], ori_shape=x.shape[2:])
        if targets is None:
            return self.model.encode_decode(x, [dict(meta) for _ in x])
        check_tensor(targets, 'targets')
        if targets.shape != (len(x), *x.shape[2:]):
            raise UsageError(
                f'targets must have the shape {(len(x), *x.shape[2:])}, got '
                f'{tuple(targets.shape)}.'
            )
        check_integers(targets, 'targets')
        if is_first:  # on a GPU a wrong label ends the process
            self._check_labels(targets)
        samples = [
            SegDataSample(
                metainfo=meta, gt_sem_seg=PixelData(data=labels[None].long())
            )
            for labels in targets
        ]
        try:
            return self._losses(self.model.loss(x, samples))
        except IndexError:
            self._check_labels(targets)
            raise

    def _check_labels(self, targets: Tensor) -> None:
        """Raise if a head does not have a label; a GPU waits for this."""
        for _, head in heads(self.model):
            known = num_labels(head)
            wrong = (targets < 0) | (targets >= known)
            wrong &= targets != getattr(head, 'ignore_index', None)
            if wrong.any():
                raise UsageError(
                    f'targets must be labels of 0 to {known - 1}, or '
                    f'{head.ignore_index} for pixels to ignore, got '
                    f'{int(targets[wrong][0])}.'
                )


class Detector(_PlainModel):
    """A detector that takes and returns tensors, as torchvision's do.

    It is built by :func:`mmrep.create_model`.
    """

    def forward(
        self,
        images: Images,
        targets: Optional[Sequence[Dict[str, Tensor]]] = None,
    ) -> Union[List[Dict[str, Tensor]], Dict[str, Tensor]]:
        """Detections, or the losses of the config's heads.

        Args:
            images (Tensor | Sequence[Tensor]): Shape (N, C, H, W), or images
                of (C, H, W) that differ in size, RGB as torchvision's
                transforms return it: uint8 from 0 to 255, or floats from 0 to
                1. The model normalises and pads them; it does not resize them.
            targets (Sequence[dict], optional): For each image, ``boxes`` of
                shape (n, 4) with corners x1, y1, x2, y2 in pixels; ``labels``
                of shape (n,), from 0 on; ``masks`` of shape (n, H, W) if the
                model has a mask head. Defaults to None.

        Returns:
            list[dict] | dict[str, Tensor]: Without targets, for each image
            ``boxes``, ``labels``, ``scores`` and perhaps ``masks``, as in
            targets, the best first. With them, the losses by name; MMDetection
            minimises their sum.
        """
        if not isinstance(images, (Tensor, list, tuple)) or not len(images):
            raise UsageError(
                'images must be a tensor of (N, C, H, W) or a list of images, '
                f'got a {type(images).__name__} without them.'
            )
        images = [self._normalise(image) for image in images]
        if any(image.dim() != 3 for image in images):
            raise UsageError(
                'each image must have the shape (C, H, W), got '
                f'{[tuple(image.shape) for image in images]}.'
            )
        shapes = [tuple(image.shape[1:]) for image in images]
        batch = self._pad(images)
        padded = tuple(batch.shape[2:])
        samples = [self._sample(shape, padded) for shape in shapes]
        if targets is None:
            found = self.model.predict(batch, samples, rescale=True)
            return [_detections(sample.pred_instances) for sample in found]
        several = isinstance(targets, (list, tuple))
        if not several or len(targets) != len(images):
            got = len(targets) if several else f'a {type(targets).__name__}'
            raise UsageError(
                f'targets must be a dict for each of {len(images)} images, '
                f'got {got}.'
            )
        for sample, target in zip(samples, targets, strict=True):
            self._add_target(sample, target, padded)
        return self._losses(self.model.loss(batch, samples))

    def _pad(self, images: Sequence[Tensor]) -> Tensor:
        """One batch, padded at the bottom and on the right."""
        divisor = self.model.data_preprocessor.pad_size_divisor or 1
        value = float(self.model.data_preprocessor.pad_value)
        height, width = (
            -(-max(image.shape[i] for image in images) // divisor) * divisor
            for i in (1, 2)
        )
        return torch.stack(
            [
                F.pad(
                    image,
                    (0, width - image.shape[2], 0, height - image.shape[1]),
                    value=value,
                )
                for image in images
            ]
        )

    def _sample(self, shape: Tuple[int, ...], padded: Tuple[int, ...]) -> Any:
        from mmdet.structures import DetDataSample

        return DetDataSample(
            metainfo=dict(
                img_shape=shape,
                ori_shape=shape,
                pad_shape=padded,
                batch_input_shape=padded,
                scale_factor=(1.0, 1.0),
            )
        )

    def _add_target(
        self, sample: Any, target: Dict[str, Tensor], padded: Tuple[int, ...]
    ) -> None:
        with_masks = bool(getattr(self.model, 'with_mask', False))
        found = read_target(
            target, sample.img_shape, _count_classes(self.model), with_masks
        )
        instances = InstanceData(bboxes=found['boxes'], labels=found['labels'])
        if with_masks:
            from mmdet.structures.mask import BitmapMasks

            masks = BitmapMasks(
                found['masks'].cpu().numpy(), *sample.img_shape
            )
            instances.masks = masks.pad(padded)
        sample.gt_instances = instances
        sample.ignored_instances = InstanceData(
            bboxes=found['boxes'].new_zeros(0, 4),
            labels=found['labels'].new_zeros(0),
        )


def _detections(found: InstanceData) -> Dict[str, Tensor]:
    names = dict(bboxes='boxes', labels='labels', scores='scores')
    if 'masks' in found:
        names['masks'] = 'masks'
    return {name: found[key] for key, name in names.items()}
