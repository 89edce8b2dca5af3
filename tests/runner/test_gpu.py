"""Trainings on a GPU: mixed precision, and one process of several."""

import json

import pytest
import torch

from .conftest import free_port
from .test_sharding import FSDP

GPU = torch.cuda.is_available()
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not GPU, reason='needs a CUDA device'),
]


@pytest.mark.parametrize(
    'args, options, several',
    (
        (('--amp', 'bf16'), {}, False),
        (('--amp', 'fp16'), {}, False),
        ((), {}, True),  # nccl and DDP
        ((), FSDP, True),
    ),
    ids=('bf16', 'fp16', 'ddp', 'fsdp'),
)
def test_training(train, tmp_path, args, options, several):
    """It trains, validates, writes a checkpoint and goes on from it."""
    env = {}
    if several:
        args = ('--launcher', 'pytorch', *args)
        env = dict(
            MASTER_ADDR='127.0.0.1', MASTER_PORT=str(free_port()),
            WORLD_SIZE='1', RANK='0', LOCAL_RANK='0',
        )  # fmt: skip
    options = {'train_cfg.val_interval': 2, **options}
    for more, iterations in (((), 2), (('--resume',), 4)):
        options['train_cfg.max_iters'] = iterations
        run = train(*args, *more, options=options, env=env)
        assert run.wait() == 0, run.log[-3000:]
    losses = [
        json.loads(line)['loss']
        for path in tmp_path.glob('work/2*/vis_data/scalars.json')
        for line in path.read_text().splitlines()
        if 'loss' in line
    ]
    assert len(losses) == 4 and all(0 < loss < 100 for loss in losses)
