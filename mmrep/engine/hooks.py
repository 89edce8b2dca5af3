"""Hooks that the tools add to a run."""

from typing import List

from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from mmrep.checkpoint import CheckpointError, get_state_dict
from mmrep.registry import HOOKS


def _some(keys: List[str]) -> str:
    more = f' and {len(keys) - 3} more' if len(keys) > 3 else ''
    return ', '.join(keys[:3]) + more


@HOOKS.register_module()
class CheckpointGuardHook(Hook):
    """Compare a checkpoint with the model before it is loaded.

    MMEngine only warns of parameters that do not fit, and then trains or
    tests with random ones. This hook raises.

    Args:
        strict (bool): Ask for every parameter of the model, as a test or a
            resumed run does. Otherwise one that fits is enough, as when
            fine-tuning. Defaults to True.
        resume (bool): Ask for what a resumed run needs beside parameters.
            Defaults to False.
    """

    def __init__(self, strict: bool = True, resume: bool = False) -> None:
        self.strict = strict
        self.resume = resume

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Check ``checkpoint`` against the runner's model.

        Raises:
            CheckpointError: If it does not fit.
        """
        needed = ('meta', 'message_hub', 'optimizer') if self.resume else ()
        absent = [key for key in needed if key not in checkpoint]
        if absent:
            raise CheckpointError(
                'a run cannot be resumed from this checkpoint, it holds no '
                f'{" and no ".join(absent)}; to start from its weights, '
                'leave out --resume and pass --cfg-options load_from=PATH.'
            )
        model: nn.Module = runner.model
        while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
            model = model.module
        expected = model.state_dict()
        found = get_state_dict(checkpoint)
        missing = sorted(
            key
            for key in expected.keys() - found.keys()
            if not key.endswith('num_batches_tracked')
        )
        common = expected.keys() & found.keys()
        other_shape = sorted(
            key for key in common if expected[key].shape != found[key].shape
        )
        unexpected = sorted(found.keys() - expected.keys())
        problems = []
        if missing:
            problems.append(
                f'{len(missing)} parameters of the model are '
                f'missing ({_some(missing)})'
            )
        if other_shape:
            key = other_shape[0]
            problems.append(
                f'{len(other_shape)} have another shape ({key}: '
                f'{tuple(found[key].shape)} instead of '
                f'{tuple(expected[key].shape)})'
            )
        if unexpected:
            problems.append(
                f'{len(unexpected)} are unknown to the model '
                f'({_some(unexpected)})'
            )
        if not problems:
            return
        text = (
            'the checkpoint does not fit the model of the config: '
            + '; '.join(problems)
        )
        fits = len(common) > len(other_shape)
        if not fits or (self.strict and (missing or other_shape)):
            merged = any('lkb_reparam' in key for key in unexpected)
            advice = (
                'it is in deploy form, so set model.backbone.deploy=True'
                if merged
                else 'give the checkpoint that was trained with this config'
            )
            raise CheckpointError(f'{text}; {advice}.')
        runner.logger.warning(f'{text}.')
