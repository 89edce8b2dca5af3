"""Scripts in processes of their own that begin with the imports done.

They are forked from a server that has imported what every script needs,
which takes longer than most of what the tests let them do, and write configs
without formatting them, which takes as long again.
"""

import gc
import multiprocessing
import os
import runpy
import sys

import numpy as np
from yapf.yapflib import yapf_api

# else looking for a GPU, which MMEngine does when it is imported, keeps the
# forked processes from using it
os.environ.setdefault('PYTORCH_NVML_BASED_CUDA_CHECK', '1')
CONTEXT = multiprocessing.get_context('forkserver')
CONTEXT.set_forkserver_preload(
    [
        'pytest',
        'torch._dynamo',  # by every optimizer
        'mmrep',
        'mmseg.models',
        'mmseg.datasets',
        'mmseg.evaluation',
        'mmdet.models',
        'mmdet.datasets',
        'mmdet.evaluation',
    ]
)


def run_script(argv):
    """What a process does if it is not told otherwise."""
    runpy.run_path(argv[0], run_name='__main__')


def start(argv, stdout, stderr, env=None, cwd=None, run=run_script):
    """Start a script; output goes to files, which may be one.

    Args:
        argv: The script and its arguments.
        stdout: File to append to.
        stderr: File to append to.
        env: The environment, instead of this one.
        cwd: The folder to run in, instead of this one.
        run: Function of ``argv`` that runs the script.
    """
    argv = [str(a) for a in argv]
    env, cwd = dict(env or os.environ), cwd or os.getcwd()
    process = CONTEXT.Process(
        target=_main, args=(argv, stdout, stderr, env, cwd, run)
    )
    process.start()
    return process


def _main(argv, stdout, stderr, env, cwd, run):
    """Make this process what one of its own would be, and run."""
    os.setsid()  # a Ctrl-C of the terminal is not for it
    gc.freeze()  # else each data set, which collects, looks through it all
    for stream, path in ((1, stdout), (2, stderr)):
        with open(path, 'ab', buffering=0) as file:
            os.dup2(file.fileno(), stream)
    sys.stdout = os.fdopen(1, 'w', buffering=1)
    sys.stderr = os.fdopen(2, 'w', buffering=1)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    np.random.seed()  # fork has copied the state of the server
    # MMEngine's Config does it again for each checkpoint
    yapf_api.FormatCode = lambda text, **_: (text, True)
    sys.argv = argv
    sys.path.insert(0, os.path.dirname(argv[0]))
    run(argv)
