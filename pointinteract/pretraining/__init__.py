"""Estimators that learn from clouds without labels."""

from pointinteract.pretraining._act import ACTPretrainer, act_losses
from pointinteract.pretraining._act_tokenizer import ACTTokenizerPretrainer
from pointinteract.pretraining._byol import BYOLPretrainer
from pointinteract.pretraining._clip2point import CLIP2PointPretrainer
from pointinteract.pretraining._crosspoint import CrossPointPretrainer
from pointinteract.pretraining._discrete_vae import DiscreteVAEPretrainer
from pointinteract.pretraining._i2p_mae import I2PMAEPretrainer
from pointinteract.pretraining._iae import IAEPretrainer
from pointinteract.pretraining._jigsaw import JigsawPretrainer
from pointinteract.pretraining._maskpoint import MaskPointPretrainer
from pointinteract.pretraining._moco import MoCoPretrainer
from pointinteract.pretraining._occo import OcCoPretrainer
from pointinteract.pretraining._point_bert import PointBERTPretrainer
from pointinteract.pretraining._point_bert_losses import point_bert_losses
from pointinteract.pretraining._point_contrast import PointContrastPretrainer
from pointinteract.pretraining._point_gpt import PointGPTPretrainer
from pointinteract.pretraining._point_m2ae import PointM2AEPretrainer
from pointinteract.pretraining._point_mae import PointMAEPretrainer
from pointinteract.pretraining._pointclip import PointCLIPPretrainer
from pointinteract.pretraining._recon import ReConPretrainer
from pointinteract.pretraining._recon_losses import recon_losses
from pointinteract.pretraining._simclr import SimCLRPretrainer
from pointinteract.pretraining._stages import pretraining_stages
from pointinteract.pretraining._strl import STRLPretrainer
from pointinteract.pretraining._ulip import ULIPPretrainer

__all__ = [
    "ACTPretrainer",
    "ACTTokenizerPretrainer",
    "BYOLPretrainer",
    "CLIP2PointPretrainer",
    "CrossPointPretrainer",
    "DiscreteVAEPretrainer",
    "I2PMAEPretrainer",
    "IAEPretrainer",
    "JigsawPretrainer",
    "MoCoPretrainer",
    "MaskPointPretrainer",
    "OcCoPretrainer",
    "PointBERTPretrainer",
    "PointCLIPPretrainer",
    "PointContrastPretrainer",
    "PointGPTPretrainer",
    "PointMAEPretrainer",
    "PointM2AEPretrainer",
    "ReConPretrainer",
    "STRLPretrainer",
    "SimCLRPretrainer",
    "ULIPPretrainer",
    "act_losses",
    "point_bert_losses",
    "pretraining_stages",
    "recon_losses",
]
