"""Networks that tell views of one cloud from those of others: an encoder and projections.

Contrastive families put a small network on the pooled feature of an encoder and compare what
comes out of it, so that the feature itself may keep what the comparison throws away. All of them
work with any encoder of the contract of `pointinteract.models`.

=====================  ====================================================  ==============
network                beside the encoder and its projection                 families
=====================  ====================================================  ==============
`ContrastNetwork`      nothing                                               SimCLR
`MomentumContrast`     a slow copy of both, and a queue of what it said      MoCo
`BootstrapNetwork`     a slow copy of both, and a prediction of what it says BYOL, STRL
`CrossPointNetwork`    a network of pictures with a projection of its own    CrossPoint
=====================  ====================================================  ==============

Checkpoints of the originals of STRL and CrossPoint are described at the end.
"""

import re
from typing import Any

import torch
from torch import Tensor, nn

from pointinteract.models._official import (
    Layout,
    OfficialFormat,
    OfficialSizes,
    OfficialState,
    register_official,
)
from pointinteract.models.dgcnn import DGCNN, DGCNN_FORMAT
from pointinteract.models.pointnet import POINTNET_BASIC_FORMAT, PointNetBasic
from pointinteract.nn.mlp import LinearNorm
from pointinteract.nn.momentum import FeatureQueue, follow, momentum_copy
from pointinteract.nn.resnet import ResNet, resnet18

__all__ = [
    "IMAGE_NETWORKS",
    "BootstrapNetwork",
    "ContrastNetwork",
    "CrossPointNetwork",
    "MomentumContrast",
    "ProjectionHead",
    "make_image_network",
]

IMAGE_NETWORKS = ("small", "resnet18")


class ProjectionHead(nn.Module):
    """Linear layer, batch normalization, ReLU, linear layer: (B, n_in) to (B, n_out).

    Parameters
    ----------
    n_in, hidden, n_out : int
        Channels before, within and after.
    bias : bool, default=True
        Whether both linear layers have one.
    """

    def __init__(self, n_in: int, hidden: int, n_out: int, *, bias: bool = True):
        super().__init__()
        self.layer = LinearNorm(n_in, hidden, bias=bias)
        self.out = nn.Linear(hidden, n_out, bias=bias)

    def forward(self, rows: Tensor) -> Tensor:
        """Map (B, n_in) to (B, n_out)."""
        return self.out(self.layer(rows))


class ContrastNetwork(nn.Module):
    """Encoder and projection.

    Parameters
    ----------
    encoder : torch.nn.Module
        Answers ``forward_pool(points)``, (B, ``num_features``).
    hidden : int, default=512
        Width of the hidden layer of the projection.
    width : int, default=128
        Width of what is compared.
    bias : bool, default=True
        Whether the linear layers of the projection have biases.
    """

    def __init__(
        self, encoder: Any, *, hidden: int = 512, width: int = 128, bias: bool = True
    ):
        super().__init__()
        self.encoder = encoder
        self.projector = ProjectionHead(encoder.num_features, hidden, width, bias=bias)

    @property
    def permutation_invariant(self) -> bool:
        """Whether the features do not depend on the order of the points."""
        return bool(getattr(self.encoder, "permutation_invariant", False))

    def forward(self, points: Tensor) -> Tensor:
        """Map clouds (B, N, C) to projections (B, width), not normalized."""
        return self.projector(self.encoder.forward_pool(points))


class MomentumContrast(ContrastNetwork):
    """Encoder and projection for queries, a slow copy of both for keys, and a queue of keys.

    Parameters
    ----------
    encoder, hidden, width
        As in :class:`ContrastNetwork`.
    queue_length : int, default=4096
        Keys that are kept.
    """

    def __init__(
        self, encoder: Any, *, hidden: int = 512, width: int = 128, queue_length: int = 4096
    ):
        super().__init__(encoder, hidden=hidden, width=width)
        self.key_encoder = momentum_copy(self.encoder)
        self.key_projector = momentum_copy(self.projector)
        self.queue = FeatureQueue(width, queue_length)

    @torch.no_grad()
    def keys(self, points: Tensor) -> Tensor:
        """Map clouds (B, N, C) to keys (B, width), not normalized, without gradient."""
        return self.key_projector(self.key_encoder.forward_pool(points))

    def follow(self, momentum: float) -> None:
        """Move the network of the keys towards that of the queries, statistics aside."""
        follow(self.key_encoder, self.encoder, momentum)
        follow(self.key_projector, self.projector, momentum)


