"""Say in one line which part of a run fails as it starts.

Much of a config is read only when the model computes, so the first batch is
where values that do not fit end in an error. What fails later is not a slip
in the config, and keeps its traceback.
"""

import logging
import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, Tuple

import torch
from mmengine.hooks import Hook
from mmengine.logging import MMLogger, print_log
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper, _ParamScheduler
from mmengine.registry import Registry
from mmengine.runner import Runner
from torch import nn

from mmrep.errors import UsageError, explain_channels
from mmrep.files import is_full
from mmrep.models.tta import unwrapped
from mmrep.registry import reason_of, type_name
from mmrep.runner.faults import explained_faults
from mmrep.runner.optim_wrapper import NonFiniteError
from mmrep.runner.sampler import seeded

# Models whose predictions do not depend on what training leaves in them.
_KNOWN = ('mmdet.', 'mmrep.', 'mmseg.')


@contextmanager
def explained_start(runner: Runner, what: str) -> Iterator[None]:
    """Name the part that fails; its traceback is only in the log file.

    Args:
        runner (Runner): The run.
        what (str): Beginning of the line, such as 'the run stops at the first
            batch of train_dataloader'.

    Raises:
        UsageError: Instead of any error but a full disk's, a lost process's
            and a loss's that is not finite.
    """
    try:
        with explained_faults():
            yield
    except (NonFiniteError, UsageError):
        raise
    except Exception as error:  # of any kind
        if is_full(error):
            raise
        if isinstance(error, TypeError) and error.__suppress_context__:
            # MMEngine's runners raise another one, which names the hook
            error = error.__context__ or error
        raise UsageError(
            f'{what}: {_reason(error, runner)}; {_log_traceback(error)}.'
        ) from error


def try_prediction(runner: Runner) -> None:
    """Predict a sample before training, so that validation does not fail late.

    Random numbers and the model stay as they are.

    Raises:
        UsageError: If the model cannot predict.
    """
    model = unwrapped(runner.model)
    if runner.val_loop is None or not type(model).__module__.startswith(
        _KNOWN
    ):
        return
    if runner.cfg.get('compile_backbone'):  # compiling depends on the order
        return
    wrapper = type(runner.model).__name__
    if is_model_wrapper(runner.model) and 'Distributed' not in wrapper:
        return  # FSDP: one process does not have all weights
    loader = runner.val_loop.dataloader
    modes = {m: m.training for m in model.modules()}
    with (
        explained_start(runner, 'the model cannot predict for val_dataloader'),
        seeded(0),
        torch.no_grad(),
    ):
        model.eval()
        model.val_step(loader.collate_fn([loader.dataset[0]]))
    for module, mode in modes.items():
        module.training = mode


def _reason(error: BaseException, runner: Runner) -> str:
    """The part of the config that fails, and why."""
    place, part = _find_part(error, runner)
    where = f'{place} ({type(part).__name__})' if place else ''
    layer = f'a layer of {where or "the model"}'
    channels = explain_channels(error, layer)
    if channels:
        return channels
    text = reason_of(error)
    last = traceback.extract_tb(error.__traceback__)[-1]
    line = last.line or 'raise'  # which repeats the text
    if len(text) < 60 and line not in text and not line.startswith('raise'):
        text += f' at {line!r} ({Path(last.filename).name})'
    return f'{where or "it"} fails with {text}'


def _find_part(error: BaseException, runner: Runner) -> Tuple[str, Any]:
    """The innermost part of the run or the model that is in the config."""
    model = unwrapped(runner.model)
    names = {id(m): name for name, m in model.named_modules() if name}
    found: Tuple[str, Any] = '', None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        part = frame.f_locals.get('hook', frame.f_locals.get('self'))
        if isinstance(part, Hook):
            found = _hook_key(part, runner.cfg), part
        elif isinstance(part, OptimWrapper):
            found = 'optim_wrapper', part
        elif isinstance(part, _ParamScheduler):
            found = 'param_scheduler', part
        elif isinstance(part, nn.Module) and id(part) in names:
            key = _model_key(names[id(part)], runner.cfg.get('model'))
            if key:
                inner = model.get_submodule(key)
                found = f'model.{key}', inner
    return found


def _model_key(name: str, node: Any) -> str:
    """The beginning of a module's name that is also in the config."""
    while isinstance(node, dict) and 'module' in node:
        node = node['module']  # of test-time augmentation
    parts = []
    for part in name.split('.'):
        if isinstance(node, (list, tuple)) and part.isdigit():
            node = node[int(part)] if int(part) < len(node) else None
        else:
            node = node.get(part) if isinstance(node, dict) else None
        if node is None:
            break
        parts.append(part)
    return '.'.join(parts)


def _hook_key(hook: Hook, cfg: Dict[str, Any]) -> str:
    """The place of a hook in a config."""
    hooks = {
        f'default_hooks.{k}': v
        for k, v in (cfg.get('default_hooks') or {}).items()
    }
    for i, part in enumerate(cfg.get('custom_hooks') or ()):
        hooks[f'custom_hooks.{i}'] = part
    for key, part in hooks.items():
        if isinstance(part, dict):
            name = Registry.split_scope_key(type_name(part))[1]
            if name == type(hook).__name__:
                return key
    return 'a hook'


def _log_traceback(error: BaseException) -> str:
    """Write the traceback into the log file; say where it is."""
    # mmrep.compat.noise hides it from the terminal
    text = ''.join(traceback.format_exception(error))
    print_log(text, 'current', logging.ERROR)
    files = [
        handler.baseFilename
        for handler in MMLogger.get_current_instance().handlers
        if isinstance(handler, logging.FileHandler)
    ]
    return f'the traceback is in {files[0]}' if files else 'see the log'
