"""Put configs and tools into the wheel, as OpenMMLab's packages have them.

Everything else is in pyproject.toml. ``mmrep_cli.shipped()`` finds them, in a
clone too.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SHIPPED = [
    'model-index.yml',
    'configs/**/*.*',
    'projects/**/configs/**/*.py',
    'tools/**/*.py',
    'tools/*.sh',
]


class BuildWithMim(build_py):
    """Build the package with the folder ``mmrep/.mim``."""

    def run(self) -> None:
        """Build, then copy; an editable package reads the clone."""
        super().run()
        if self.editable_mode:
            return
        mim = Path(self.build_lib, 'mmrep/.mim')
        shutil.rmtree(mim, ignore_errors=True)
        for pattern in SHIPPED:
            for path in Path().glob(pattern):
                if '__pycache__' not in path.parts:
                    target = mim / path
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(path, target)


setup(cmdclass=dict(build_py=BuildWithMim))