class BootstrapNetwork(ContrastNetwork):
    """Encoder, projection and prediction, and a slow copy of the first two as target.

    Parameters
    ----------
    encoder, hidden, width
        As in :class:`ContrastNetwork`. Nothing here has biases, as in the code of STRL.
    """

    def __init__(self, encoder: Any, *, hidden: int = 512, width: int = 128):
        super().__init__(encoder, hidden=hidden, width=width, bias=False)
        self.predictor = ProjectionHead(width, hidden, width, bias=False)
        self.target_encoder = momentum_copy(self.encoder)
        self.target_projector = momentum_copy(self.projector)

    @property
    def official_system(self) -> str | None:
        """``"strl"``, if its code has this encoder."""
        return "strl" if isinstance(self.encoder, (DGCNN, PointNetBasic)) else None

    def forward(self, points: Tensor) -> Tensor:
        """Map clouds (B, N, C) to predictions (B, width) of what the target says."""
        return self.predictor(super().forward(points))

    @torch.no_grad()
    def targets(self, points: Tensor) -> Tensor:
        """Map clouds (B, N, C) to what the target says, (B, width), without gradient."""
        return self.target_projector(self.target_encoder.forward_pool(points))

    def follow(self, momentum: float, *, buffers: bool = False) -> None:
        """Move the target towards the online network, with `buffers` also its statistics."""
        follow(self.target_encoder, self.encoder, momentum, buffers=buffers)
        follow(self.target_projector, self.projector, momentum, buffers=buffers)


class CrossPointNetwork(ContrastNetwork):
    """Encoder and projection of clouds beside those of pictures.

    Parameters
    ----------
    encoder, hidden, width
        As in :class:`ContrastNetwork`.
    image_network : {"small", "resnet18"} or None, default="small"
        See :func:`make_image_network`. None: clouds only, such as the checkpoints of the
        original hold.
    image_channels : int, default=1
        Channels of a picture.
    image_hidden : int, default=512
        Width of the hidden layer of the pictures' projection, which has no biases.
    """

    def __init__(
        self,
        encoder: Any,
        *,
        hidden: int = 1024,
        width: int = 256,
        image_network: str | None = "small",
        image_channels: int = 1,
        image_hidden: int = 512,
    ):
        super().__init__(encoder, hidden=hidden, width=width)
        self.image_encoder: ResNet | None = None
        self.image_projector: ProjectionHead | None = None
        if image_network is not None:
            self.image_encoder = make_image_network(image_network, image_channels)
            self.image_projector = ProjectionHead(
                self.image_encoder.num_features, image_hidden, width, bias=False
            )

    @property
    def official_system(self) -> str | None:
        """``"crosspoint"``, if its code has this encoder."""
        return "crosspoint" if isinstance(self.encoder, DGCNN) else None

    def project_pictures(self, pictures: Tensor) -> Tensor:
        """Map pictures (B, C, H, W) to projections (B, width), not normalized."""
        if self.image_encoder is None or self.image_projector is None:
            raise ValueError("this CrossPointNetwork was made without a network of pictures.")
        return self.image_projector(self.image_encoder(pictures))


def make_image_network(name: str, n_channels: int) -> ResNet:
    """Make a residual network of pictures, without classifier.

    ``"small"`` has 0.3 million parameters, for pictures of about 64 pixels; ``"resnet18"``
    has 11 million.
    """
    if name == "resnet18":
        return resnet18(n_channels=n_channels)
    if name != "small":
        raise ValueError(f"image_network must be one of {IMAGE_NETWORKS}, got {name!r}.")
    return ResNet(
        n_channels=n_channels, widths=(16, 32, 64, 128), n_blocks=(1, 1, 1, 1), stem_size=5,
        stem_pool=False,
    )


Renames = tuple[tuple[str, str], ...]
Layouts = tuple[tuple[str, Layout], ...]


def _renames_within(form: OfficialFormat, ours: str, theirs: str) -> Renames:
    """Renames of a format for a module that is a part called `ours`, and there `theirs`."""
    return tuple((rf"^{re.escape(ours)}{pattern[1:]}", theirs + name)
                 for pattern, name in form.renames)  # fmt: skip


def _layouts_within(form: OfficialFormat, theirs: str) -> Layouts:
    return tuple((rf"^{re.escape(theirs)}{pattern[1:]}", layout)
                 for pattern, layout in form.layouts)  # fmt: skip


