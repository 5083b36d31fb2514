"""Checkpoints of the public torch version of DGCNN's segmentation network."""

from pointinteract.models._official import (
    Layout,
    OfficialFormat,
    OfficialSizes,
    OfficialState,
    register_official,
    unit_axes,
)
from pointinteract.models.segmentation_dgcnn import DGCNNPartsSegmentation

__all__: list[str] = []

_N_EDGE_FEATURES = 192


def _build(state: OfficialState, sizes: OfficialSizes) -> DGCNNPartsSegmentation:
    numbers = {}
    if "conv7.0.weight" in state:
        width, n_categories, _ = state.shape("conv7.0.weight", 3)
        numbers = {"n_categories": n_categories, "category_width": width}
    return DGCNNPartsSegmentation(
        encoder={
            "n_channels": state.shape("conv1.0.weight", 4)[1] // 2,
            "n_neighbors": sizes.get("k", 40),
            "n_features": sizes.check("emb_dims", state.shape("conv6.0.weight", 3)[0]),
        },
        n_classes=sizes.check("seg_num_all", state.shape("conv11.weight", 3)[0]),
        dropout=sizes.get("dropout", 0.5),
        **numbers,
    )


# The original reads the cloud before the point.
_WHOLE_FIRST = Layout(
    lambda tensor: tensor.roll(-_N_EDGE_FEATURES, dims=1).unsqueeze(-1),
    lambda tensor: tensor.squeeze(-1).roll(_N_EDGE_FEATURES, dims=1),
)

# antao97/dgcnn.pytorch, the part segmentation network of model.py
register_official(
    OfficialFormat(
        system="dgcnn_segmentation",
        build=_build,
        renames=(
            (r"^encoder\.transform\.edges\.first\.linear", "transform_net.conv1.0"),
            (r"^encoder\.transform\.edges\.first\.norm", "transform_net.conv1.1"),
            (r"^encoder\.transform\.edges\.second\.linear", "transform_net.conv2.0"),
            (r"^encoder\.transform\.edges\.second\.norm", "transform_net.conv2.1"),
            (r"^encoder\.transform\.pool\.linear", "transform_net.conv3.0"),
            (r"^encoder\.transform\.pool\.norm", "transform_net.conv3.1"),
            (r"^encoder\.transform\.layer([12])\.linear", r"transform_net.linear\1"),
            (r"^encoder\.transform\.layer1\.norm", "transform_net.bn3"),
            (r"^encoder\.transform\.layer2\.norm", "transform_net.bn4"),
            (r"^encoder\.transform\.out", "transform_net.transform"),
            (r"^encoder\.edge1\.first\.", "conv1."),
            (r"^encoder\.edge1\.second\.", "conv2."),
            (r"^encoder\.edge2\.first\.", "conv3."),
            (r"^encoder\.edge2\.second\.", "conv4."),
            (r"^encoder\.edge3\.", "conv5."),
            (r"^encoder\.embed\.", "conv6."),
            (r"^category\.", "conv7."),
            (r"^head\.layers\.0\.", "conv8."),
            (r"^head\.layers\.1\.", "conv9."),
            (r"^head\.layers\.2\.", "conv10."),
            (r"^head\.out\.", "conv11."),
            (r"^(conv\d+)\.linear\.", r"\1.0."),
            (r"^(conv\d+)\.norm\.", r"\1.1."),
        ),
        layouts=(
            (r"^conv8\.0\.weight$", _WHOLE_FIRST),
            (r"^(transform_net\.conv[12]|conv[1-5])\.0\.weight$", unit_axes(2)),
            (r"^(transform_net\.conv3\.0|conv([67]|9|10)\.0|conv11)\.weight$", unit_axes(1)),
        ),
        # Not that of conv3 of the transform: a later layer took its second name.
        aliases=(
            (r"^transform_net\.conv([12])\.1\.", r"transform_net.bn\1."),
            (r"^conv(\d+)\.1\.", r"bn\1."),
        ),
    )
)
