import copy

import pytest
import torch
from mmengine.config import Config
from torch import nn

from mmrep.errors import UsageError
from mmrep.models import RepLKNet, UniRepLKNet
from mmrep.runner.speed import use_speed_switches


class Model(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone


@pytest.fixture(params=[RepLKNet, UniRepLKNet])
def model(request, tiny_arch):
    if request.param is UniRepLKNet:
        tiny_arch['kernel_sizes'] = ((3,), (13,), (13, 3), (5,))
    # in double precision, because tiny maps make batch norms sensitive
    return Model(request.param(tiny_arch, drop_path_rate=0.2)).double()


def loss_of(model, x):
    torch.manual_seed(0)
    outs = model.backbone(x)
    loss = sum(out.square().mean() for out in outs)
    grads = torch.autograd.grad(loss, list(model.parameters()))
    return outs, loss.detach(), grads


def test_channels_last(model):
    plain = copy.deepcopy(model)
    use_speed_switches(Config(dict(channels_last=True)), model)
    x = torch.rand(2, 3, 32, 32, dtype=torch.double)
    outs, *found = loss_of(model, x)
    _, *expected = loss_of(plain, x)
    assert all(
        out.is_contiguous(memory_format=torch.channels_last) for out in outs
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['training', 'with_cp', 'evaluation'])
def test_compiled_backbone_has_no_graph_break(model, kind):
    model.train(kind != 'evaluation')
    for module in model.modules():
        if hasattr(module, 'with_cp'):
            module.with_cp = kind == 'with_cp'
    plain = copy.deepcopy(model)
    names = list(model.state_dict())
    # the former alone recomputes
    backend = (
        'aot_eager_decomp_partition' if kind == 'with_cp' else 'aot_eager'
    )
    options = dict(backend=backend, fullgraph=True)
    use_speed_switches(Config(dict(compile_backbone=options)), model)
    assert list(model.state_dict()) == names
    x = torch.rand(2, 3, 32, 32, dtype=torch.double)
    torch._dynamo.reset()  # what other tests have compiled
    torch._dynamo.utils.counters.clear()
    _, *found = loss_of(model, x)
    counters = torch._dynamo.utils.counters
    assert counters['stats']['unique_graphs'] == 1, 'it must be compiled'
    assert not counters['graph_break']
    _, *expected = loss_of(plain, x)
    torch.testing.assert_close(found, expected)
    # recomputation records no statistics
    torch.testing.assert_close(model.state_dict(), plain.state_dict())


def test_switches_that_cannot_be(model):
    with pytest.raises(UsageError, match='needs a model with a backbone'):
        use_speed_switches(Config(dict(channels_last=True)), nn.ReLU())
    use_speed_switches(Config(dict(channels_last=False)), nn.ReLU())
    with pytest.raises(UsageError, match='arguments for torch.compile'):
        use_speed_switches(
            Config(dict(compile_backbone=dict(nonsense=1))), model
        )
