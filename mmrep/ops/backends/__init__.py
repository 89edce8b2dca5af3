"""The backends of the operator, one file each; see base.py."""

from typing import Dict

from . import fft, native, triton
from .base import Backend

BACKENDS: Dict[str, Backend] = {
    backend.name: backend
    for backend in (
        native.BACKEND,
        fft.BACKEND,
        triton.BACKEND,
    )
}
# The backend of each algorithm.
OWNER: Dict[str, Backend] = {
    algorithm: backend
    for backend in BACKENDS.values()
    for algorithm in backend.algorithms
}
