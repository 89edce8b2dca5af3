from mmrep.engine.config import (
    check_data,
    enable_amp,
    enable_aug_test,
    enable_drawing,
    enable_output,
    load_config,
    set_data_root,
    set_work_dir,
)
from mmrep.engine.distributed import CPUDistributedDataParallel
from mmrep.engine.hooks import CheckpointGuardHook, LoggerHook
from mmrep.engine.imagenet import (
    FolderDataset,
    PackClassification,
    ThroughputHook,
    TopKAccuracy,
)
from mmrep.engine.launch import build_runner
from mmrep.engine.layer_decay import LayerDecayOptimWrapperConstructor
from mmrep.engine.loops import EpochBasedTrainLoop, IterBasedTrainLoop
from mmrep.engine.optim import AmpOptimWrapper, OptimWrapper
from mmrep.engine.resume import enable_resume
from mmrep.engine.sampler import ResumableInfiniteSampler, ResumableSampler
from mmrep.engine.saving import CheckpointHook, FlexibleRunner, Runner
from mmrep.engine.sharding import FSDPStrategy, GatherForValidationHook
from mmrep.engine.tta import InstanceTTAModel

__all__ = [
    'AmpOptimWrapper',
    'CPUDistributedDataParallel',
    'CheckpointGuardHook',
    'CheckpointHook',
    'EpochBasedTrainLoop',
    'FSDPStrategy',
    'FlexibleRunner',
    'FolderDataset',
    'GatherForValidationHook',
    'InstanceTTAModel',
    'IterBasedTrainLoop',
    'LayerDecayOptimWrapperConstructor',
    'LoggerHook',
    'OptimWrapper',
    'PackClassification',
    'ResumableInfiniteSampler',
    'ResumableSampler',
    'Runner',
    'ThroughputHook',
    'TopKAccuracy',
    'build_runner',
    'check_data',
    'enable_amp',
    'enable_aug_test',
    'enable_drawing',
    'enable_output',
    'enable_resume',
    'load_config',
    'set_data_root',
    'set_work_dir',
]
