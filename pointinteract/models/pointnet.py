"""PointNet (Qi, Su, Mo and Guibas, CVPR 2017).

Every point passes alone through the same layers, and the maximum over points makes one vector
of the cloud. Two small networks of the same kind first predict a transform of the coordinates
and one of the 64 first features, to take differences of pose away. `PointNetBasic` does
without them; it is the baseline of the DGCNN paper.
"""

import torch
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
from pointinteract.nn.mlp import LinearNorm
from pointinteract.nn.pooling import LinearNormMax, fill_padding
from pointinteract.nn.pose import PosedPoints
from pointinteract.nn.structure import SetPool

_REGULARIZATION = 0.001


class TransformNet(nn.Module):
    """Predict a square matrix from a set of rows: a small PointNet.

    Parameters
    ----------
    n_in : int
        Channels of the rows it looks at.
    size : int
        Rows and columns of the matrix.
    """

    def __init__(self, n_in: int, size: int):
        super().__init__()
        self.size = size
        self.layer1 = LinearNorm(n_in, 64)
        self.layer2 = LinearNorm(64, 128)
        self.layer3 = LinearNormMax(128, 1024)
        self.layer4 = LinearNorm(1024, 512)
        self.layer5 = LinearNorm(512, 256)
        self.out = nn.Linear(256, size * size)
        # So that the transform begins as the identity, as in the original.
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, rows: Tensor) -> Tensor:
        """Map (B, N, n_in) to (B, size, size)."""
        return self.to_matrix(self.layer3(self.layer2(self.layer1(rows))))

    def forward_points(self, rows: Tensor) -> Tensor:
        """Map (B, N, n_in) to (B, N, 1024): what the maximum is taken of."""
        return self.layer3.forward_points(self.layer2(self.layer1(rows)))

    def to_matrix(self, pooled: Tensor) -> Tensor:
        """Map the maximum over the rows (B, 1024) to (B, size, size)."""
        matrix = self.out(self.layer5(self.layer4(pooled))).view(-1, self.size, self.size)
        return matrix + torch.eye(self.size, dtype=pooled.dtype, device=pooled.device)


