import pytest
import torch

from pointinteract.models._picture_guides import (
    AxisViews,
    DepthGuide,
    TransformersGuide,
    resolve_guide,
)


@pytest.fixture
def points():
    sides = torch.tensor([1.0, 2.0, 3.0])
    return torch.rand(2, 300, 3, generator=torch.Generator().manual_seed(0)) * sides


def occupied(picture):
    rows, columns = (picture > 0.5).nonzero().unbind(1)
    return rows.min().item(), rows.max().item(), columns.min().item(), columns.max().item()


# Pictures --------------------------------------------------------------------------------------


def test_longer_side_fills_the_picture_and_the_cloud_stands_in_its_middle(points):
    pictures = AxisViews(points, size=103, radius=0).pictures

    assert pictures.shape == (2, 3, 103, 103)
    # (x, y), (y, z), (z, x) of a box of 1 x 2 x 3: height and width in parts of the longer side.
    for picture, height, width in zip(pictures[0], (1, 1, 1 / 3), (1 / 2, 2 / 3, 1), strict=True):
        top, bottom, left, right = occupied(picture)
        assert bottom - top == pytest.approx(100 * height, abs=3)
        assert right - left == pytest.approx(100 * width, abs=3)
        assert abs(top + bottom - 102) <= 3 and abs(left + right - 102) <= 3


def test_a_point_is_a_square_and_depths_add_up_from_the_far_end():
    corners = [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]
    one = torch.tensor([[*corners, [0.5, 0.5, 0.75]]])
    two = torch.tensor([[*corners, [0.5, 0.5, 0.75], [0.5, 0.5, 0.75]]])

    seen, twice = (AxisViews(p, size=23, radius=1).pictures[0, 0] for p in (one, two))

    assert seen[11, 11].item() == pytest.approx(torch.tensor(0.75).sigmoid().item())
    assert twice[11, 11].item() == pytest.approx(torch.tensor(1.5).sigmoid().item())
    middle = (seen - seen[11, 11]).abs() < 1e-6
    assert middle.nonzero().amin(0).tolist() == [10, 10] and middle.sum() == 9
    # The far end is at depth 0 and leaves no trace; the near corner does, up and to the right.
    assert seen[2, 20] > 0.7 and seen[20, 2] == 0.5


def test_maps_are_read_where_points_are_drawn(points):
    views = AxisViews(points, size=64, radius=0)
    columns = torch.arange(64.0).expand(6, 1, 64, 64)
    maps = torch.cat([columns, columns.transpose(2, 3)], dim=1)

    found = views.read(maps, points, mode="bilinear")

    planes = views.planes(points)
    assert found.shape == (2, 300, 3, 2)
    right, up = planes.permute(0, 2, 1, 3).unbind(-1)
    torch.testing.assert_close(found[..., 0], (right + 1) * 32 - 0.5, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(found[..., 1], (1 - up) * 32 - 0.5, rtol=1e-4, atol=1e-3)
    first, second = points[..., 0], points[..., 1]
    assert torch.equal(right[..., 0].argsort(1), first.argsort(1))
    assert torch.equal(up[..., 0].argsort(1), second.argsort(1))


def test_a_cloud_of_one_point_is_drawn():
    views = AxisViews(torch.ones(1, 1, 3), size=16, radius=1)

    assert (views.pictures == 0.5).all()  # of no depth
    assert torch.isfinite(views.planes(torch.ones(1, 1, 3))).all()


# Guides ----------------------------------------------------------------------------------------


def test_edges_are_salient_and_flat_places_are_not():
    pictures = torch.full((1, 112, 112), 0.5)
    pictures[:, 28:84, 28:84] = 0.9

    maps = DepthGuide().look(pictures)

    assert maps.features.shape == (1, 10, 28, 28)
    saliency = maps.saliency[0]
    assert saliency.mean().item() == pytest.approx(1.0)
    assert saliency[7, 14] > 5 * saliency[14, 14] and saliency[7, 14] > 5 * saliency[1, 1]
    occupancy, depth = maps.features[0, 8], maps.features[0, 9]
    assert occupancy[14, 14] == 1 and occupancy[1, 1] == 0
    assert depth[14, 14].item() == pytest.approx(0.8)


def save_clip(folder):
    transformers = pytest.importorskip("transformers")
    config = transformers.CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        image_size=32, patch_size=8, projection_dim=10,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.CLIPVisionModelWithProjection(config).eval()
    model.save_pretrained(folder)
    return model


def test_clip_gives_projected_patches_and_the_attention_of_its_class_token(tmp_path):
    model = save_clip(tmp_path)
    pictures = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
    guide = TransformersGuide(tmp_path)
    last = model.vision_model.encoder.layers[-1]
    kept = {}
    last.layer_norm1.register_forward_hook(lambda *args: kept.update(normed=args[2]))

    maps = guide.look(pictures)

    mean, deviation = guide._statistics
    pixels = [(pictures - m) / d for m, d in zip(mean, deviation, strict=True)]
    with torch.no_grad():
        tokens = model(pixel_values=torch.stack(pixels, 1)).last_hidden_state
        expected = model.visual_projection(model.vision_model.post_layernorm(tokens))
        query, key = (layer(kept["normed"]).view(3, 17, 2, 8).transpose(1, 2)
                      for layer in (last.self_attn.q_proj, last.self_attn.k_proj))
        shares = (query[:, :, :1] @ key.transpose(2, 3) / 8**0.5).softmax(-1).mean(1)[:, 0, 1:]
    assert (guide.picture_size, guide.feature_dim) == (32, 10)
    torch.testing.assert_close(maps.features.flatten(2).transpose(1, 2), expected[:, 1:])
    torch.testing.assert_close(maps.saliency.flatten(1), shares / shares.mean(1, keepdim=True))


def test_plain_vision_transformers_guide_too(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        image_size=16, patch_size=8,
    )
    transformers.ViTModel(config, add_pooling_layer=False).save_pretrained(tmp_path)

    maps = resolve_guide(str(tmp_path)).look(torch.rand(2, 16, 16))

    assert maps.features.shape == (2, 16, 2, 2) and maps.saliency.shape == (2, 2, 2)


def test_networks_without_patches_are_refused(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(embedding_size=4, hidden_sizes=[4], depths=[1])
    config.image_size = 16
    transformers.ResNetModel(config).save_pretrained(tmp_path)

    with pytest.raises(TypeError, match="no transformer of picture patches"):
        TransformersGuide(tmp_path)


def test_guides_by_name_and_by_hand():
    guide = DepthGuide()

    assert isinstance(resolve_guide("depth"), DepthGuide)
    assert resolve_guide(guide) is guide
    for wrong in (3, DepthGuide):
        with pytest.raises(TypeError, match="guide must be 'depth'"):
            resolve_guide(wrong)
