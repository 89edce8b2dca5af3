"""A training step on random images, as a function to time."""

import copy
from typing import Any, Callable, Dict, Sequence, Tuple

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.structures import PixelData
from torch import nn

from mmrep.deploy import build_model
from mmrep.errors import UsageError
from mmrep.models.layers.norms import SingleImageBatchNorm
from mmrep.runner.optim_wrapper import AmpOptimWrapper, OptimWrapper
from mmrep.runner.speed import use_speed_switches


def build_training_step(
    cfg: Config,
    shape: Tuple[int, int],
    batch_size: int,
    device: str = 'cpu',
    switches: Sequence[str] = (),
) -> Callable[[], Any]:
    """Build a model with random weights and its training step.

    The step has the forward and backward pass and an AdamW update, whatever
    optimizer the config names, so that models can be compared.

    Args:
        cfg (Config): Config of a segmentor or detector.
        shape (tuple[int, int]): Height and width of the images.
        batch_size (int): Images per batch.
        device (str): 'cpu' or 'cuda'. Defaults to 'cpu'.
        switches (Sequence[str]): Some of 'bf16', 'fp16', 'channels_last',
            'compile' and 'with_cp'. Defaults to none.

    Returns:
        Callable: Runs one step.

    Raises:
        UsageError: If the model is something else.
    """
    cfg = copy.deepcopy(cfg)
    cfg.model.backbone.init_cfg = None
    if 'with_cp' in switches:
        cfg.model.backbone.with_cp = True
    if 'size' in cfg.model.get('data_preprocessor', {}):
        cfg.model.data_preprocessor.size = shape  # otherwise smaller ones grow
    model = revert_sync_batchnorm(build_model(cfg)).to(device)
    if batch_size == 1:
        SingleImageBatchNorm.convert(model)
    on = dict(
        channels_last='channels_last' in switches,
        compile_backbone='compile' in switches,
    )
    use_speed_switches(Config(on), model)
    model.train()
    batch = _random_batch(model, shape, batch_size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    dtypes = {'fp16', 'bf16'} & set(switches)
    if dtypes:
        wrapper = AmpOptimWrapper(optimizer, dtype=dtypes.pop())
    else:
        wrapper = OptimWrapper(optimizer)
    return lambda: model.train_step(copy.deepcopy(batch), wrapper)


def _random_batch(
    model: nn.Module, shape: Tuple[int, int], batch_size: int
) -> Dict[str, list]:
    """Random images with annotations, as from a data loader."""
    if hasattr(model, 'decode_head'):
        return _segmentation_batch(model, shape, batch_size)
    if hasattr(model, 'bbox_head') or hasattr(model, 'roi_head'):
        from mmdet.testing import demo_mm_inputs

        return demo_mm_inputs(
            batch_size,
            image_shapes=[(3, *shape)] * batch_size,
            num_items=[8] * batch_size,
            num_classes=2,  # every data set has the first classes
            with_mask=getattr(model, 'with_mask', False),
        )
    raise UsageError(
        'training is measured for segmentors and detectors, got '
        f'{type(model).__name__}.'
    )


def _segmentation_batch(
    model: nn.Module, shape: Tuple[int, int], batch_size: int
) -> Dict[str, list]:
    from mmseg.structures import SegDataSample

    head = model.decode_head
    head = head[-1] if isinstance(head, nn.ModuleList) else head
    meta = dict(img_shape=shape, ori_shape=shape, pad_shape=shape)
    images, samples = [], []
    for _ in range(batch_size):
        images.append(torch.randint(0, 256, (3, *shape), dtype=torch.uint8))
        sample = SegDataSample(metainfo=meta)
        labels = torch.randint(0, head.num_classes, (1, *shape))
        sample.gt_sem_seg = PixelData(data=labels)
        samples.append(sample)
    return dict(inputs=images, data_samples=samples)
