"""Explain any model of point clouds by interactions between regions."""

from pointinteract.explanation._controls import NoiseControl
from pointinteract.explanation._explainer import InteractionExplainer
from pointinteract.explanation._game import CloudGame
from pointinteract.explanation._result import Explanation

__all__ = ["CloudGame", "Explanation", "InteractionExplainer", "NoiseControl"]
