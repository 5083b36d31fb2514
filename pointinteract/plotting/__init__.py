"""Pictures: displays for paper (matplotlib) and views to turn around (plotly)."""

from pointinteract.plotting._cloud import draw_cloud, draw_clouds
from pointinteract.plotting._interactive import interactive_regions
from pointinteract.plotting._orders import StrengthByOrderDisplay
from pointinteract.plotting._regions import RegionInteractionDisplay
from pointinteract.plotting._training import HistoryDisplay

__all__ = [
    "HistoryDisplay",
    "RegionInteractionDisplay",
    "StrengthByOrderDisplay",
    "draw_cloud",
    "draw_clouds",
    "interactive_regions",
]
