"""Networks for point clouds, one file per architecture.

Every model takes clouds (n_clouds, n_points, n_channels), coordinates first, and answers

* ``forward_features(points)``: features per point or token, (B, N or G, C);
* ``forward_pool(points)``: one vector per cloud, (B, ``num_features``), as it enters the head;
* ``num_features``: the width of that vector;
* ``reset_classifier(n_classes)``: a fresh head for other classes, the rest kept; 0 takes the
  head off, and `forward` then answers with the pooled feature;
* ``forward(points)``: class scores before any softmax, (B, n_classes).

It says by ``permutation_invariant`` whether the order of the points is irrelevant to it (up
to exact ties between distances). It may offer ``auxiliary_loss()``: a scalar that training
adds to its loss, from the last forward pass in training mode (PointNet's regularizer).
Checkpoints of the original systems come and go by `load_official` and `to_official`.

Networks that name the part every point belongs to have a trunk of these, ``encoder``, and a
registry of their own: `create_segmentation_model`, `list_segmentation_models`, and
`segmentation_model_for`, which continues a pre-trained trunk.

Frozen encoders of pictures, texts and clouds, from which pre-training learns, are in
`pointinteract.models.teachers`. Where a transformer looks, `attention_maps` tells.
"""

from pointinteract.models import (
    _act,  # noqa: F401  (makes its checkpoints known)
    _point_bert,  # noqa: F401  (the same)
    _point_m2ae,  # noqa: F401  (the same)
    _segmentation_dgcnn,  # noqa: F401  (the same)
)
from pointinteract.models._attention_maps import AttentionMaps, attention_maps
from pointinteract.models._export import OnnxFile, export_onnx, export_program
from pointinteract.models._official import list_official, load_official, to_official
from pointinteract.models._picture_transformers import TransformersPictures
from pointinteract.models._registry import create_model, list_models, register_model
from pointinteract.models._segmentation_registry import (
    create_segmentation_model,
    list_segmentation_models,
    register_segmentation_model,
    segmentation_model_for,
)
from pointinteract.models.act import ACTPretraining
from pointinteract.models.act_autoencoder import ACTAutoencoder
from pointinteract.models.clip2point import CLIP2PointNetwork, DepthViewEncoder
from pointinteract.models.contrast import (
    BootstrapNetwork,
    ContrastNetwork,
    CrossPointNetwork,
    MomentumContrast,
)
from pointinteract.models.curvenet import CurveNet
from pointinteract.models.dense_contrast import PointEmbeddingNetwork
from pointinteract.models.dgcnn import DGCNN
from pointinteract.models.discrete_vae import DiscreteVAE
from pointinteract.models.frozen_transformer import FrozenTransformer, read_frozen_transformer
from pointinteract.models.gdanet import GDANet
from pointinteract.models.i2p_mae import I2PMAEPretraining
from pointinteract.models.implicit import ImplicitNetwork
from pointinteract.models.maskpoint import MaskPointPretraining
from pointinteract.models.mvtn import MVTN
from pointinteract.models.p2p import P2P
from pointinteract.models.pcn import PCN
from pointinteract.models.pct import PCT
from pointinteract.models.point_bert import PointBERTPretraining
from pointinteract.models.point_gpt import PointGPT
from pointinteract.models.point_gpt_pretraining import PointGPTPretraining
from pointinteract.models.point_m2ae import PointM2AE
from pointinteract.models.point_m2ae_pretraining import PointM2AEPretraining
from pointinteract.models.point_mae import PointMAEPretraining
from pointinteract.models.point_transformer import PointTransformer
from pointinteract.models.pointcnn import PointCNN
from pointinteract.models.pointmlp import PointMLP
from pointinteract.models.pointnet import PointNet, PointNetBasic
from pointinteract.models.pointnet2 import PointNet2
from pointinteract.models.pointnext import PointNeXt
from pointinteract.models.recon import ReCon
from pointinteract.models.recon_baselines import (
    MultiTaskPretraining,
    MultiTaskReCon,
    TwoTowerPretraining,
    TwoTowerReCon,
)
from pointinteract.models.recon_pretraining import ReConPretraining
from pointinteract.models.segmentation_dgcnn import (
    DGCNNParts,
    DGCNNPartsSegmentation,
    DGCNNSegmentation,
)
from pointinteract.models.segmentation_point_bert import PointBERTSegmentation
from pointinteract.models.segmentation_point_mae import PointMAESegmentation
from pointinteract.models.segmentation_pointnet2 import PointNet2Segmentation
from pointinteract.models.segmentation_recon import ReConSegmentation
from pointinteract.models.simpleview import SimpleView
from pointinteract.models.teachers import (
    DepthDescriptorTeacher,
    SentenceEncoder,
    TextEncoder,
    resolve_teacher,
)
from pointinteract.models.ulip import ULIPNetwork

__all__ = [
    "ACTAutoencoder",
    "ACTPretraining",
    "AttentionMaps",
    "BootstrapNetwork",
    "CLIP2PointNetwork",
    "ContrastNetwork",
    "CrossPointNetwork",
    "CurveNet",
    "DGCNN",
    "DGCNNParts",
    "DGCNNPartsSegmentation",
    "DGCNNSegmentation",
    "DepthDescriptorTeacher",
    "DepthViewEncoder",
    "DiscreteVAE",
    "FrozenTransformer",
    "GDANet",
    "ImplicitNetwork",
    "MaskPointPretraining",
    "I2PMAEPretraining",
    "MultiTaskPretraining",
    "MultiTaskReCon",
    "OnnxFile",
    "P2P",
    "MomentumContrast",
    "MVTN",
    "PCN",
    "PointBERTPretraining",
    "PointBERTSegmentation",
    "PointGPT",
    "PointGPTPretraining",
    "PointMAEPretraining",
    "PointMAESegmentation",
    "PointM2AE",
    "PointM2AEPretraining",
    "PointMLP",
    "PCT",
    "PointCNN",
    "PointEmbeddingNetwork",
    "PointNet",
    "PointNet2",
    "PointNet2Segmentation",
    "PointNetBasic",
    "PointTransformer",
    "PointNeXt",
    "ReCon",
    "ReConPretraining",
    "ReConSegmentation",
    "SentenceEncoder",
    "SimpleView",
    "TextEncoder",
    "TransformersPictures",
    "TwoTowerPretraining",
    "TwoTowerReCon",
    "ULIPNetwork",
    "attention_maps",
    "create_model",
    "create_segmentation_model",
    "export_onnx",
    "export_program",
    "list_models",
    "list_official",
    "list_segmentation_models",
    "load_official",
    "read_frozen_transformer",
    "register_model",
    "register_segmentation_model",
    "resolve_teacher",
    "segmentation_model_for",
    "to_official",
]
