import pytest
import torch
from torch import nn

from pointinteract.nn.modes import evaluation_mode


def test_every_layer_gets_its_own_mode_back():
    module = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(), nn.Sequential(nn.BatchNorm1d(4)))
    module.train()
    module[2][0].eval()
    before = [layer.training for layer in module.modules()]
    state = {name: value.clone() for name, value in module.state_dict().items()}

    with pytest.raises(RuntimeError, match="inside"), evaluation_mode(module):
        assert not any(layer.training for layer in module.modules())
        module(torch.randn(8, 4) + 5)
        raise RuntimeError("inside")

    assert [layer.training for layer in module.modules()] == before
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
