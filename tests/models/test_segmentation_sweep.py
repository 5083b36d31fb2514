"""Every registered segmentation network, by the contract alone."""

import copy
import json

import pytest
import torch

from pointinteract import models
from pointinteract.exceptions import CheckpointError
from pointinteract.models import (
    create_segmentation_model,
    list_segmentation_models,
    segmentation_model_for,
)
from pointinteract.models._segmentation_registry import register_segmentation_model

N_CLASSES, N_CATEGORIES = 6, 3
BIG = 8_000_000
ATOL = 1e-6
# Of 60 points, so that there are more points than samples and patches.
SMALLER = {
    "dgcnn": {"n_neighbors": 6},
    "dgcnn_classifier": {"n_neighbors": 6},
    "pointnet2_msg": {"n_first": 24, "n_second": 12},
    "pointnet2_ssg": {"n_first": 24, "n_second": 12},
}


def make(name, **numbers):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        numbers = {"n_classes": N_CLASSES} | SMALLER.get(name, {"n_groups": 12}) | numbers
        return create_segmentation_model(name, **numbers)


def sweep():
    for name in list_segmentation_models():
        with torch.device("meta"):
            module = create_segmentation_model(name, n_classes=N_CLASSES)
        is_slow = sum(p.numel() for p in module.parameters()) > BIG
        yield pytest.param(name, marks=[pytest.mark.slow] * is_slow, id=name)


def settle(module):
    """Let stored statistics fit the data, or little would pass through a fresh network."""
    norms = [each for each in module.modules() if isinstance(each, torch.nn.BatchNorm1d)]
    generator = torch.Generator().manual_seed(1)
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        clouds = torch.randn(4, 60, 3, generator=generator).clamp(-1, 1)
        module.train()(clouds, torch.tensor([0, 1, 2, 0]))
    for norm in norms:
        norm.momentum = 0.1
    return module


@pytest.fixture(scope="module", params=sweep())
def module(request, device):
    made = settle(make(request.param, n_categories=N_CATEGORIES)).to(device).eval()
    vars(made)["name"] = request.param
    return made


@pytest.fixture(scope="module")
def points(device):
    cloud = torch.randn(3, 60, 3, generator=torch.Generator().manual_seed(2))
    return (cloud / cloud.norm(dim=-1).amax(1).view(-1, 1, 1)).to(device)


@pytest.fixture(scope="module")
def category(device):
    return torch.tensor([2, 0, 1], device=device)


def test_every_point_has_scores(module, points, category):
    with torch.no_grad():
        for n_points in (60, 7, 2, 1):
            scores = module(points[:, :n_points], category)
            assert scores.shape == (3, n_points, N_CLASSES)
            assert torch.isfinite(scores).all()


def test_clouds_do_not_see_each_other(module, points, category):
    exact, points = copy.deepcopy(module).double(), points.double()

    with torch.no_grad():
        together = exact(points, category)
        alone = torch.cat([exact(points[i : i + 1], category[i : i + 1]) for i in range(3)])

    torch.testing.assert_close(together, alone, atol=ATOL, rtol=1e-6)


def test_another_order_of_the_points_reorders_the_scores(module, points, category):
    generator = torch.Generator().manual_seed(3)
    order = torch.cat([torch.zeros(1, dtype=torch.int64),
                       1 + torch.randperm(59, generator=generator)])
    order = order.to(points.device)
    exact, points = copy.deepcopy(module).double(), points.double()

    with torch.no_grad():
        same, moved = exact(points, category), exact(points[:, order], category)

    # Where balls count their first points only, there are none in these small clouds that
    # hold more.
    torch.testing.assert_close(moved, same[:, order], atol=ATOL, rtol=1e-6)


def test_category_and_points_matter(module, points, category):
    with torch.no_grad():
        scores = module(points, category)
        other = module(points, (category + 1) % N_CATEGORIES)
        flat = module(points * points.new_tensor([1.0, 1.0, 0.0]), category)

    assert (scores - other).abs().max() > 0.01
    assert (scores - flat).abs().max() > 0.05
    assert (scores.std(dim=1) > 0.02).all()


def test_everything_learns(module, points, category):
    training = make(module.name, n_categories=N_CATEGORIES).to(points.device).train()

    training(points, category).square().mean().backward()

    blind = {n for n, p in training.named_parameters() if p.grad is None}
    # Point-MAE's trunk works without a class token.
    assert blind <= {"encoder.cls_token", "encoder.cls_pos"}
    if module.name not in ("point_mae", "point_mae_nano"):
        assert not blind


