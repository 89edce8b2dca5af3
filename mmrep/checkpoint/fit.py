"""Compare what a checkpoint holds with what a model needs."""

from typing import Dict, Iterable, List, NamedTuple, Optional

from torch import Tensor, nn

from mmrep.checkpoint.loading import CheckpointError
from mmrep.errors import counted, listed

# Parts of the names of parameters that only a merged model has.
MERGED = ('lkb_reparam', 'lk_origin.bias', 'dwconv.bias')


class Comparison(NamedTuple):
    """How the tensors of a file and the parameters of a model differ.

    Attributes:
        fitting: Keys that both have, with the same shape.
        missing: Keys of the model that the file lacks, except for batch
            counters, which old files do not have.
        mismatched: Keys whose shapes differ, with both shapes.
        unexpected: Keys of the file that the model does not have.
    """

    fitting: List[str]
    missing: List[str]
    mismatched: List[str]
    unexpected: List[str]


def compare_states(
    expected: Dict[str, Tensor], found: Dict[str, Tensor]
) -> Comparison:
    """Compare a model's state dict with a file's, key by key."""
    result = Comparison([], [], [], [])
    for key in sorted(expected.keys() | found.keys()):
        if key not in expected:
            result.unexpected.append(key)
        elif key not in found:
            if not key.endswith('num_batches_tracked'):
                result.missing.append(key)
        elif found[key].shape != expected[key].shape:
            result.mismatched.append(
                f'{key}: {tuple(found[key].shape)} instead of '
                f'{tuple(expected[key].shape)}'
            )
        else:
            result.fitting.append(key)
    return result


def problems(
    missing: List[str], mismatched: List[str], unexpected: List[str]
) -> str:
    """Differences as part of a line, or '' if there are none."""
    return '; '.join(
        f'{len(keys)} {kind} ({listed(keys, 3)})'
        for kind, keys in (
            ('parameters of the model are missing', missing),
            ('have another shape', mismatched),
            ('are unknown to the model', unexpected),
        )
        if keys
    )


def refuse_fused_windows(found: Iterable[str]) -> None:
    """Refuse WBMM's files in the authors' deploy form.

    Args:
        found (Iterable[str]): Names of the tensors.

    Raises:
        CheckpointError: If it is such a file.
    """
    fused = [k for k in found if k.endswith(('.R_fused', '.M_fused'))]
    if fused:
        raise CheckpointError(
            "the checkpoint is WBMM in the authors' deploy form, which cannot "
            f'be read ({listed(fused, 3)}); give the training form that it '
            'was made from, and merge that with tools/reparameterize.py.'
        )


def check_fit(
    model: nn.Module, found: Dict[str, Tensor], strict: bool = True
) -> Optional[str]:
    """Compare the tensors of a checkpoint with a model's parameters.

    Args:
        model (nn.Module): The model that will load them.
        found (dict[str, Tensor]): What
            :func:`mmrep.checkpoint.get_state_dict` returns.
        strict (bool): Require every parameter of the model. Otherwise one that
            fits is enough. Defaults to True.

    Returns:
        str, optional: A warning, if something differs that does not have to
            fit.

    Raises:
        CheckpointError: If it does not fit.
    """
    refuse_fused_windows(found)
    fitting, *differing = compare_states(model.state_dict(), found)
    missing, mismatched, unexpected = differing
    if not any(differing):
        return None
    merged = any(part in key for key in unexpected for part in MERGED)
    text = (
        'the checkpoint does not fit the model of the config: '
        f'{problems(*differing)}'
    )
    lacking = missing or mismatched
    if fitting and not (lacking and (strict or merged)):
        if strict:
            return f'{text}.'
        return _describe_start([*missing, *mismatched], unexpected)
    if not merged:
        advice = 'give the checkpoint that was trained with this config'
    elif strict:
        advice = (
            'it is in deploy form, so give the config that was written with '
            'it, or set model.backbone.deploy=True if only its backbone is '
            'merged'
        )
    else:
        advice = (
            'it is in deploy form, which cannot be trained: give the '
            'checkpoint it was merged from'
        )
    raise CheckpointError(f'{text}; {advice}.')


def _describe_start(anew: List[str], unexpected: List[str]) -> str:
    """Say what a model takes from a file with missing or extra keys."""
    parts = []
    if anew:
        parts.append(
            f'initial values remain in {counted(len(anew), "parameter")}, '
            'which the checkpoint lacks or holds in another shape '
            f'({listed(anew, 3)})'
        )
    if unexpected:
        parts.append(
            f'not used: {len(unexpected)} of the checkpoint '
            f'({listed(unexpected, 3)})'
        )
    return f'the model starts from the checkpoint; {"; ".join(parts)}.'
