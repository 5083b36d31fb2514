"""Estimators that learn from clouds without labels."""

from pointinteract.pretraining._recon import ReConPretrainer, recon_losses

__all__ = ["ReConPretrainer", "recon_losses"]
