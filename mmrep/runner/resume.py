"""Which checkpoint a run goes on from, and what else it needs for that."""

import re
import zipfile
from pathlib import Path
from typing import List, Optional, Tuple

from mmengine.config import Config

from mmrep.checkpoint import CheckpointError, load_checkpoint
from mmrep.errors import UsageError, one_line

# of CheckpointHook, and of a run that was interrupted
_NAME = re.compile(r'^(?:interrupted_)?(?:iter|epoch)_\d+\.pth$')


def enable_resume(cfg: Config, checkpoint: str) -> None:
    """Have a run go on where a checkpoint was written.

    Args:
        cfg (Config): Config of the run, with ``work_dir``.
        checkpoint (str): Path of the checkpoint, or 'auto' for the newest
            whole one in the work dir; where that has none the run starts
            anew.
    """
    if checkpoint == 'auto':
        cfg.resume = 'auto'  # load_from is for the case of a first start
    else:
        cfg.resume = True
        cfg.load_from = checkpoint


def settle_resume(cfg: Config, trust: bool = False) -> List[str]:
    """Find the checkpoint of a run that resumes, and set the config for it.

    The seed is the interrupted run's, for the order of the data follows from
    it; what the backbone had started from is not needed any more.

    Args:
        cfg (Config): Config of the run, changed in place: afterwards
            ``resume`` says whether there is something to resume, and
            ``load_from`` what.
        trust (bool): Unpickle everything in the checkpoint. Defaults to
            False.

    Returns:
        list[str]: What the user should know.

    Raises:
        CheckpointError: If the checkpoint that the config names is damaged,
            or if all in the work dir are.
    """
    if not cfg.get('resume'):
        return []
    notes: List[str] = []
    path: Optional[str] = cfg.get('load_from')
    if path is None or cfg.resume == 'auto':
        path, notes = find_checkpoint(cfg.work_dir)
    cfg.resume = path is not None
    if path is None:
        return [f'nothing to resume in {cfg.work_dir}: the run starts anew']
    cfg.load_from = path
    if '://' in path:
        return notes
    if Path(path).is_dir():  # sharded: every process has its own file
        path = str(Path(path, 'rank0.pth'))
    checkpoint = load_checkpoint(path, trust=trust)
    # an old PyTorch wrote no archives
    damage = find_damage(path) if zipfile.is_zipfile(path) else None
    if damage:
        raise CheckpointError(f'the checkpoint {path} is damaged: {damage}.')
    seed = checkpoint.get('meta', {}).get('seed')
    randomness = dict(cfg.get('randomness') or {})
    if randomness.get('seed') is None and seed is not None:
        cfg.randomness = {**randomness, 'seed': int(seed)}
    elif seed is not None and seed != randomness['seed']:
        notes.append(
            f'randomness.seed is {randomness["seed"]}, and was {seed} when '
            f'{path} was written: the order of the data differs from there'
        )
    if 'backbone' in cfg.model:
        cfg.model.backbone.init_cfg = None
    return notes


def find_checkpoint(work_dir: str) -> Tuple[Optional[str], List[str]]:
    """The newest whole checkpoint of a run.

    Args:
        work_dir (str): Folder of the run.

    Returns:
        tuple[str | None, list[str]]: Its path, None if the folder has no
        checkpoint at all, and what is wrong with newer ones.

    Raises:
        CheckpointError: If there are checkpoints and all are damaged.
    """
    notes = []
    candidates = _candidates(work_dir)
    for path in candidates:
        damage = find_damage(str(path))
        if damage is None:
            if notes:
                notes.append(f'the run goes on from {path} instead')
            return str(path), notes
        notes.append(f'the checkpoint {path} is damaged ({damage})')
    if candidates:
        raise CheckpointError(
            f'no checkpoint in {work_dir} can be resumed: {"; ".join(notes)}. '
            'To start anew, leave out --resume.'
        )
    return None, []


def _candidates(work_dir: str) -> List[Path]:
    """Checkpoints by preference: what ``last_checkpoint`` names, then age."""
    folder = Path(work_dir)
    found = [p for p in folder.glob('*.pth') if _NAME.match(p.name)]
    found.sort(key=lambda p: (p.stat().st_mtime, _number(p)), reverse=True)
    try:
        named = Path((folder / 'last_checkpoint').read_text().strip())
    except (OSError, UnicodeDecodeError):
        return found
    if not named.name:
        return found
    # the folder may have been moved or copied since
    if not named.exists() or not named.is_absolute():
        named = folder / named.name
    if not named.exists():
        return found
    # by name, because another path may lead to the same folder
    return [named, *(p for p in found if p.name != named.name)]


def _number(path: Path) -> int:
    return int(re.findall(r'\d+', path.name)[-1])


def find_damage(path: str) -> Optional[str]:
    """Say what is wrong with a checkpoint's bytes, None if nothing is.

    PyTorch's files are zip archives with a checksum for every tensor, and
    PyTorch does not look at the checksums.

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
            return 'it is cut short'
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except FileNotFoundError:
        raise UsageError(
            f'the checkpoint must be an existing file, got {path!r}.'
        ) from None
    except (OSError, zipfile.BadZipFile, EOFError) as error:
        return one_line(error)
    return f'the checksum of {broken} is wrong' if broken else None