def test_config_makes_another_one_like_it(module, points, category):
    config = json.loads(json.dumps(module.config))

    again = type(module)(n_classes=N_CLASSES, **config).to(points.device).eval()
    again.load_state_dict(module.state_dict())

    with torch.no_grad():
        assert torch.equal(again(points, category), module(points, category))
    assert getattr(models, type(module).__name__) is type(module)


def test_trunk_takes_pretrained_weights(module, points, category):
    trunk = type(module.encoder)(n_classes=4, **module.encoder.config).to(points.device)

    continued = segmentation_model_for(
        trunk, n_classes=N_CLASSES, n_categories=N_CATEGORIES
    ).to(points.device)

    assert type(continued) is type(module) and continued.n_classes == N_CLASSES
    theirs = trunk.state_dict()
    ours = continued.encoder.state_dict()
    assert {key for key in theirs if not key.startswith("head.")} == set(ours)
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert continued.eval()(points, category).shape == (3, 60, N_CLASSES)


def test_fresh_head_for_other_parts(module, points, category):
    state = {key: value.clone() for key, value in module.state_dict().items()}
    changed = make(module.name, n_categories=N_CATEGORIES).to(points.device).eval()
    changed.load_state_dict(state)

    changed.reset_classifier(9)

    assert changed(points, category).shape == (3, 60, 9) and changed.n_classes == 9
    assert not changed.head.training
    kept = changed.state_dict()
    assert all(torch.equal(kept[key], state[key]) for key in state if "head." not in key)
    changed.reset_classifier(0)
    assert changed(points, category).shape == (3, 60, changed.head.n_features)


def test_without_categories_and_with_more_channels(module, points):
    plain = make(module.name, n_channels=5).to(points.device).eval()
    more = torch.cat([points, points[..., :2].square()], dim=-1)

    with torch.no_grad():
        scores = plain(more)
        other = plain(torch.cat([points, 0 * more[..., 3:]], dim=-1))

    assert plain.n_categories is None and scores.shape == (3, 60, N_CLASSES)
    assert (scores - other).abs().max() > 1e-5


def test_what_does_not_fit_is_named(module, points, category):
    with pytest.raises(ValueError, match="a category for each cloud"):
        module(points)
    with pytest.raises(ValueError, match=r"category must be \(3,\)"):
        module(points, category[:2])
    with pytest.raises(ValueError, match=r"points must be \(B, N, 3\)"):
        module(points[..., :2], category)
    if module.name == "recon_nano":
        with pytest.raises(ValueError, match="n_categories is None"):
            make(module.name)(points.cpu(), category.cpu())


def test_names_and_numbers_are_checked():
    with pytest.raises(ValueError, match="Did you mean 'recon_nano'"):
        create_segmentation_model("recon_nan", n_classes=3)
    with pytest.raises(TypeError, match="no parameter n_group;"):
        create_segmentation_model("recon_nano", n_classes=3, n_group=5)
    with pytest.raises(ValueError, match="n_categories must be at least 1"):
        create_segmentation_model("recon_nano", n_classes=3, n_categories=0)
    with pytest.raises(TypeError, match="must take n_channels, n_classes, n_categories first"):
        register_segmentation_model(lambda n_classes=3: None)


def test_trunks_without_a_way_back_are_refused():
    with pytest.raises(CheckpointError, match="no segmentation network on PointNet; there are"):
        segmentation_model_for(models.create_model("pointnet"), n_classes=3)


def test_more_patches_than_in_pretraining():
    trunk = models.create_model("recon_nano")

    module = segmentation_model_for(trunk, n_classes=3, n_groups=48, dropout=0.1)

    assert module.encoder.n_groups == 48 and trunk.n_groups == 32
    assert module.config["dropout"] == 0.1
    with pytest.raises(TypeError, match=r"ReCon takes no n_group; it takes .*, n_groups\."):
        segmentation_model_for(trunk, n_classes=3, n_group=48)
    with pytest.raises(TypeError, match="DGCNN takes no n_groups; it takes .*dropout"):
        segmentation_model_for(models.create_model("dgcnn"), n_classes=3, n_groups=48)
