"""Watch runs and try models: curves, progress, reports, videos."""

from mmrep.watching.curves import Run, best_score, draw_curves, read_run
from mmrep.watching.demo import Demo, import_gradio, serve
from mmrep.watching.loggers import log_to
from mmrep.watching.progress import ProgressHook, watched
from mmrep.watching.report import ReportHook
from mmrep.watching.video import Clip, is_video, open_clip, write_video

__all__ = [
    'Clip',
    'Demo',
    'ProgressHook',
    'ReportHook',
    'Run',
    'best_score',
    'draw_curves',
    'import_gradio',
    'is_video',
    'log_to',
    'open_clip',
    'read_run',
    'serve',
    'watched',
    'write_video',
]
