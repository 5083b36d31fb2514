"""Networks that the interaction benchmark times, and literal forms to time them against."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointinteract.games import moebius_transform, or_interactions
from pointinteract.models import DGCNN, PointNetBasic, ReCon
from pointinteract.nn.heads import ClassifierHead
from pointinteract.ops import gather

# Batches of a forward pass are tried in these sizes; the fastest is the floor.
BATCH_SIZES = (4, 8, 16, 32, 64, 128)


def full_pointnet(n_classes: int = 40) -> PointNetBasic:
    """PointNet without transforms, with the head of the full one: 512, 256, classes."""
    network = PointNetBasic(n_classes=n_classes)
    network.head = ClassifierHead(1024, (512, 256), n_classes)
    return settled(network)


def full_dgcnn(n_classes: int = 40) -> DGCNN:
    """DGCNN with the sizes of its paper."""
    return settled(DGCNN(n_classes=n_classes))


def recon_base(n_classes: int = 40) -> ReCon:
    """The trunk of the published ReCon: 64 patches of 32 points, width 384, 12 blocks."""
    return settled(ReCon(n_classes=n_classes))


def settled(network: nn.Module) -> nn.Module:
    """Give normalization layers statistics and weights that are not 0 and 1, as training does."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if getattr(module, "running_var", None) is not None:
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
            with torch.no_grad():
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.bias.normal_(0, 0.1, generator=generator)
    return network.eval()


def literal_dgcnn(network: DGCNN):
    """Return the forward pass of DGCNN as its paper writes it, with the weights of ours.

    Every edge [x_j - x_i, x_i] is written out and mapped: (B, N, k, 2 C).
    """

    def edge_convolution(layer, features: Tensor) -> Tensor:
        inner = features @ features.transpose(1, 2)
        square = features.square().sum(-1)
        distance = square[:, :, None] - 2 * inner + square[:, None]
        neighbors = distance.topk(network.n_neighbors, largest=False).indices
        other = gather(features, neighbors)
        own = features[:, :, None].expand_as(other)
        edges = F.linear(torch.cat([other - own, own], dim=-1), layer.linear.weight)
        norm = layer.norm
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        edges = edges * scale + (norm.bias - norm.running_mean * scale)
        return F.leaky_relu(edges, 0.2).amax(2)

    def forward(points: Tensor) -> Tensor:
        outputs = []
        features = points
        for layer in (network.edge1, network.edge2, network.edge3, network.edge4):
            features = edge_convolution(layer, features)
            outputs.append(features)
        rows = network.embed(torch.cat(outputs, dim=-1))
        return network.head(torch.cat([rows.amax(1), rows.mean(1)], dim=1))

    return forward


def masked_forwards(
    forward, points: Tensor, regions: Tensor, coalitions: np.ndarray, batch_size: int
) -> Tensor:
    """The floor: nothing but masks and forward passes, (S, K)."""
    center = points.mean(0)
    keep = torch.tensor(coalitions)  # a copy: the table of all coalitions is read-only
    outputs = []
    with torch.inference_mode():
        for rows in keep.split(batch_size):
            masked = torch.where(rows[:, regions, None], points, center)
            outputs.append(forward(masked))
    return torch.cat(outputs)


def plain_tokens(
    network: ReCon, points: Tensor, regions: Tensor, coalitions: np.ndarray, batch_size: int
) -> Tensor:
    """The floor of patch models: every coalition embeds its cloud and reads all its tokens."""
    structure = network.structure()
    empty_token, empty_center = structure.baseline()
    keep = torch.tensor(coalitions)
    outputs = []
    with torch.inference_mode():
        for rows in keep.split(batch_size):
            clouds = points.expand(len(rows), *points.shape)
            index, centers = structure.patches(clouds)
            tokens = structure.embed(clouds, index)
            present = rows[:, regions[index[0, :, 0]], None]
            tokens = torch.where(present, tokens, empty_token)
            centers = torch.where(present, centers, empty_center)
            counts = torch.ones(tokens.shape[:2], dtype=torch.int64)
            outputs.append(structure.forward_tokens(tokens, centers, counts))
    return torch.cat(outputs)


class DenseAndOr:
    """The published AND-OR split of one sample: subgradient steps with two 2^n x 2^n matrices.

    Parameters
    ----------
    values : ndarray of shape (2^n,)
    n_steps : int
        Over which the learning rate falls tenfold.
    """

    def __init__(self, values: np.ndarray, n_steps: int) -> None:
        size = len(values)
        and_matrix = moebius_transform(np.eye(size)).T
        or_matrix = or_interactions(np.eye(size)).T
        self.and_matrix = torch.from_numpy(and_matrix.astype(np.float32))
        self.or_matrix = torch.from_numpy(or_matrix.astype(np.float32))
        self.values = torch.from_numpy((values - values[0]).astype(np.float32))
        self.bound = 0.04 * float(abs(values[-1] - values[0]))
        self.gamma = torch.zeros(size, requires_grad=True)
        self.noise = torch.zeros(size, requires_grad=True)
        self.optimizer = torch.optim.SGD([self.gamma, self.noise], lr=1e-4, momentum=0.9)
        self.factor = 0.1 ** (1 / n_steps)

    def step(self) -> None:
        with torch.no_grad():
            self.noise.clamp_(-self.bound, self.bound)
        half = (self.values - self.noise) / 2
        loss = (self.and_matrix @ (half + self.gamma)).abs().sum()
        loss = loss + (self.or_matrix @ (half - self.gamma)).abs().sum()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        for group in self.optimizer.param_groups:
            group["lr"] *= self.factor
