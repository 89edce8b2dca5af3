"""TorchScript: what docs/faq.md says of ``torch.jit.script`` and ``trace``."""

import pytest
import torch

from mmrep.models import RepLKNet


def test_script_is_refused_and_trace_works(tiny_arch):
    model = RepLKNet(tiny_arch).eval()
    with pytest.raises(RuntimeError, match='cannot be used as a value'):
        torch.jit.script(model)
    traced = torch.jit.trace(model, torch.rand(1, 3, 64, 64))
    images = torch.rand(2, 3, 96, 64)
    for found, expected in zip(traced(images), model(images), strict=True):
        torch.testing.assert_close(found, expected)
