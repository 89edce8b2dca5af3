"""Watching runs and trying models: curves, progress, reports."""

from mmrep.watching.curves import Run, best_score, draw_curves, read_run
from mmrep.watching.loggers import LOGGERS, log_to
from mmrep.watching.progress import ProgressHook, watched
from mmrep.watching.report import ReportHook

__all__ = [
    'LOGGERS',
    'ProgressHook',
    'ReportHook',
    'Run',
    'best_score',
    'draw_curves',
    'log_to',
    'read_run',
    'watched',
]