def _aliases_within(form: OfficialFormat, theirs: str) -> Renames:
    return tuple((rf"^{re.escape(theirs)}{pattern[1:]}", theirs + name)
                 for pattern, name in form.aliases)  # fmt: skip


def _head_renames(ours: str, theirs: str) -> Renames:
    """Of a `ProjectionHead`, which the originals number: linear, norm, (ReLU), linear."""
    return tuple(
        (rf"^{ours}\.{part}\.", f"{theirs}.{number}.")
        for part, number in ((r"layer\.linear", 0), (r"layer\.norm", 1), ("out", 3))
    )


def _find_dgcnn(state: OfficialState, sizes: OfficialSizes, prefix: str, k: int) -> DGCNN:
    """DGCNN without its head, or with it in a file of a fine-tuned classifier."""
    n_classes = 0
    if "linear3.weight" in state:
        n_classes = sizes.check("output_channels", state.shape("linear3.weight", 2)[0])
    return DGCNN(
        n_channels=state.shape(f"{prefix}conv1.0.weight", 4)[1] // 2,
        n_classes=n_classes,
        n_neighbors=sizes.get("k", k),
        n_features=sizes.check("emb_dims", state.shape(f"{prefix}conv5.0.weight", 3)[0]),
        dropout=sizes.get("dropout", 0.5),
    )


def _build_strl(state: OfficialState, sizes: OfficialSizes) -> nn.Module:
    """Both networks of a training, or what its script keeps of the online one: the encoder."""
    online = "online_network.projector.0.weight"
    prefix = "online_network." if online in state else ""
    encoder: DGCNN | PointNetBasic
    if f"{prefix}conv1.weight" in state:
        encoder = PointNetBasic(
            n_channels=state.shape(f"{prefix}conv1.weight", 3)[1],
            n_classes=0,
            n_features=sizes.check("emb_dims", state.shape(f"{prefix}conv5.weight", 3)[0]),
        )
    else:
        encoder = _find_dgcnn(state, sizes, prefix, 40)
    if not prefix:
        return encoder
    width = state.shape("online_network.projector.3.weight", 2)[0]
    return BootstrapNetwork(
        encoder,
        hidden=sizes.check("mlp_hidden_size", state.shape(online, 2)[0]),
        width=sizes.check("projection_size", width),
    )


def _build_crosspoint(state: OfficialState, sizes: OfficialSizes) -> nn.Module:
    encoder = _find_dgcnn(state, sizes, "", 15)
    if "linear3.weight" in state and "inv_head.0.weight" not in state:
        return encoder
    return CrossPointNetwork(
        encoder,
        hidden=state.shape("inv_head.0.weight", 2)[0],
        width=state.shape("inv_head.3.weight", 2)[0],
        image_network=None,
    )


_PARTS = (("encoder.", "online_network."), ("target_encoder.", "target_network."), ("", ""))
_STRL_FORMATS = (DGCNN_FORMAT, POINTNET_BASIC_FORMAT)

# yichen928/STRL, BYOL/models: what Lightning saves of it, and what transform_ckpt.py keeps
register_official(
    OfficialFormat(
        system="strl",
        build=_build_strl,
        renames=(
            *(pair for ours, theirs in _PARTS for form in _STRL_FORMATS
              for pair in _renames_within(form, ours, theirs)),
            *_head_renames("projector", "online_network.projector"),
            *_head_renames("predictor", "online_network.predictor"),
            *_head_renames("target_projector", "target_network.projector"),
        ),
        layouts=tuple(pair for _, theirs in _PARTS for form in _STRL_FORMATS
                      for pair in _layouts_within(form, theirs)),
        aliases=tuple(pair for _, theirs in _PARTS
                      for pair in _aliases_within(DGCNN_FORMAT, theirs)),
    )
)  # fmt: skip

# MohamedAfham/CrossPoint, models/dgcnn.py; its network of pictures is kept in another file
register_official(
    OfficialFormat(
        system="crosspoint",
        build=_build_crosspoint,
        renames=(
            (r"^image_.*", ""),
            *_renames_within(DGCNN_FORMAT, "encoder.", ""),
            *DGCNN_FORMAT.renames,
            *_head_renames("projector", "inv_head"),
        ),
        layouts=DGCNN_FORMAT.layouts,
        aliases=DGCNN_FORMAT.aliases,
    )
)
