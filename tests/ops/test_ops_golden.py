"""Operations against numbers of the original kernels."""

import numpy as np
import pytest
import torch

from pointinteract.nn.patches import block_patch_mask
from pointinteract.ops import (
    chamfer_distance,
    farthest_point_sample,
    interpolate,
    knn,
    nearest_neighbor,
    rotate,
    rotation_matrix,
    scale,
    translate,
)

pytestmark = pytest.mark.golden


def read(shared, name):
    path = shared / "golden" / "recon" / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"no golden/recon/{name}.npz below {shared}")
    with np.load(path, allow_pickle=False) as archive:
        return {key: torch.from_numpy(np.array(archive[key])) for key in archive.files}


@pytest.fixture(scope="module")
def arrays(shared):
    return read(shared, "ops")


def test_golden_farthest_points(arrays, device):
    points, index = arrays["fps.points"].to(device), arrays["fps.idx"].long()

    assert torch.equal(farthest_point_sample(points, index.shape[1]).cpu(), index)


def test_golden_farthest_points_near_the_origin(arrays, device):
    points = arrays["fps_near_origin.points"].to(device)
    plain = arrays["fps_near_origin.idx_plain"].long()
    skipped = arrays["fps_near_origin.idx_skip"].long()

    assert torch.equal(farthest_point_sample(points, plain.shape[1]).cpu(), plain)
    ours = farthest_point_sample(points, skipped.shape[1], skip_near_origin=True)
    assert torch.equal(ours.cpu(), skipped)


def test_golden_nearest_neighbors(arrays, device):
    query, points = arrays["knn.query"].to(device), arrays["fps.points"].to(device)

    index, distance = knn(query, points, arrays["knn.idx"].shape[-1], return_distances=True)

    assert torch.equal(index.cpu(), arrays["knn.idx"])
    torch.testing.assert_close(distance.cpu(), arrays["knn.sqdist"], atol=1e-6, rtol=1e-5)


def test_golden_chamfer(arrays, device):
    a = arrays["chamfer.a"].to(device).requires_grad_()
    b = arrays["chamfer.b"].to(device).requires_grad_()

    for (x, y), side in (((a, b), 1), ((b, a), 2)):
        distance, index = nearest_neighbor(x, y)
        assert torch.equal(index.cpu(), arrays[f"chamfer.idx{side}"].long())
        torch.testing.assert_close(distance.detach().cpu(), arrays[f"chamfer.dist{side}"])
    for norm in (1, 2):
        loss = chamfer_distance(a, b, norm=norm)
        torch.testing.assert_close(loss.detach().cpu(), arrays[f"chamfer.l{norm}"])
        grad_a, grad_b = torch.autograd.grad(loss, (a, b))
        torch.testing.assert_close(grad_a.cpu(), arrays[f"chamfer.l{norm}.grad_a"])
        torch.testing.assert_close(grad_b.cpu(), arrays[f"chamfer.l{norm}.grad_b"])


def test_golden_block_mask(arrays):
    expected = arrays["mask.block"]

    ours = block_patch_mask(arrays["mask.center"], int(expected[0].sum()),
                            seed_index=arrays["mask.block.seed_index"])

    assert torch.equal(ours, expected)


def test_golden_augmentations(arrays):
    points = arrays["aug.points"]

    angle = (arrays["aug.rotate.u"] * 2 * torch.pi).float()
    turned = rotate(points, rotation_matrix(angle, "y"))
    torch.testing.assert_close(turned, arrays["aug.rotate"], atol=1e-6, rtol=1e-5)
    factor, shift = (arrays[f"aug.scale_translate.{part}"] for part in ("scale", "shift"))
    moved = translate(scale(points, factor.float()), shift.float())
    torch.testing.assert_close(moved, arrays["aug.scale_translate"], atol=1e-6, rtol=1e-5)
    scaled = scale(points, arrays["aug.scale.scale"].float())
    torch.testing.assert_close(scaled, arrays["aug.scale"], atol=1e-6, rtol=1e-5)


def test_golden_feature_propagation(shared):
    arrays = read(shared, "segprop")
    points, centers, features = (arrays[f"in.{key}"].transpose(1, 2)
                                 for key in ("points", "centers", "features"))

    rows = torch.cat([points, interpolate(points, centers, features)], dim=-1)
    for i in range(2):
        weight = arrays[f"state.mlp_convs.{i}.weight"].squeeze(-1)
        rows = rows @ weight.T + arrays[f"state.mlp_convs.{i}.bias"]
        norm = {key: arrays[f"state.mlp_bns.{i}.{key}"]
                for key in ("running_mean", "running_var", "weight", "bias")}
        rows = torch.relu(
            (rows - norm["running_mean"]) / (norm["running_var"] + 1e-5).sqrt() * norm["weight"]
            + norm["bias"]
        )

    # Points that coincide with a centre carry rounding of the reference's expanded distances.
    n_centers = centers.shape[1]
    expected = arrays["out"].transpose(1, 2)
    torch.testing.assert_close(rows[:, n_centers:], expected[:, n_centers:], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(rows[:, :n_centers], expected[:, :n_centers], atol=1e-3, rtol=1e-3)
