"""The end of a run whose process group has threads that are late."""

import os
import shutil
import subprocess
import sys

import pytest

# Taking a lock takes the threads of a group long, as on a busy machine.
LATE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

int pthread_mutex_lock(pthread_mutex_t *mutex) {
  static int (*real)(pthread_mutex_t *);
  char name[16] = "";
  if (!real) real = dlsym(RTLD_NEXT, "pthread_mutex_lock");
  prctl(PR_GET_NAME, name);
  if (strstr(name, "gloo_run")) usleep(20000);
  return real(mutex);
}
"""
SCRIPT = """
import torch.distributed as dist
from mmrep.engine.cli import run
from torch import nn

def main():
    dist.init_process_group(
        'gloo', store=dist.HashStore(), rank=0, world_size=1
    )
    model = nn.parallel.DistributedDataParallel(nn.Linear(2, 2))
    model.votes = dist.new_group(backend='gloo')
    model.itself = [model]
    for group in (model.votes, None):
        dist.broadcast_object_list([None], group=group)

run(main)
print('ended')
"""


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which('gcc'), reason='gcc is not installed')
def test_threads_that_are_late(tmp_path):
    source, library = tmp_path / 'late.c', tmp_path / 'late.so'
    source.write_text(LATE)
    subprocess.run(
        ['gcc', '-shared', '-fPIC', source, '-o', library, '-ldl'], check=True
    )
    done = subprocess.run(
        [sys.executable, '-c', SCRIPT],
        env={**os.environ, 'LD_PRELOAD': str(library)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout == 'ended\n', done.stderr
