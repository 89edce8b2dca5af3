"""Watching runs and trying models: curves, progress, reports, videos."""

from mmrep.watching.curves import Run, best_score, draw_curves, read_run
from mmrep.watching.loggers import LOGGERS, log_to
from mmrep.watching.progress import ProgressHook, watched
from mmrep.watching.report import ReportHook
from mmrep.watching.video import Clip, is_video, open_clip, write_video

__all__ = [
    'Clip',
    'LOGGERS',
    'ProgressHook',
    'ReportHook',
    'Run',
    'best_score',
    'draw_curves',
    'is_video',
    'log_to',
    'open_clip',
    'read_run',
    'watched',
    'write_video',
]
