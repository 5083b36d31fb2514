"""What tests against stored numbers of pre-training systems have in common."""

import json

import numpy as np
import pytest
import torch

from pointinteract.models._official import _FORMATS
from tests.models._fills import fill_weights

# The folders' READMEs recommend 2e-4 and 1e-3; ours are held closer.
ATOL, RTOL = 2e-5, 1e-4
GRADIENT_RTOL = 1e-3


class GoldenFolder:
    """A folder of shared/golden: configuration, weights, arrays."""

    def __init__(self, shared, system):
        self.system, self.path = system, shared / "golden" / system
        if not self.path.is_dir():
            pytest.skip(f"no golden/{system} below {shared}")
        self.config = self.json("config")

    def json(self, name):
        return json.loads((self.path / f"{name}.json").read_text())

    def arrays(self, name):
        with np.load(self.path / f"{name}.npz", allow_pickle=False) as archive:
            return {key: torch.from_numpy(np.array(archive[key])) for key in archive.files}

    def state(self, kind, base):
        """Official state dict of the model whose keys are in ``keys_<kind>.json``."""
        return fill_weights(self.json(f"keys_{kind}"), self.config[base])


def close(ours, theirs, atol=ATOL, rtol=RTOL):
    torch.testing.assert_close(ours.detach().to(theirs.dtype), theirs, atol=atol, rtol=rtol)


def official_names(module, system):
    """Official name of every tensor of a module that has one."""
    names = {name: _FORMATS[system].official_name(name) for name in module.state_dict()}
    return {name: official for name, official in names.items() if official}


def same_gradients(module, system, loss, names, norms, atol=2e-6):
    """Compare L2 norms of gradients, by official name; no others may have any.

    `atol` is for biases that a normalization takes away again, whose gradient is rounding.
    """
    parameters = dict(module.named_parameters())
    learned = {name: p for name, p in parameters.items() if p.requires_grad}
    gradients = torch.autograd.grad(loss, list(learned.values()), allow_unused=True)
    official = official_names(module, system)
    found = {
        official.get(name, name): gradient.norm().item()
        for name, gradient in zip(learned, gradients, strict=True) if gradient is not None
    }
    assert sorted(found) == sorted(names)
    for name, norm in zip(names, norms.tolist(), strict=True):
        assert found[name] == pytest.approx(norm, rel=GRADIENT_RTOL, abs=atol), name


def transfer(pretrained, classifier, system, brought):
    """Put what a checkpoint brought for the encoder into a classifier; return the three lists.

    `brought` are the official names in the checkpoint.
    """
    parts = official_names(pretrained, system)
    own = official_names(classifier, system)
    loaded = {}
    for name, value in pretrained.encoder.state_dict().items():
        full = next((n for n in parts if n.endswith(f"encoder.{name}")), None)
        if full is not None and parts[full] in brought and name in own:
            loaded[name] = (parts[full], value)
    classifier.load_state_dict({n: v for n, (_, v) in loaded.items()}, strict=False)
    used = {official for official, _ in loaded.values()}
    return (
        sorted(own[name] for name in loaded),
        sorted(official for name, official in own.items() if name not in loaded),
        sorted(set(brought) - used),
    )


def record(module, names):
    """Keep the outputs of named parts of a module during a pass, in the order of calls."""
    kept = {name: [] for name in names}
    for name in names:
        module.get_submodule(name).register_forward_hook(
            lambda _, __, output, name=name: kept[name].append(output)
        )
    return kept


def sorted_points(neighborhoods):
    """Points of each patch in an order of their own: the original's means nothing."""
    along = neighborhoods @ torch.tensor([1.0, 0.37, 0.71])
    return neighborhoods.gather(2, along.argsort(dim=2).unsqueeze(3).expand_as(neighborhoods))
