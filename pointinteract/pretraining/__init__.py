"""Estimators that learn from clouds without labels."""

from pointinteract.pretraining._recon import ReConPretrainer
from pointinteract.pretraining._recon_losses import recon_losses

__all__ = ["ReConPretrainer", "recon_losses"]
