"""The encoder of PCN (Yuan, Khot, Held, Mertz and Hebert, 3DV 2018) as a classifier.

Two small PointNets, one after the other: the second sees every point beside the maximum over
the first one's points, so that each is judged in view of the whole. There is no normalization
before the head. PCN completes partial clouds from this vector; OcCo (Wang et al., ICCV 2021)
pre-trains it so and then puts the head on. The decoder is in `pointinteract.models.completion`.

Between the rectifier of the first stage and that of the second everything is linear. With
local features ``u_i = W2 h_i + b2`` and their maximum g,

    W3 [u_i, g] + b3 = (A W2) h_i + (A b2 + B g + b3),    W3 = [A, B],

so the 256 local features of a point are only needed for their maximum, what is the same for all
points is mapped once a cloud, and both maxima are taken without carrying every row to the end.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointinteract.models._official import (
    OfficialFormat,
    OfficialSizes,
    OfficialState,
    register_official,
    unit_axes,
)
from pointinteract.models._registry import register_model
from pointinteract.nn.heads import ClassifierHead
from pointinteract.nn.pooling import fill_padding, linear_max
from pointinteract.nn.structure import WeightedPoints


class PCN(nn.Module):
    """Encoder of the point completion network, with a head for classes.

    Parameters
    ----------
    n_channels : int, default=3
    n_classes : int, default=40
    n_features : int, default=1024
        Width of the pooled feature.
    dropout : float, default=0.3
        Share of both hidden layers of the head that is dropped in training.
    """

    official_system = "pcn"
    permutation_invariant = True

    def __init__(
        self,
        *,
        n_channels: int = 3,
        n_classes: int = 40,
        n_features: int = 1024,
        dropout: float = 0.3,
    ):
        super().__init__()
        self.config = {  # what makes another one like it
            "n_channels": n_channels,
            "n_features": n_features,
            "dropout": dropout,
        }
        self.num_features = n_features
        self.dropout = dropout
        self.layer1 = nn.Linear(n_channels, 128)
        self.layer2 = nn.Linear(128, 256)
        self.layer3 = nn.Linear(2 * 256, 512)
        self.layer4 = nn.Linear(512, n_features)
        self.reset_classifier(n_classes)

    def forward(self, points: Tensor) -> Tensor:
        """Map clouds (B, N, n_channels) to class scores (B, n_classes)."""
        return self.head(self.forward_pool(points))

    def forward_features(self, points: Tensor) -> Tensor:
        """Return features of each point, (B, N, n_features), of which the maximum is taken."""
        return self.layer4(self._second_rows(points))

    def forward_pool(self, points: Tensor) -> Tensor:
        """Return the maximum over the points, (B, n_features)."""
        return linear_max(self._second_rows(points), self.layer4.weight) + self.layer4.bias

    def reset_classifier(self, n_classes: int) -> None:
        """Put a fresh head for `n_classes` classes in place of the old one; 0 takes it off."""
        head = ClassifierHead(
            self.num_features, (512, 256), n_classes, dropout=(self.dropout, self.dropout)
        )
        self.head = head.to(self.layer4.weight).train(self.training)

    def structure(self) -> WeightedPoints:
        """Say that repeated points change nothing: both maxima see a set of points."""
        return WeightedPoints(forward=self._forward_weighted)

    def _forward_weighted(self, points: Tensor, counts: Tensor) -> Tensor:
        return self.forward(fill_padding(points, counts))

    def _second_rows(self, points: Tensor) -> Tensor:
        """What the second stage makes of each point, after its rectifier: (B, N, 512)."""
        rows = F.relu_(self.layer1(points))  # (B, N, 128)
        whole = linear_max(rows, self.layer2.weight) + self.layer2.bias  # (B, 256)
        joined = self.layer3.weight[:, :256] @ self.layer2.weight  # (512, 128)
        same = torch.cat([self.layer2.bias.expand_as(whole), whole], dim=1)
        offset = F.linear(same, self.layer3.weight, self.layer3.bias)  # (B, 512)
        return F.relu_(F.linear(rows, joined) + offset.unsqueeze(1))


@register_model
def pcn(*, n_channels: int = 3, n_classes: int = 40, dropout: float = 0.3) -> PCN:
    """PCN's encoder with the head that OcCo fine-tunes, 1.5 million parameters."""
    return PCN(n_channels=n_channels, n_classes=n_classes, dropout=dropout)


def _build(state: OfficialState, sizes: OfficialSizes) -> PCN:
    return PCN(
        n_channels=sizes.check("num_channel", state.shape("feat.conv1.weight", 3)[1]),
        n_classes=sizes.check("num_class", state.shape("fc3.weight", 2)[0]),
        n_features=state.shape("feat.conv4.weight", 3)[0],
        dropout=sizes.get("dropout", 0.3),
    )


# hansen7/OcCo, OcCo_Torch/models/pcn_cls.py
register_official(
    OfficialFormat(
        system="pcn",
        build=_build,
        renames=(
            (r"^layer(\d)", r"feat.conv\1"),
            (r"^head\.layers\.0\.linear", "fc1"),
            (r"^head\.layers\.1\.linear", "fc2"),
            (r"^head\.layers\.0\.norm", "bn1"),
            (r"^head\.layers\.1\.norm", "bn2"),
            (r"^head\.out", "fc3"),
        ),
        layouts=((r"conv\d\.weight$", unit_axes(1)),),
    )
)
