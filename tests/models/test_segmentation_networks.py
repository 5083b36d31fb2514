"""Each segmentation network against its description, written out with plain torch."""

import pytest
import torch
import torch.nn.functional as F

from pointinteract.exceptions import CheckpointError
from pointinteract.models import create_segmentation_model, load_official, to_official
from pointinteract.models._segmentation_parts import tapped_blocks
from pointinteract.ops import farthest_point_sample, gather, interpolate, knn
from tests.models.test_segmentation_sweep import settle

CLASSES, CATEGORIES = 5, 3


@pytest.fixture(scope="module")
def points():
    cloud = torch.randn(2, 60, 3, generator=torch.Generator().manual_seed(2)).double()
    return cloud / cloud.norm(dim=-1).amax(1).view(-1, 1, 1)


@pytest.fixture(scope="module")
def category():
    return torch.tensor([2, 0])


def make(name, **numbers):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = create_segmentation_model(
            name, n_classes=CLASSES, n_categories=CATEGORIES, **numbers
        )
    return settle(module).double().eval()


def plain(layer, rows):
    """A layer of ours as torch has it, with stored statistics."""
    norm = layer.norm
    rows = (layer.linear(rows) - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
    return F.leaky_relu(rows * norm.weight + norm.bias, layer.negative_slope)


def through(layers, rows):
    for layer in layers:
        rows = plain(layer, rows)
    return rows


def told(category, n_points):
    return F.one_hot(category, CATEGORIES).double().unsqueeze(1).expand(-1, n_points, -1)


def tokens_after_blocks(trunk, tokens, positions):
    after = []
    for block in trunk.blocks:
        tokens = block(tokens + positions)
        after.append(tokens)
    return after


def same(ours, theirs):
    assert theirs.std(dim=1).min() > 1e-3  # points differ, or there is nothing to compare
    torch.testing.assert_close(ours, theirs, atol=1e-8, rtol=1e-6)


def check_points_beside_cloud(module, points, category, levels, centers, more=()):
    """The head of Point-MAE and ReCon, on tokens (B, G, 3 C) and further parts of the cloud."""
    label = plain(module.category, F.one_hot(category, CATEGORIES).double())
    whole = torch.cat([levels.amax(1), levels.mean(1), *more, label], dim=1)
    local = torch.cat([points, interpolate(points, centers, levels)], dim=-1)
    local = through(module.propagation.layers, local)
    rows = torch.cat([local, whole.unsqueeze(1).expand(-1, points.shape[1], -1)], dim=-1)
    same(module(points, category), module.head.out(through(module.head.layers, rows)))


@torch.no_grad()
def test_recon_reads_three_depths_queries_and_category(points, category):
    module = make("recon_nano", n_groups=12)
    trunk = module.encoder
    neighborhoods, centers = trunk.patches(points)
    queries = torch.cat([trunk.cls_token, trunk.img_token, trunk.text_token], dim=1)
    places = torch.cat([trunk.cls_pos, trunk.img_pos, trunk.text_pos], dim=1)
    tokens = torch.cat([queries.expand(2, -1, -1), trunk.patch_embedding(neighborhoods)], dim=1)
    positions = torch.cat([places.expand(2, -1, -1), trunk.position(centers)], dim=1)
    after = tokens_after_blocks(trunk, tokens, positions)
    # Four blocks: the first, the third and the last. The queries are not normed, the rest is.
    levels = torch.cat([trunk.norm(after[i][:, 3:]) for i in (0, 2, 3)], dim=-1)

    check_points_beside_cloud(
        module, points, category, levels, centers, [after[3][:, :3].amax(1)]
    )
    torch.testing.assert_close(trunk.norm(after[-1]), trunk.forward_features(points))


@torch.no_grad()
def test_point_mae_reads_three_depths_and_category(points, category):
    module = make("point_mae_nano", n_groups=12)
    trunk = module.encoder
    neighborhoods, centers = trunk.patches(points)
    after = tokens_after_blocks(
        trunk, trunk.embed_patches(neighborhoods), trunk.position(centers)
    )
    levels = torch.cat([trunk.norm(after[i]) for i in (0, 2, 3)], dim=-1)

    check_points_beside_cloud(module, points, category, levels, centers)


@torch.no_grad()
def test_point_bert_goes_up_three_levels(points, category):
    module = make("point_bert_nano", n_groups=12)
    module.n_samples = (40, 20)
    trunk = module.encoder
    neighborhoods, centers = trunk.patches(points)
    tokens = torch.cat(
        [trunk.cls_token.expand(2, -1, -1), trunk.embed_patches(neighborhoods)], dim=1
    )
    positions = torch.cat([trunk.cls_pos.expand(2, -1, -1), trunk.position(centers)], dim=1)
    after = tokens_after_blocks(trunk, tokens, positions)
    low, middle, high = (trunk.norm(after[i])[:, 1:] for i in (0, 2, 3))
    first, second = (gather(points, farthest_point_sample(points, n)) for n in (40, 20))

    def up(layers, xyz, skip, places, features):
        rows = torch.cat([skip, interpolate(xyz, places, features)], dim=-1)
        return through(layers.layers, rows)

    rows2 = up(module.to_second, second, second, centers, middle)
    rows2 = module.graph_second(second, centers, rows2, high)
    rows1 = up(module.to_first, first, first, centers, low)
    rows1 = module.graph_first(first, second, rows1, rows2)
    skip = torch.cat([told(category, 60), points], dim=-1)
    rows = up(module.to_points, points, skip, first, rows1)

    same(module(points, category), module.head.out(through(module.head.layers, rows)))


@pytest.mark.parametrize("name", ["pointnet2_ssg", "pointnet2_msg"])
@torch.no_grad()
def test_pointnet2_goes_back_three_steps(points, category, name):
    module = make(name, n_first=24, n_second=12)
    trunk = module.encoder
    middles1, middles2 = (gather(points, farthest_point_sample(points, n)) for n in (24, 12))
    features1 = trunk.level1(points, points[..., 3:], middles1)
    features2 = trunk.level2(middles1, features1, middles2)
    whole = trunk.forward_pool(points)

    rows = torch.cat([features2, whole.unsqueeze(1).expand(-1, 12, -1)], dim=-1)
    rows = through(module.to_second.layers, rows)
    rows = torch.cat([features1, interpolate(middles1, middles2, rows)], dim=-1)
    rows = through(module.to_first.layers, rows)
    rows = torch.cat(
        [told(category, 60), points, interpolate(points, middles1, rows)], dim=-1
    )
    rows = through(module.to_points.layers, rows)

    same(module(points, category), module.head.out(through(module.head.layers, rows)))


@torch.no_grad()
def test_dgcnn_by_the_names_of_the_public_version(points, category):
    module = make("dgcnn", n_neighbors=6)
    # Off the identity, so that the pose counts.
    weight = module.encoder.transform.out.weight
    weight += 0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(3))
    state = to_official(module)

    def layer(rows, number, norm=None, prefix="", slope=0.2):
        weight = state[f"{prefix}{number}.weight" if norm else f"{prefix}conv{number}.0.weight"]
        norm = prefix + (norm or f"conv{number}.1")
        rows = F.linear(rows, weight.flatten(1)) - state[f"{norm}.running_mean"]
        rows = rows / (state[f"{norm}.running_var"] + 1e-5).sqrt()
        return F.leaky_relu(rows * state[f"{norm}.weight"] + state[f"{norm}.bias"], slope)

    def edges(rows):
        found = gather(rows, knn(rows, rows, 6))
        own = rows.unsqueeze(2).expand_as(found)
        return torch.cat([found - own, own], dim=-1)

    net = "transform_net."
    pose = layer(layer(edges(points), 1, prefix=net), 2, prefix=net).amax(2)
    pose = layer(pose, 3, prefix=net).amax(1)
    pose = layer(layer(pose, "linear1", "bn3", net), "linear2", "bn4", net)
    pose = F.linear(pose, state[net + "transform.weight"], state[net + "transform.bias"])
    posed = points @ pose.view(-1, 3, 3)
    x1 = layer(layer(edges(posed), 1), 2).amax(2)
    x2 = layer(layer(edges(x1), 3), 4).amax(2)
    x3 = layer(edges(x2), 5).amax(2)
    local = torch.cat([x1, x2, x3], dim=-1)
    whole = layer(local, 6).amax(1)
    label = layer(F.one_hot(category, CATEGORIES).double(), 7)
    whole = torch.cat([whole, label], dim=1).unsqueeze(1).expand(-1, 60, -1)
    rows = layer(layer(layer(torch.cat([whole, local], dim=-1), 8), 9), 10)

    same(module(points, category), F.linear(rows, state["conv11.weight"].flatten(1)))


