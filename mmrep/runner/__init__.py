"""Hardened parts of MMEngine: runs can stop and resume, and say why."""

from mmrep.runner.check_hook import SegmentationCheckHook
from mmrep.runner.checkpoint_hook import CheckpointHook
from mmrep.runner.distributed import CPUDistributedDataParallel
from mmrep.runner.hooks import (
    CheckpointGuardHook,
    HalfPrecisionHook,
    LoggerHook,
    ThroughputHook,
)
from mmrep.runner.layer_decay import LayerDecayOptimWrapperConstructor
from mmrep.runner.loops import (
    EpochBasedTrainLoop,
    IterBasedTrainLoop,
    TestLoop,
    ValLoop,
)
from mmrep.runner.optim_wrapper import AmpOptimWrapper, OptimWrapper
from mmrep.runner.resume import enable_resume
from mmrep.runner.runner import FlexibleRunner, Runner
from mmrep.runner.sampler import ResumableInfiniteSampler, ResumableSampler
from mmrep.runner.saving import LocalVisBackend
from mmrep.runner.sharding import FSDPStrategy, GatherForValidationHook

__all__ = [
    'AmpOptimWrapper',
    'CPUDistributedDataParallel',
    'CheckpointGuardHook',
    'CheckpointHook',
    'EpochBasedTrainLoop',
    'FSDPStrategy',
    'FlexibleRunner',
    'GatherForValidationHook',
    'HalfPrecisionHook',
    'IterBasedTrainLoop',
    'LayerDecayOptimWrapperConstructor',
    'LocalVisBackend',
    'LoggerHook',
    'OptimWrapper',
    'ResumableInfiniteSampler',
    'ResumableSampler',
    'Runner',
    'SegmentationCheckHook',
    'TestLoop',
    'ThroughputHook',
    'ValLoop',
    'enable_resume',
]
