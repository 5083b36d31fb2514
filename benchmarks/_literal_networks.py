"""Our networks, their literal forms with the same weights, and what both compute.

The published ones of `torch-pointcloud` stand beside them where that package is installed and
has the same network.
"""

import copy
from collections.abc import Callable
from functools import partial

import torch
from _interactions_networks import settled
from _literal_curves import LiteralCurveNet
from _literal_graphs import LiteralDGCNN, LiteralGDANet, LiteralPCT
from _literal_groups import LiteralPointCNN, LiteralPointMLP, LiteralTransformer
from _literal_pictures import LiteralMVTN, LiteralP2P, LiteralSimpleView
from _literal_points import (
    LiteralPCN,
    LiteralPointNet,
    LiteralPointNet2,
    LiteralPointNetBasic,
    LiteralPointNeXt,
)
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pointinteract.models import create_model, to_official

LITERAL: dict[str, Callable[[], nn.Module]] = {
    "dgcnn": LiteralDGCNN,
    "pointnet": LiteralPointNet,
    "pointnet2_ssg": LiteralPointNet2,
    "pointnet2_msg": partial(LiteralPointNet2, several=True),
    "pointnet_basic": LiteralPointNetBasic,
    "pointcnn": LiteralPointCNN,
    "pct": LiteralPCT,
    "pointmlp": LiteralPointMLP,
    "pointmlp_elite": partial(LiteralPointMLP, elite=True),
    "pointnext_s": LiteralPointNeXt,
    "pointnext_s_c64": partial(LiteralPointNeXt, width=64),
    "simpleview": LiteralSimpleView,
    "mvtn": LiteralMVTN,
    "p2p": LiteralP2P,
    "curvenet": LiteralCurveNet,
    "gdanet": LiteralGDANet,
    "transformer": LiteralTransformer,
    "pcn": LiteralPCN,
}
# Multiply-adds of a cloud of 1024 points by the specification, in G, where it tells. It counts
# the product by PointCNN's matrices X, which we do not.
PUBLISHED_GMAC = {
    "pointnet": 0.44,
    "pointnet_basic": 0.15,
    "pointnet2_ssg": 0.84,
    "pointnet2_msg": 3.92,
    "dgcnn": 2.39,
    "pointcnn": 0.12,
    "pct": 2.15,
    "pointmlp": 15.6,
    "pointmlp_elite": 0.90,
    "pointnext_s": 0.81,
    "pointnext_s_c64": 3.23,
    "simpleview": 3.34,
    "curvenet": 0.29,
    "gdanet": 2.25,
}
# The same networks there (its PointCNN is another), and sizes that have no default.
_OTHER = {
    "dgcnn": "dgcnn.modelnet40-1024.an-tao",
    "pointnet": "pointnet.modelnet40",
    "pointnet2_ssg": "pointnet2-ssg.modelnet40.xu-yan",
    "pointnet2_msg": "pointnet2-msg.modelnet40.xu-yan",
    "pointmlp": "pointmlp-base.modelnet40.xu-ma",
    "pointmlp_elite": "pointmlp-elite.modelnet40.xu-ma",
    "pointnext_s": "pointnext-sm",
    "pointnext_s_c64": "pointnext-sm-c64.modelnet40.openpoints",
    "transformer": "point-mae-base.modelnet40.yatian-pang",
}
_OTHER_SIZES = {"pointnext_s": {"in_channels": 3, "num_classes": 40}}


def make_pair(name: str, n_classes: int = 40) -> tuple[nn.Module, nn.Module]:
    """Our network and its literal form, with the same weights that look trained."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        ours = settled(create_model(name, n_classes=n_classes))
        with torch.no_grad():
            for parameter in ours.parameters():
                # Transforms begin as the identity, which would hide half of what they do.
                if parameter.ndim > 1 and not parameter.any():
                    parameter.normal_(std=0.01)
    literal = LITERAL[name](n_classes=n_classes)
    names = literal.state_dict()
    state = to_official(ours)
    counters = {k for k in (*state, *names) if k.endswith("num_batches_tracked")}
    missing, unexpected = literal.load_state_dict(state, strict=False)
    strange = (set(missing) | set(unexpected)) - counters
    if strange:
        raise RuntimeError(f"The literal form of {name} has other tensors: {sorted(strange)}")
    return ours.eval(), literal.eval()


def disagreement(ours: nn.Module, literal: nn.Module, points: Tensor) -> tuple[float, float]:
    """Largest difference of class scores relative to the largest, evaluating and training.

    In double precision, where near ties of distances do not depend on how they are computed,
    and without dropout.
    """
    pair = [_without_chance(network) for network in (ours, literal)]
    found = []
    for training in (False, True):
        with torch.no_grad():
            scores = [network.train(training)(points.double()) for network in pair]
        found.append(float((scores[0] - scores[1]).abs().max() / scores[1].abs().max()))
    return found[0], found[1]


def _without_chance(network: nn.Module) -> nn.Module:
    network = copy.deepcopy(network).double()
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for attribute in ("dropout", "rate"):
            if isinstance(getattr(module, attribute, None), float):
                setattr(module, attribute, 0.0)
    return network


class CountMultiplications(TorchFunctionMode):
    """Count multiply-adds of linear layers and convolutions; products of tensors are not."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        kind = getattr(func, "__name__", "")
        if kind in ("linear", "conv1d", "conv2d"):
            # Every output is a sum over as many products as the weight has per output channel.
            self.total += out.numel() * args[1][0].numel()
        return out


def giga_multiplications(network: nn.Module, points: Tensor) -> float:
    """Multiply-adds of layers for the first cloud, in G."""
    with CountMultiplications() as counted, torch.no_grad():
        network.eval()(points[:1])
    return counted.total / 1e9


def make_other(name: str) -> tuple[nn.Module | None, str]:
    """The network of torch-pointcloud, or None and why not ("" where it has none)."""
    if name not in _OTHER:
        return None, ""
    try:
        import torch_pointcloud
    except ImportError:
        return None, "torch-pointcloud is not installed"
    try:
        sizes = _OTHER_SIZES.get(name, {})
        network = torch_pointcloud.create_model(_OTHER[name], task="classification", **sizes)
        network = Packed(network)
        with torch.no_grad():
            network.eval()(torch.randn(2, 1024, 3) / 4)
    except ImportError as error:
        return None, f"torch-pointcloud does not run it here: {error}"
    except (TypeError, ValueError, RuntimeError) as error:
        return None, f"torch-pointcloud fails: {str(error).splitlines()[0][:90]}"
    return network, ""


class Packed(nn.Module):
    """A network of torch-pointcloud on clouds (B, N, 3), which it wants in one long list."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, points: Tensor) -> Tensor:
        batch = torch.arange(len(points)).repeat_interleave(points.shape[1])
        places = points.flatten(0, 1)
        features = places if getattr(self.network, "in_channels", 0) else None
        return self.network(features, places, batch)