def test_pointnet2_has_the_numbers_of_the_authors():
    with torch.device("meta"):
        single = create_segmentation_model("pointnet2_ssg", n_classes=50)
        multi = create_segmentation_model("pointnet2_msg", n_classes=50)

    assert single.encoder.config["n_neighbors"] == ((64,), (64,))
    assert multi.encoder.config["n_neighbors"] == ((32, 64, 128), (64, 128))
    assert [len(step.layers) for step in (single.to_points, multi.to_points)] == [3, 2]


def test_blocks_that_are_used():
    assert tapped_blocks(12) == (4, 8, 12)
    assert tapped_blocks(4) == (1, 3, 4)
    assert tapped_blocks(1) == (1, 1, 1)


OFFICIAL = {
    "dgcnn": ("dgcnn_segmentation", {"k": 6}),
    "point_bert_nano": ("point_bert_segmentation", {"num_group": 12}),
    "point_mae_nano": ("point_mae_segmentation", {"num_group": 12}),
    "recon_nano": ("recon_segmentation", {"num_group": 12}),
}


@pytest.mark.parametrize("n_categories", [None, CATEGORIES])
@pytest.mark.parametrize("name", OFFICIAL)
def test_checkpoints_go_and_come_back(points, category, name, n_categories):
    system, sizes = OFFICIAL[name]
    ours = {"n_neighbors": 6} if name == "dgcnn" else {"n_groups": 12}
    module = create_segmentation_model(
        name, n_classes=CLASSES, n_categories=n_categories, **ours
    ).eval()
    state = {f"module.{key}": value for key, value in to_official(module).items()}
    wrapped = {"model_state_dict": state, "epoch": 3, "train_acc": 0.5, "inctance_avg_iou": 0.8}

    again = load_official(system, wrapped, **sizes)

    kind = None if n_categories is None else category
    points = points.float()
    assert type(again) is type(module)
    assert again.n_categories == n_categories
    with torch.no_grad():
        assert torch.equal(again(points, kind), module(points, kind))
    with pytest.raises(CheckpointError, match="does not fit"):
        size = "emb_dims" if name == "dgcnn" else "cls_dim"
        load_official(system, wrapped, **sizes, **{size: 7})


