"""Estimators that learn from clouds without labels."""

from pointinteract.pretraining._jigsaw import JigsawPretrainer
from pointinteract.pretraining._occo import OcCoPretrainer
from pointinteract.pretraining._recon import ReConPretrainer
from pointinteract.pretraining._recon_losses import recon_losses
from pointinteract.pretraining._stages import pretraining_stages

__all__ = [
    "JigsawPretrainer",
    "OcCoPretrainer",
    "ReConPretrainer",
    "pretraining_stages",
    "recon_losses",
]
