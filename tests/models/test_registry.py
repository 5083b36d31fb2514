"""Models by name."""

import pytest
import torch

from pointinteract.models import create_model, list_models
from pointinteract.models._registry import register_model


def test_names_are_sorted_and_can_be_filtered():
    names = list_models()

    assert names == sorted(names)
    assert {"dgcnn", "pointnet", "pointnet_basic"} <= set(names)
    assert list_models("pointnet*") == [n for n in names if n.startswith("pointnet")]
    assert list_models("nothing") == []


def test_numbers_reach_the_model():
    model = create_model("dgcnn", n_channels=4, n_classes=7, n_neighbors=5)

    assert model.n_neighbors == 5
    assert model(torch.randn(2, 9, 4)).shape == (2, 7)


def test_without_classes_the_pooled_feature_comes_out():
    model = create_model("pointnet_basic", n_classes=0).eval()
    points = torch.randn(2, 9, 3)

    assert torch.equal(model(points), model.forward_pool(points))


@pytest.mark.parametrize(
    "name, numbers, error, words",
    [
        ("pointnets", {}, ValueError, "Did you mean 'pointnet'"),
        ("zzz", {}, ValueError, "dgcnn, "),
        (3, {}, ValueError, "Unknown model 3"),
        ("dgcnn", {"n_neighbours": 3}, TypeError, "n_neighbours; it takes n_channels"),
        ("dgcnn", {"n_channels": 2}, ValueError, "n_channels must be at least 3, got 2"),
        ("dgcnn", {"n_classes": 2.5}, TypeError, "n_classes must be an integer"),
        ("dgcnn", {"n_classes": -1}, ValueError, "n_classes must be at least 0"),
    ],
)
def test_what_does_not_exist_is_named(name, numbers, error, words):
    with pytest.raises(error, match=words.replace("(", r"\(")):
        create_model(name, **numbers)


def test_registering_refuses_what_the_contract_refuses():
    def dgcnn(n_channels=3, n_classes=40):
        """Taken."""

    def no_classes(n_channels=3):
        """Incomplete."""

    def no_default(n_channels, n_classes):
        """Incomplete."""

    with pytest.raises(ValueError, match="registered already"):
        register_model(dgcnn)
    with pytest.raises(TypeError, match="n_channels and n_classes first"):
        register_model(no_classes)
    with pytest.raises(TypeError, match="must have a default"):
        register_model(no_default)
    assert "no_classes" not in list_models()
