"""Find the checkpoint from which to resume, and prepare the config."""

import os.path as osp
import re
import zipfile
from numbers import Integral, Real
from pathlib import Path
from typing import (
    Any,
    Dict,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

from mmengine.config import Config

from mmrep.checkpoint import CheckpointError, load_checkpoint
from mmrep.errors import UsageError, one_line
from mmrep.runner.distributed import ask_rank_0

# from CheckpointHook, and from an interrupted run Names that MMEngine gives
# the best checkpoint, by metric.
_BEST = re.compile(r'best_.+\.pth')
_NAME = re.compile(r'^(?:interrupted_)?(?:iter|epoch)_\d+\.pth$')


def enable_resume(cfg: Config, checkpoint: str) -> None:
    """Make a run continue from a checkpoint.

    Args:
        cfg (Config): Config of the run, with ``work_dir``.
        checkpoint (str): Path of the checkpoint, or 'auto' for the newest
            complete one in the work dir; if there is none, the run starts from
            the beginning.
    """
    if checkpoint == 'auto':
        cfg.resume = 'auto'  # load_from applies only to a first start
    else:
        cfg.resume = True
        cfg.load_from = checkpoint


class _Found(NamedTuple):
    """Findings of rank 0 for all ranks."""

    path: Optional[str] = None
    seed: Optional[int] = None
    notes: Sequence[str] = ()


def prepare_resume(cfg: Config, trust: bool = False) -> List[str]:
    """Find the checkpoint of a run that resumes, and set the config for it.

    The seed is that of the interrupted run, because the order of the data
    depends on it; the weights that the backbone started from are no longer
    needed. Rank 0 reads the files and tells the other processes, so the
    process group must exist.

    Args:
        cfg (Config): Config of the run, changed in place: afterwards
            ``resume`` says whether there is something to resume, and
            ``load_from`` says what.
        trust (bool): Unpickle everything in the checkpoint. Defaults to
            False.

    Returns:
        list[str]: What the user should know.

    Raises:
        UsageError: If the checkpoint that the config names is missing or
            damaged, or if all checkpoints in the work dir are damaged.
    """
    if not cfg.get('resume'):
        return []
    found = ask_rank_0(lambda: _find(cfg, trust))
    notes = list(found.notes)
    cfg.resume = found.path is not None
    if found.path is None:
        nothing = (
            f'nothing to resume in {cfg.work_dir}: the run starts from the '
            'beginning'
        )
        return [*notes, nothing]
    cfg.load_from = found.path
    randomness = dict(cfg.get('randomness') or {})
    if randomness.get('seed') is None and found.seed is not None:
        cfg.randomness = {**randomness, 'seed': int(found.seed)}
    elif found.seed is not None and found.seed != randomness['seed']:
        notes.append(
            f'randomness.seed is {randomness["seed"]}, but was {found.seed} '
            f'when {found.path} was written: from here on, the data come in a '
            'different order'
        )
    if 'backbone' in cfg.model:
        cfg.model.backbone.init_cfg = None
    return notes


def _find(cfg: Config, trust: bool) -> _Found:
    """The checkpoint to resume from, read and checked once."""
    path: Optional[str] = cfg.get('load_from')
    notes: List[str] = []
    if path is None or cfg.resume == 'auto':
        path, notes = find_checkpoint(cfg.work_dir, _out_dir(cfg))
        if path is None:
            return _Found(notes=notes)
    elif '://' in path:
        return _Found(path)
    elif zipfile.is_zipfile(path) or Path(path).is_dir():
        # old versions of PyTorch did not write archives
        damage = find_damage(path)
        if damage:
            raise CheckpointError(
                f'the checkpoint {path} is damaged: {damage}.'
            )
    # sharded: every process has its own file
    file = Path(path, 'rank0.pth') if Path(path).is_dir() else path
    checkpoint = load_checkpoint(str(file), trust=trust, mmap=True)
    if file == path:
        check_resumable(checkpoint, path)
    meta = checkpoint.get('meta', {})
    for unit in ('iter', 'epoch'):
        most = (cfg.get('train_cfg') or {}).get(f'max_{unit}s')
        if most is not None and meta.get(unit, 0) >= most:
            notes.append(
                f'{path} is from {unit} {meta[unit]}, and '
                f'train_cfg.max_{unit}s is {most}: nothing is left to train'
            )
    return _Found(path, meta.get('seed'), notes)


def _out_dir(cfg: Config) -> str:
    """Where the run's CheckpointHook writes."""
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    return checkpoint_folder(hook.get('out_dir'), cfg.work_dir)


def checkpoint_folder(out_dir: Optional[str], work_dir: str) -> str:
    """Where a CheckpointHook with that ``out_dir`` writes, as MMEngine's."""
    if out_dir is None or out_dir == work_dir:
        return work_dir
    return osp.join(out_dir, osp.basename(work_dir.rstrip(osp.sep)))


def keep_to_own_folder(info: Dict[str, Any], folder: str) -> None:
    """Make the paths in a checkpoint name files of this run.

    A checkpoint holds the paths of the last and the best one, which the hook
    removes when it replaces them. In a copied work dir or a stranger's file,
    these may point anywhere.

    Args:
        info (dict): ``runtime_info`` of a message hub, changed in place.
        folder (str): Where the run keeps its checkpoints.
    """
    for key, value in list(info.items()):
        if key == 'last_ckpt' or key.startswith('best_ckpt'):
            name = _name(value) if isinstance(value, str) else ''
            # the best one is removed when there is a better one
            if name and (key == 'last_ckpt' or _BEST.fullmatch(name)):
                info[key] = osp.join(folder, name)
            else:
                del info[key]
    if not isinstance(info.get('keep_ckpt_ids', []), list):
        del info['keep_ckpt_ids']
    if 'keep_ckpt_ids' in info:
        info['keep_ckpt_ids'] = [
            i for i in info['keep_ckpt_ids'] if type(i) is int
        ]


def _name(path: str) -> str:
    """The file name in a path of any system, or '' if it has none."""
    name = re.split(r'[/\\]', path.strip())[-1]
    return '' if name in ('.', '..') else name


def check_resumable(
    checkpoint: Dict[str, Any], name: str = 'this checkpoint'
) -> None:
    """Check that a checkpoint holds what a resumed run needs.

    Args:
        checkpoint (dict): What was saved.
        name (str): Its path, for the message.

    Raises:
        CheckpointError: Names each part that is missing or has another form.
    """
    faults = []
    for key in ('meta', 'message_hub', 'optimizer'):
        if key not in checkpoint:
            faults.append(f'it holds no {key}')
        elif not isinstance(checkpoint[key], dict):
            faults.append(f'{key} is not a dict')
    if not faults:
        faults = [
            *_meta_faults(checkpoint['meta']),
            *_hub_faults(checkpoint['message_hub']),
            *_optimizer_faults(checkpoint['optimizer']),
        ]
    if not isinstance(checkpoint.get('param_schedulers', []), (list, dict)):
        faults.append('param_schedulers is not a list')
    if faults:
        raise CheckpointError(
            f'a run cannot be resumed from {name}: {"; ".join(faults)}. To '
            'start from its weights, drop --resume and pass --cfg-options '
            'load_from=PATH.'
        )


def _meta_faults(meta: Dict[str, Any]) -> Iterator[str]:
    for key in ('epoch', 'iter'):
        value = meta.get(key)
        if not _is_whole(value) or value < 0:
            yield f'meta.{key} must be a whole number from 0, got {value!r}'
    if meta.get('seed') is not None and not _is_whole(meta['seed']):
        yield f'meta.seed must be a whole number, got {meta["seed"]!r}'


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _hub_faults(hub: Dict[str, Any]) -> Iterator[str]:
    for key in ('log_scalars', 'runtime_info', 'resumed_keys'):
        if not isinstance(hub.get(key), dict):
            yield f'message_hub.{key} must be a dict'
    info = hub.get('runtime_info')
    for key, value in info.items() if isinstance(info, dict) else ():
        if str(key).startswith('best_score') and not isinstance(value, Real):
            yield f'{key} must be a number, got {value!r}'


def _optimizer_faults(state: Dict[str, Any]) -> Iterator[str]:
    # several optimizers have one state each
    states = [state] if 'param_groups' in state else list(state.values())
    if not states or not all(
        isinstance(s, dict)
        and isinstance(s.get('param_groups'), list)
        and isinstance(s.get('state'), dict)
        for s in states
    ):
        yield 'optimizer must have param_groups and state'


def find_checkpoint(
    work_dir: str, out_dir: Optional[str] = None
) -> Tuple[Optional[str], List[str]]:
    """The newest complete checkpoint of a run.

    Args:
        work_dir (str): Folder of the run.
        out_dir (str, optional): Folder of its checkpoints. Defaults to None,
            the work dir.

    Returns:
        tuple[str | None, list[str]]: Its path, or None if the folders have no
        checkpoint at all, and what is wrong with newer ones.

    Raises:
        CheckpointError: If there are checkpoints and all are damaged.
    """
    candidates, notes = _candidates(work_dir, out_dir)
    for path in candidates:
        damage = find_damage(str(path))
        if damage is None:
            if notes:
                notes.append(f'the run continues from {path} instead')
            return str(path), notes
        notes.append(f'the checkpoint {path} is damaged ({damage})')
    if candidates:
        raise CheckpointError(
            f'no checkpoint in {work_dir} can be resumed: {"; ".join(notes)}. '
            'To start from the beginning, drop --resume.'
        )
    return None, notes


def _candidates(
    work_dir: str, out_dir: Optional[str]
) -> Tuple[List[Path], List[str]]:
    """Checkpoints by preference: what ``last_checkpoint`` names, then age.

    Only the file name in that path counts: the folder may have been moved or
    copied since, and files outside it do not belong to this run. Problems with
    the file are returned too.
    """
    folders = dict.fromkeys([Path(work_dir), Path(out_dir or work_dir)])
    found = [
        path
        for folder in folders
        for path in folder.glob('*.pth')
        if _NAME.match(path.name)
    ]
    found.sort(key=lambda p: (p.stat().st_mtime, _number(p)), reverse=True)
    last = Path(work_dir, 'last_checkpoint')
    try:
        with last.open() as file:
            name = _name(file.read(4096))
        named = [f / name for f in folders if name and (f / name).exists()]
        fault = f'names {name[:80]!r}, which does not exist' if name else ''
    except FileNotFoundError:
        return found, []
    except (OSError, ValueError):  # or of text that is not a name
        named, fault = [], ''
    if named:
        return [named[0], *(p for p in found if p != named[0])], []
    return found, [
        f'{last} is damaged: it {fault or "names no checkpoint"}; pass the '
        'path of another checkpoint to --resume'
    ]


def _number(path: Path) -> int:
    return int(re.findall(r'\d+', path.name)[-1])


def find_damage(path: str) -> Optional[str]:
    """Say what is wrong with a checkpoint's bytes, or None.

    PyTorch's files are zip archives with a checksum for every tensor, which
    PyTorch does not verify.

    Args:
        path (str): Path of the file, or of a folder with one per process.

    Returns:
        str | None: The damage in a few words.
    """
    if Path(path).is_dir():
        parts = sorted(Path(path).glob('rank*.pth'))
        if not parts:
            return 'the folder is empty'
        damages = [find_damage(str(part)) for part in parts]
        return next((damage for damage in damages if damage), None)
    try:
        if not Path(path).stat().st_size:
            return 'it is empty'
        if not zipfile.is_zipfile(path):
            return 'it is truncated'
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except FileNotFoundError:
        raise UsageError(
            f'the checkpoint must be an existing file, got {path!r}.'
        ) from None
    except (OSError, zipfile.BadZipFile, EOFError) as error:
        return one_line(error)
    return f'the checksum of {broken} is wrong' if broken else None
