"""SimpleView against a literal formulation: every point by itself into its pixel."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pointinteract.models import SimpleView, create_model, load_official, to_official

QUARTER = np.pi / 2
ANGLES = [(v * QUARTER, 0, QUARTER) for v in range(4)]
ANGLES += [(0, -QUARTER, QUARTER), (0, QUARTER, QUARTER)]


def turn(x, y, z):
    c, s = np.cos, np.sin
    about_x = np.array([[1, 0, 0], [0, c(x), -s(x)], [0, s(x), c(x)]])
    about_y = np.array([[c(y), 0, s(y)], [0, 1, 0], [-s(y), 0, c(y)]])
    about_z = np.array([[c(z), -s(z), 0], [s(z), c(z), 0], [0, 0, 1]])
    return about_x @ about_y @ about_z


def literal_pictures(points, size, rounding=lambda v: np.ceil(v - 0.5), mean="harmonic"):
    """Section 8.1 of the specification, one point after the other."""
    pictures = np.zeros((len(points), 6, size, size))
    for b, cloud in enumerate(points.numpy()):
        for v, angles in enumerate(ANGLES):
            fallen = {}
            for x, y, z in cloud @ turn(*angles).T + np.array([0, 0, 1.4]):
                cell = (rounding((x / z + 1) * size / 2), rounding((y / z + 1) * size / 2))
                if z >= 0 and 0 <= min(cell) and max(cell) < size:
                    fallen.setdefault((int(cell[0]), int(cell[1])), []).append(z)
            for cell, depths in fallen.items():
                weights = np.array([1 / z if mean == "harmonic" else 1.0 for z in depths])
                pictures[b, v][cell] = (weights * depths).sum() / weights.sum()
    return torch.from_numpy(pictures)


def literal_logits(model, points):
    """Section 8.2 on our pictures, in evaluation."""
    state = to_official(model)
    pictures = model.render(points).flatten(0, 1).permute(0, 3, 1, 2)

    def norm(maps, name):
        names = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(maps, *(state[f"{name}.{n}"] for n in names))

    maps = norm(F.conv2d(pictures, state["img_model.0.weight"], padding=1), "img_model.1").relu()
    for stage in range(4):
        for block in range(2):
            name = f"img_model.{stage + 3}.{block}."
            stride = 2 if stage and not block else 1
            past = maps
            if stride == 2:
                past = F.conv2d(maps, state[name + "downsample.0.weight"], stride=2)
                past = norm(past, name + "downsample.1")
            maps = F.conv2d(maps, state[name + "conv1.weight"], stride=stride, padding=1)
            maps = norm(maps, name + "bn1").relu()
            maps = norm(F.conv2d(maps, state[name + "conv2.weight"], padding=1), name + "bn2")
            maps = (maps + past).relu()
    rows = norm(maps.mean((2, 3)), "final_fc.model.0.bn").view(len(points), -1)
    rows = F.linear(rows, state["final_fc.model.3.weight"], state["final_fc.model.3.bias"])
    rows = norm(rows, "final_fc.model.4").relu()
    return F.linear(rows, state["final_fc.model.7.weight"], state["final_fc.model.7.bias"])


@pytest.fixture
def points():
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(2, 300, 3, generator=generator, dtype=torch.float64)
    return points / points.norm(dim=2).amax(1)[:, None, None]


@pytest.fixture(scope="module")
def small():
    """A slim one in float64 with gains and statistics drawn at random."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = SimpleView(n_classes=5, picture_size=24, width=4).double().eval()
        for name, tensor in model.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2.0)
            elif ("bn" in name or "norm" in name) and tensor.is_floating_point():
                tensor.normal_()
    return model


@pytest.mark.parametrize("size", [16, 25])
def test_pictures_equal_those_drawn_point_by_point(points, size):
    model = SimpleView(picture_size=size, width=2).double()

    found = model.render(points)[..., 0]

    torch.testing.assert_close(found, literal_pictures(points, size), rtol=1e-9, atol=1e-12)


def test_rounding_and_mean_are_those_of_the_original_and_no_others(points):
    found = SimpleView(picture_size=16, width=2).double().render(points)[..., 0]

    assert (found - literal_pictures(points, 16, rounding=np.floor)).abs().max() > 0.1
    assert (found - literal_pictures(points, 16, mean="plain")).abs().max() > 1e-3


def test_logits_equal_the_literal_form(small, points):
    with torch.no_grad():
        torch.testing.assert_close(small(points), literal_logits(small, points))


def test_gradient_is_that_of_the_harmonic_mean(points):
    model = SimpleView(picture_size=6, width=2).double()  # several points to a pixel
    weights = torch.randn(2, 6, 6, 6, 1, dtype=torch.float64)
    few = points[:, :20].clone().requires_grad_()
    (model.render(few) * weights).sum().backward()
    step = torch.randn(few.shape, dtype=torch.float64)

    with torch.no_grad():
        ends = [(model.render(few + h * step) * weights).sum() for h in (-1e-7, 1e-7)]

    torch.testing.assert_close(
        (few.grad * step).sum(), (ends[1] - ends[0]) / 2e-7, rtol=1e-5, atol=1e-6
    )


def test_points_behind_or_at_a_camera_are_not_drawn():
    model = SimpleView(picture_size=8, width=2)
    points = torch.zeros(1, 7, 3)
    points[0, :3] = 1.5 * torch.eye(3)
    points[0, 3:6] = -1.5 * torch.eye(3)
    points.requires_grad_()

    pictures = model.render(points)
    model.train()(points).sum().backward()

    assert torch.isfinite(pictures).all() and (pictures >= 0).all()
    assert torch.isfinite(points.grad).all()


def test_extra_channels_are_means_of_a_pixel_with_the_weights_of_the_depth(points):
    model = SimpleView(n_channels=5, picture_size=8, width=2).double()
    constant = torch.full((2, 300, 1), 3.0, dtype=torch.float64)
    cloud = torch.cat([points, constant, points[..., :1]], dim=2)

    pictures = model.render(cloud)

    drawn = pictures[..., 0] > 0
    assert pictures.shape == (2, 6, 8, 8, 3)
    torch.testing.assert_close(pictures[..., 0], SimpleView(picture_size=8).render(points)[..., 0])
    torch.testing.assert_close(pictures[..., 1], 3.0 * drawn.double())
    assert pictures[..., 2].abs().max() <= 1


def test_pictures_are_seen_by_six_different_cameras(points):
    pictures = SimpleView(picture_size=16, width=2).double().render(points)[0, ..., 0]

    for i in range(6):
        for j in range(i):
            assert (pictures[i] - pictures[j]).abs().max() > 0.1


def test_head_has_its_own_dropout(small, points):
    training = copy.deepcopy(small).train()
    training.reset_classifier(0)
    bare = training.fusion(training.view_norm(torch.ones(2, 6, 32).double()).flatten(1))

    assert torch.equal(training.head(bare), bare)


def test_published_size():
    model = create_model("simpleview")

    assert sum(p.numel() for p in model.parameters()) == 803_992
    assert model.config["picture_size"] == 128


def test_checkpoint_says_its_sizes(small):
    again = load_official("simpleview", to_official(small), resolution=24, camera_offset=1.3)

    assert again.config | {"dropout": 0.5} == small.config | {"camera_distance": 1.3}