class PointNet(nn.Module):
    """PointNet with both transform networks.

    Parameters
    ----------
    n_channels : int, default=3
        Channels per point. Those after the coordinates pass by the first transform.
    n_classes : int, default=40
    dropout : float, default=0.4
        Share of the second hidden layer that is dropped in training.
    """

    official_system = "pointnet"
    permutation_invariant = True
    num_features = 1024

    def __init__(self, *, n_channels: int = 3, n_classes: int = 40, dropout: float = 0.4):
        super().__init__()
        self.config = {"n_channels": n_channels, "dropout": dropout}  # makes another one like it
        self.dropout = dropout
        self.input_transform = TransformNet(n_channels, 3)
        self.layer1 = LinearNorm(n_channels, 64)
        self.feature_transform = TransformNet(64, 64)
        self.layer2 = LinearNorm(64, 128)
        self.layer3 = LinearNormMax(128, self.num_features, negative_slope=None)
        self.reset_classifier(n_classes)
        self._last_transform: Tensor | None = None

    def forward(self, points: Tensor) -> Tensor:
        """Map clouds (B, N, n_channels) to class scores (B, n_classes)."""
        return self.head(self.forward_pool(points))

    def forward_features(self, points: Tensor) -> Tensor:
        """Return 1024 features of each point, (B, N, 1024), of which the maximum is taken."""
        return self.layer3.forward_points(self._forward_points(points))

    def forward_pool(self, points: Tensor) -> Tensor:
        """Return the maximum over the points, (B, 1024)."""
        return self.layer3(self._forward_points(points))

    def reset_classifier(self, n_classes: int) -> None:
        """Put a fresh head for `n_classes` classes in place of the old one; 0 takes it off."""
        head = ClassifierHead(
            self.num_features, (512, 256), n_classes, inner_dropout=(0.0, self.dropout)
        )
        self.head = head.to(self.layer3.linear.weight).train(self.training)

    def structure(self) -> PosedPoints:
        """Say that repeated points change nothing, and how the first transform is found.

        All three maxima see the same set of points, and the first transform only depends on a
        maximum over points as they came: a third of the work for a cloud.
        """
        return PosedPoints(
            forward=self._forward_weighted,
            pose=SetPool(
                encode=self.input_transform.forward_points,
                head=self.input_transform.to_matrix,
                pool="max",
            ),
            forward_posed=self._forward_posed,
        )

    def _forward_weighted(self, points: Tensor, counts: Tensor) -> Tensor:
        return self.forward(fill_padding(points, counts))

    def _forward_posed(self, points: Tensor, counts: Tensor, pose: Tensor) -> Tensor:
        rows = self._forward_points(fill_padding(points, counts), pose)
        return self.head(self.layer3(rows))

    def auxiliary_loss(self) -> Tensor:
        """Return 0.001 times the mean Frobenius norm of A A^T - I.

        A is the feature transform of the last forward pass in training mode, which is
        forgotten here; without one the loss is zero.
        """
        transform, self._last_transform = self._last_transform, None
        if transform is None:
            return self.layer1.linear.weight.new_zeros(())
        identity = torch.eye(64, dtype=transform.dtype, device=transform.device)
        deviation = transform @ transform.transpose(1, 2) - identity  # (B, 64, 64)
        return _REGULARIZATION * _safe_norm(deviation).mean()

    def _forward_points(self, points: Tensor, pose: Tensor | None = None) -> Tensor:
        xyz, extra = points[..., :3], points[..., 3:]
        xyz = xyz @ (self.input_transform(points) if pose is None else pose)
        rows = self.layer1(torch.cat([xyz, extra], dim=-1) if extra.shape[-1] else xyz)
        transform = self.feature_transform(rows)
        if self.training:
            self._last_transform = transform
        return self.layer2(rows @ transform)  # (B, N, 128)

    def __getstate__(self) -> dict:
        # A tensor inside a graph can be neither copied nor pickled, and is not worth it.
        return {**self.__dict__, "_last_transform": None}


class PointNetBasic(nn.Module):
    """PointNet without transform networks, as the DGCNN paper compares with.

    Parameters
    ----------
    n_channels : int, default=3
    n_classes : int, default=40
    n_features : int, default=1024
        Width of the pooled feature.
    dropout : float, default=0.5
        Share of the hidden layer of the head that is dropped in training.
    """

    official_system = "pointnet_basic"
    permutation_invariant = True

    def __init__(
        self,
        *,
        n_channels: int = 3,
        n_classes: int = 40,
        n_features: int = 1024,
        dropout: float = 0.5,
    ):
        super().__init__()
        self.config = {  # what makes another one like it
            "n_channels": n_channels,
            "n_features": n_features,
            "dropout": dropout,
        }
        self.num_features = n_features
        self.dropout = dropout
        self.layer1 = LinearNorm(n_channels, 64, bias=False)
        self.layer2 = LinearNorm(64, 64, bias=False)
        self.layer3 = LinearNorm(64, 64, bias=False)
        self.layer4 = LinearNorm(64, 128, bias=False)
        self.layer5 = LinearNormMax(128, n_features, bias=False)
        self.reset_classifier(n_classes)

    def forward(self, points: Tensor) -> Tensor:
        """Map clouds (B, N, n_channels) to class scores (B, n_classes)."""
        return self.head(self.forward_pool(points))

    def forward_features(self, points: Tensor) -> Tensor:
        """Return features of each point, (B, N, n_features), of which the maximum is taken."""
        return self.layer5.forward_points(self._forward_points(points))

    def forward_pool(self, points: Tensor) -> Tensor:
        """Return the maximum over the points, (B, n_features)."""
        return self.layer5(self._forward_points(points))

    def reset_classifier(self, n_classes: int) -> None:
        """Put a fresh head for `n_classes` classes in place of the old one; 0 takes it off."""
        head = ClassifierHead(
            self.num_features, (512,), n_classes, bias=(False,), dropout=(self.dropout,)
        )
        self.head = head.to(self.layer5.linear.weight).train(self.training)

    def structure(self) -> SetPool:
        """Say that every point is mapped alone and the maximum is all that is kept."""
        return SetPool(
            encode=self.forward_features,
            head=self.head,
            pool="max",
            encode_max=self.forward_pool,
        )

    def _forward_points(self, points: Tensor) -> Tensor:
        return self.layer4(self.layer3(self.layer2(self.layer1(points))))  # (B, N, 128)


