"""Comparing what a checkpoint holds with what a model needs."""

from typing import Dict, List, Optional

from torch import Tensor, nn

from mmrep.checkpoint.loading import CheckpointError

# Parts of the names of parameters that only a merged model has.
MERGED = ('lkb_reparam', 'lk_origin.bias', 'dwconv.bias')


def _some(keys: List[str]) -> str:
    more = f' and {len(keys) - 3} more' if len(keys) > 3 else ''
    return ', '.join(keys[:3]) + more


def check_fit(
    model: nn.Module, found: Dict[str, Tensor], strict: bool = True
) -> Optional[str]:
    """Compare the tensors of a checkpoint with a model's parameters.

    Args:
        model (nn.Module): The model that will load them.
        found (dict[str, Tensor]): What
            :func:`mmrep.checkpoint.get_state_dict` returns.
        strict (bool): Ask for every parameter of the model. Otherwise one
            that fits is enough. Defaults to True.

    Returns:
        str, optional: A warning, if something differs that need not fit.

    Raises:
        CheckpointError: If it does not fit.
    """
    expected = model.state_dict()
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
    if not missing and not other_shape and not unexpected:
        return None
    fits = len(common) > len(other_shape)
    merged = any(part in key for key in unexpected for part in MERGED)
    if fits and not ((missing or other_shape) and (strict or merged)):
        return _describe_start(missing, other_shape, unexpected)
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
            f'{len(unexpected)} are unknown to the model ({_some(unexpected)})'
        )
    if not merged:
        advice = 'give the checkpoint that was trained with this config'
    elif strict:
        advice = (
            'it is in deploy form, so give the config that was written '
            'beside it, or set model.backbone.deploy=True if only its '
            'backbone is merged'
        )
    else:
        advice = (
            'it is in deploy form, which cannot be trained: give the '
            'checkpoint that it was merged from'
        )
    raise CheckpointError(
        'the checkpoint does not fit the model of the config: '
        f'{"; ".join(problems)}; {advice}.'
    )


def _describe_start(
    missing: List[str], other_shape: List[str], unexpected: List[str]
) -> str:
    """Say what a model takes from a file that has not all, or more."""
    parts = []
    anew = sorted([*missing, *other_shape])
    if anew:
        parts.append(
            f'{len(anew)} parameters start anew, which the checkpoint '
            f'lacks or has in another shape ({_some(anew)})'
        )
    if unexpected:
        parts.append(
            f'{len(unexpected)} of the checkpoint are not used '
            f'({_some(unexpected)})'
        )
    return f'the model starts from the checkpoint; {"; ".join(parts)}.'
