"""Operations against the plain formulation of each: time of the plain form over ours.

    python benchmarks/operations.py

Both run in turn in one process, after a warm-up; the median ratio of the pairs is printed, with
the fastest and the slowest. Results of the two are compared first. Where numba is installed, a
second table gives the time of our torch forms over that of the compiled kernels.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from pointinteract.games import moebius_transform
from pointinteract.nn.edgeconv import EdgeConv, neighbor_max
from pointinteract.nn.mlp import LinearNorm
from pointinteract.nn.patches import PatchEmbedding
from pointinteract.nn.pooling import LinearNormMax
from pointinteract.ops import _fast, ball_query, chamfer_distance, farthest_point_sample, knn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    print(f"{arguments.threads} threads, torch {torch.__version__}, {arguments.device}, "
          f"{arguments.repeats} pairs")
    device = torch.device(arguments.device)
    compare(cases(device), "plain / ours", arguments)
    if device.type == "cpu" and _fast.is_fast(torch.zeros(1)):
        compare(kernel_cases(), "torch / kernel", arguments)


def compare(rows, title: str, arguments: argparse.Namespace) -> None:
    print(f"{'operation':<58s} {title:>14s}  range        ours")
    for name, plain, ours, close in rows:
        assert close(plain(), ours()), f"{name}: the two forms disagree"
        pairs = [(clock(plain, arguments.device), clock(ours, arguments.device))
                 for _ in range(arguments.repeats)]
        ratios = sorted(a / b for a, b in pairs)
        own = statistics.median(b for _, b in pairs)
        print(f"{name:<58s} {statistics.median(ratios):14.2f}  "
              f"{ratios[0]:.2f}-{ratios[-1]:<6.2f} {own * 1e3:7.1f} ms", flush=True)


def cases(device: torch.device):
    """Name, plain form, our form and how to compare them."""
    clouds = torch.randn(32, 1024, 3, device=device)
    yield ("farthest points, 32 x 1024 -> 64 (torch loop)",
           lambda: plain_farthest(clouds, 64), lambda: farthest_point_sample(clouds, 64),
           torch.equal)
    few = clouds[:8]
    yield ("20 neighbors, 8 x 1024, 3 channels (cdist + topk)",
           lambda: torch.cdist(few, few).topk(20, largest=False).indices.sort().values,
           lambda: knn(few, few, 20).sort().values, mostly_equal)
    features = torch.randn(8, 1024, 64, device=device)
    yield ("20 neighbors, 8 x 1024, 64 channels (cdist + topk)",
           lambda: torch.cdist(features, features).topk(20, largest=False).indices.sort().values,
           lambda: knn(features, features, 20).sort().values, mostly_equal)
    a, b = (torch.randn(608, 32, 3, device=device, requires_grad=True) for _ in range(2))
    yield ("Chamfer with gradient, 608 x 32 (broadcast)",
           lambda: gradient(plain_chamfer(a, b), a), lambda: gradient(chamfer_distance(a, b), a),
           torch.allclose)
    layer = PatchEmbedding(384).to(device)
    patches = torch.randn(4, 64, 32, 3, device=device)
    yield ("patch embedding, training step, 4 x 64 x 32 (joined)",
           lambda: gradient(plain_embedding(layer, patches).sum(), layer.linear1.weight),
           lambda: gradient(layer(patches).sum(), layer.linear1.weight),
           lambda x, y: (x - y).norm() < 1e-2 * y.norm() + 1e-2)
    values = np.random.default_rng(0).normal(size=(64, 2**10))
    matrix = dense_moebius(10)
    yield ("interactions of 64 games of 10 players (dense matrix)",
           lambda: values @ matrix.T, lambda: moebius_transform(values), np.allclose)


def kernel_cases():
    """Name, torch form, kernel and how to compare them."""
    clouds = torch.randn(16, 1024, 3)
    middles = clouds[:, :512]
    features = torch.randn(8, 1024, 64)
    wide = torch.randn(8, 1024, 256)
    near = knn(clouds, clouds, 20)[:8]
    layer = EdgeConv(64, 256)
    rows = torch.randn(1024, 32, 64)
    ending = LinearNormMax(64, 128)
    mapping = LinearNorm(64, 128)
    for name, function, close in (
        ("20 neighbors, 16 x 1024, 3 channels", lambda: knn(clouds, clouds, 20), torch.equal),
        ("20 neighbors, 8 x 1024, 64 channels",
         lambda: knn(features, features, 20), torch.equal),
        ("farthest points, 16 x 1024 -> 512",
         lambda: farthest_point_sample(clouds, 512), torch.equal),
        ("balls of 32, 16 x 512 in 1024", lambda: ball_query(middles, clouds, 0.4, 32),
         torch.equal),
        ("Chamfer, 16 x 1024", lambda: chamfer_distance(clouds, clouds.flip(0)),
         torch.allclose),
        ("maximum over 20 neighbors, 8 x 1024, 256 channels",
         lambda: neighbor_max(wide, near), torch.equal),
        ("edge convolution 64 -> 256, training step, 8 x 1024",
         lambda: gradient(layer(features, near).square().sum(), layer.linear.weight), similar),
        ("linear, norm, maximum 64 -> 128, training step, 1024 x 32",
         lambda: gradient(ending(rows).square().sum(), ending.linear.weight), similar),
        ("linear, norm 64 -> 128, training step, 1024 x 32",
         lambda: gradient(mapping(rows).square().sum(), mapping.linear.weight), similar),
    ):
        yield name, partial(switched, "0", function), partial(switched, "1", function), close


def switched(kernels: str, function: Callable) -> torch.Tensor:
    os.environ[_fast.SWITCH] = kernels
    return function()


def similar(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool((a - b).norm() < 1e-2 * b.norm() + 1e-2)


def clock(function: Callable, device: str) -> float:
    start = time.perf_counter()
    function()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - start


def gradient(loss: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    return torch.autograd.grad(loss, parameter)[0]


def mostly_equal(a: torch.Tensor, b: torch.Tensor) -> bool:
    # The expanded form of cdist may swap near-ties.
    return bool((a == b).float().mean() > 0.999)


def plain_farthest(points: torch.Tensor, n_samples: int) -> torch.Tensor:
    rows = torch.arange(len(points), device=points.device)
    current = torch.zeros_like(rows)
    distance = torch.full(points.shape[:2], 1e10, device=points.device)
    picked = []
    for _ in range(n_samples):
        picked.append(current)
        step = (points - points[rows, current].unsqueeze(1)).square().sum(-1)
        distance = torch.minimum(distance, step)
        current = distance.argmax(1)
    return torch.stack(picked, dim=1)


def plain_chamfer(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    table = (a.unsqueeze(2) - b.unsqueeze(1)).square().sum(-1)
    return table.amin(2).mean() + table.amin(1).mean()


def plain_embedding(layer: PatchEmbedding, patches: torch.Tensor) -> torch.Tensor:
    n_clouds, n_groups, size, _ = patches.shape
    rows = layer.linear1(patches.reshape(-1, 3))
    rows = layer.linear2(torch.relu(layer.norm1(rows))).view(n_clouds * n_groups, size, -1)
    joined = torch.cat([rows.amax(1, keepdim=True).expand_as(rows), rows], dim=-1)
    joined = layer.linear3(joined.flatten(0, 1))
    tokens = layer.linear4(torch.relu(layer.norm2(joined)))
    return tokens.view(n_clouds, n_groups, size, -1).amax(2)


def dense_moebius(n_players: int) -> np.ndarray:
    coalitions = np.arange(2**n_players)
    inside = (coalitions[:, None] & coalitions) == coalitions
    sizes = np.array([bin(c).count("1") for c in coalitions])
    return np.where(inside, (-1.0) ** (sizes[:, None] - sizes), 0.0)


if __name__ == "__main__":
    main()
