from mmrep.engine.config import (
    check_data,
    enable_amp,
    enable_aug_test,
    enable_drawing,
    enable_output,
    enable_resume,
    load_config,
    set_data_root,
    set_work_dir,
)
from mmrep.engine.distributed import CPUDistributedDataParallel
from mmrep.engine.hooks import CheckpointGuardHook
from mmrep.engine.imagenet import (
    FolderDataset,
    PackClassification,
    ThroughputHook,
    TopKAccuracy,
)
from mmrep.engine.launch import build_runner
from mmrep.engine.layer_decay import LayerDecayOptimWrapperConstructor
from mmrep.engine.tta import InstanceTTAModel

__all__ = [
    'CPUDistributedDataParallel',
    'CheckpointGuardHook',
    'FolderDataset',
    'InstanceTTAModel',
    'LayerDecayOptimWrapperConstructor',
    'PackClassification',
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
