"""Pictures: displays for paper (matplotlib) and views to turn around (plotly)."""

from pointinteract.plotting._attention import AttentionDisplay
from pointinteract.plotting._cloud import draw_cloud, draw_clouds
from pointinteract.plotting._comparison import ComparisonDisplay
from pointinteract.plotting._confusion import CloudConfusionDisplay
from pointinteract.plotting._data_scaling import DataScalingDisplay
from pointinteract.plotting._embedding import EmbeddingDisplay
from pointinteract.plotting._heat import OrderByClassDisplay, RegionHeatDisplay
from pointinteract.plotting._interactive import interactive_regions
from pointinteract.plotting._orders import StrengthByOrderDisplay
from pointinteract.plotting._parts import PartsDisplay
from pointinteract.plotting._reconstruction import ReconstructionDisplay
from pointinteract.plotting._regions import RegionInteractionDisplay
from pointinteract.plotting._robustness import RobustnessDisplay
from pointinteract.plotting._sensitivity import MaskSensitivityDisplay
from pointinteract.plotting._sparsity import SparsityDisplay
from pointinteract.plotting._study import (
    LossCurvesDisplay,
    StudyAccuracyDisplay,
    StudyDataDisplay,
    StudyOrdersDisplay,
)
from pointinteract.plotting._study_clouds import DecompositionDisplay, StrongestSetsDisplay
from pointinteract.plotting._training import HistoryDisplay
from pointinteract.plotting._upset import UpsetDisplay

__all__ = [
    "AttentionDisplay",
    "CloudConfusionDisplay",
    "ComparisonDisplay",
    "DataScalingDisplay",
    "DecompositionDisplay",
    "EmbeddingDisplay",
    "HistoryDisplay",
    "LossCurvesDisplay",
    "MaskSensitivityDisplay",
    "OrderByClassDisplay",
    "PartsDisplay",
    "ReconstructionDisplay",
    "RegionHeatDisplay",
    "RegionInteractionDisplay",
    "RobustnessDisplay",
    "SparsityDisplay",
    "StrengthByOrderDisplay",
    "StrongestSetsDisplay",
    "StudyAccuracyDisplay",
    "StudyDataDisplay",
    "StudyOrdersDisplay",
    "UpsetDisplay",
    "draw_cloud",
    "draw_clouds",
    "interactive_regions",
]