def test_a_checkpoint_says_itself_that_it_is_for_segmentation():
    for name in ("dgcnn", "recon_nano"):
        module = create_segmentation_model(name, n_classes=CLASSES, n_categories=CATEGORIES)

        assert type(load_official(None, to_official(module))) is type(module)


def test_names_in_a_checkpoint_of_recon():
    module = create_segmentation_model("recon_nano", n_classes=CLASSES, n_categories=CATEGORIES)

    names = set(to_official(module))

    heads = {"label_conv.0.weight", "propagation_0.mlp_convs.1.bias", "convs3.weight",
             "propagation_0.mlp_bns.0.running_var", "convs1.bias", "bns2.weight"}
    trunk = {"cls_token", "img_pos", "encoder.second_conv.3.weight", "pos_embed.2.bias",
             "blocks.blocks.3.attn_contrast.kv.weight", "blocks.blocks.0.norm2.bias",
             "norm.weight"}
    assert heads | trunk <= names
    assert not any(name.startswith(("MAE_encoder", "cls_head", "head")) for name in names)


@pytest.mark.parametrize("name, millions", [("recon_base", 48.5), ("point_mae", 27.06),
                                            ("point_bert", 27.09), ("dgcnn", 1.46)])
def test_published_sizes(name, millions):
    with torch.device("meta"):
        module = create_segmentation_model(name, n_classes=50, n_categories=16)

    found = sum(p.numel() for p in module.parameters()) / 1e6

    assert found == pytest.approx(millions, abs=0.05)
