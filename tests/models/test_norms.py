import copy

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from mmrep.models.layers.norms import CPUSyncBatchNorm, SingleImageBatchNorm


def _worker(rank, init_file, x, grad, norm, out):
    torch.set_num_threads(1)
    dist.init_process_group(
        'gloo', init_method=f'file://{init_file}', rank=rank, world_size=2
    )
    # of unequal size, as the last batch may be
    part = slice(0, 3) if rank == 0 else slice(3, 4)
    # spawn puts the buffers in memory that both processes share
    norm = CPUSyncBatchNorm.convert(copy.deepcopy(norm))
    mine = x[part].clone().requires_grad_()
    y = norm(mine)
    y.backward(grad[part])
    for p in norm.parameters():
        dist.all_reduce(p.grad)
    torch.save(
        dict(
            y=y.detach(),
            x=mine.grad,
            weight=norm.weight.grad,
            bias=norm.bias.grad,
            state=norm.state_dict(),
        ),
        f'{out}.{rank}',
    )
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize('momentum', [0.1, None])
def test_sync_batch_norm_is_bn_of_the_joined_batch(tmp_path, momentum):
    x = torch.randn(4, 5, 6, 7, dtype=torch.double) * 3 + 100
    grad = torch.randn_like(x)
    norm = nn.SyncBatchNorm(5, momentum=momentum).double()
    nn.init.uniform_(norm.weight)
    nn.init.uniform_(norm.bias)
    reference = nn.BatchNorm2d(5, momentum=momentum).double()
    reference.load_state_dict(copy.deepcopy(norm.state_dict()))
    joined = x.clone().requires_grad_()
    y = reference(joined)
    y.backward(grad)

    out = tmp_path / 'out'
    mp.spawn(
        _worker, (tmp_path / 'init', x, grad, norm, out), nprocs=2, join=True
    )
    ranks = [torch.load(f'{out}.{rank}') for rank in range(2)]
    torch.testing.assert_close(torch.cat([r['y'] for r in ranks]), y)
    torch.testing.assert_close(torch.cat([r['x'] for r in ranks]), joined.grad)
    for rank in ranks:
        torch.testing.assert_close(rank['weight'], reference.weight.grad)
        torch.testing.assert_close(rank['bias'], reference.bias.grad)
        for name, value in reference.state_dict().items():
            torch.testing.assert_close(rank['state'][name], value)


def test_one_value_per_channel(randomise):
    norm = randomise(nn.BatchNorm2d(3))
    expected = copy.deepcopy(norm).eval()
    x = torch.randn(1, 3, 1, 1)
    with pytest.raises(ValueError, match='more than 1 value'):
        copy.deepcopy(norm)(x)
    SingleImageBatchNorm.convert(norm)
    torch.testing.assert_close(norm(x), expected(x))
    assert norm.num_batches_tracked == 0


def test_several_values_per_channel(randomise):
    norm = randomise(nn.BatchNorm2d(3))
    reference = copy.deepcopy(norm)
    SingleImageBatchNorm.convert(norm)
    x = torch.randn(1, 3, 2, 5)
    torch.testing.assert_close(norm(x), reference(x))
    for name, value in reference.state_dict().items():
        torch.testing.assert_close(norm.state_dict()[name], value)