@register_model
def pointnet(*, n_channels: int = 3, n_classes: int = 40, dropout: float = 0.4) -> PointNet:
    """PointNet with input and feature transforms, 3.5 million parameters."""
    return PointNet(n_channels=n_channels, n_classes=n_classes, dropout=dropout)


@register_model
def pointnet_basic(
    *, n_channels: int = 3, n_classes: int = 40, dropout: float = 0.5
) -> PointNetBasic:
    """PointNet without transforms, 0.7 million parameters."""
    return PointNetBasic(n_channels=n_channels, n_classes=n_classes, dropout=dropout)


def _safe_norm(matrices: Tensor) -> Tensor:
    """Frobenius norm of (B, n, n), with gradient zero instead of NaN at zero."""
    squared = matrices.square().sum((1, 2))
    zero = squared == 0  # as it is when training begins
    return torch.where(zero, 0.0, torch.where(zero, 1.0, squared).sqrt())


def _build_pointnet(state: OfficialState, sizes: OfficialSizes) -> PointNet:
    n_channels = state.shape("feat.conv1.weight", 3)[1]
    sizes.check("normal_channel", n_channels > 3)
    n_classes = sizes.check("k", state.shape("fc3.weight", 2)[0])
    return PointNet(n_channels=n_channels, n_classes=n_classes)


def _build_pointnet_basic(state: OfficialState, sizes: OfficialSizes) -> PointNetBasic:
    return PointNetBasic(
        n_channels=state.shape("conv1.weight", 3)[1],
        n_classes=sizes.check("output_channels", state.shape("linear2.weight", 2)[0]),
        n_features=sizes.check("emb_dims", state.shape("conv5.weight", 3)[0]),
        dropout=sizes.get("dropout", 0.5),
    )


# yanx27/Pointnet_Pointnet2_pytorch, models/pointnet_cls.py
register_official(
    OfficialFormat(
        system="pointnet",
        build=_build_pointnet,
        renames=(
            (r"^head\.layers\.0\.linear", "fc1"),
            (r"^head\.layers\.1\.linear", "fc2"),
            (r"^head\.layers\.0\.norm", "bn1"),
            (r"^head\.layers\.1\.norm", "bn2"),
            (r"^head\.out", "fc3"),
            (r"^(input_transform|feature_transform|layer)", r"feat.\1"),
            (r"input_transform", "stn"),
            (r"feature_transform", "fstn"),
            (r"layer([123])\.linear", r"conv\1"),
            (r"layer4\.linear", "fc1"),
            (r"layer5\.linear", "fc2"),
            (r"layer(\d)\.norm", r"bn\1"),
            (r"stn\.out", "stn.fc3"),
        ),
        layouts=((r"conv\d\.weight$", unit_axes(1)),),
    )
)

# WangYueFt/dgcnn, pytorch/model.py
POINTNET_BASIC_FORMAT = register_official(
    OfficialFormat(
        system="pointnet_basic",
        build=_build_pointnet_basic,
        renames=(
            (r"^head\.layers\.0\.linear", "linear1"),
            (r"^head\.layers\.0\.norm", "bn6"),
            (r"^head\.out", "linear2"),
            (r"^layer(\d)\.linear", r"conv\1"),
            (r"^layer(\d)\.norm", r"bn\1"),
        ),
        layouts=((r"^conv\d\.weight$", unit_axes(1)),),
    )
)
