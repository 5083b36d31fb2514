"""What segmentation networks on patch tokens have in common."""

from typing import Any

from torch import nn

from pointinteract.models._official import OfficialSizes, OfficialState, unit_axes
from pointinteract.nn.mlp import LinearNorm

__all__ = [
    "HEAD_LAYOUTS",
    "HEAD_RENAMES",
    "PUBLISHED_WIDTH",
    "category_layer",
    "head_numbers",
    "head_sizes",
    "tapped_blocks",
]

_CATEGORY_SLOPE = 0.2
PUBLISHED_WIDTH = 384


def tapped_blocks(depth: int) -> tuple[int, int, int]:
    """The three blocks, counted from 1, of which the outputs are used: 4, 8 and 12 of 12."""
    return max(1, round(depth / 3)), max(1, round(2 * depth / 3)), depth


def head_sizes(width: int) -> dict[str, Any]:
    """Widths behind a trunk of this width: the published ones, or a quarter for a small one.

    They work at every point, where the trunk works at every patch; published widths would
    take most of the time of a small network.
    """
    share = 1 if width >= PUBLISHED_WIDTH else 4
    return {"hidden": (1536 // share, 1024 // share), "head_hidden": (512 // share, 256 // share)}


def category_layer(n_categories: int | None, width: int) -> nn.Module | None:
    """What maps the category (B, n_categories) to (B, width), if there are any."""
    if not n_categories:
        return None
    return LinearNorm(n_categories, width, bias=False, negative_slope=_CATEGORY_SLOPE)


# Point-MAE's names, which ReCon kept.
HEAD_RENAMES: tuple[tuple[str, str], ...] = (
    (r"^encoder\.", ""),
    (r"^category\.linear\.", "label_conv.0."),
    (r"^category\.norm\.", "label_conv.1."),
    (r"^propagation\.layers\.(\d)\.linear\.", r"propagation_0.mlp_convs.\1."),
    (r"^propagation\.layers\.(\d)\.norm\.", r"propagation_0.mlp_bns.\1."),
    (r"^head\.layers\.0\.linear\.", "convs1."),
    (r"^head\.layers\.0\.norm\.", "bns1."),
    (r"^head\.layers\.1\.linear\.", "convs2."),
    (r"^head\.layers\.1\.norm\.", "bns2."),
    (r"^head\.out\.", "convs3."),
)
HEAD_LAYOUTS = (
    (r"^(label_conv\.0|propagation_\d\.mlp_convs\.\d|convs\d)\.weight$", unit_axes(1)),
)


def head_numbers(state: OfficialState, sizes: OfficialSizes) -> dict[str, Any]:
    """What a network with these heads is made from, apart from its trunk."""
    n_layers = state.count("propagation_0.mlp_convs.{}.weight")
    numbers: dict[str, Any] = {}
    if "label_conv.0.weight" in state:
        width, n_categories, _ = state.shape("label_conv.0.weight", 3)
        numbers = {"n_categories": n_categories, "category_width": width}
    return numbers | {
        "n_classes": sizes.check("cls_dim", state.shape("convs3.weight", 3)[0]),
        "hidden": tuple(
            state.shape(f"propagation_0.mlp_convs.{i}.weight", 3)[0] for i in range(n_layers)
        ),
        "head_hidden": tuple(state.shape(f"convs{i}.weight", 3)[0] for i in (1, 2)),
    }
