"""Make the fixtures of tests/ available to the projects' tests."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / 'tests'))
from conftest import (
    _seed,
    full,
    mount,
    pytest_collection_modifyitems,
    randomise,
    run_tool,
)

__all__ = [
    '_seed',
    'full',
    'mount',
    'pytest_collection_modifyitems',
    'randomise',
    'run_tool',
]
