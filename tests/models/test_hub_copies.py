"""Copies of the hub against the package that they are made for, with its networks as oracle.

The package's compiled searches are replaced by their definitions, written down here.
"""

import pytest
import torch

from pointinteract.classification._build import pretrained_encoder
from pointinteract.models import (
    DiscreteVAE,
    PointGPTPretraining,
    PointM2AEPretraining,
    PointMAEPretraining,
    PointTransformer,
    load_official,
)
from pointinteract.models._hub import _KNOWN, system_of

package = pytest.importorskip("torch_pointcloud")
pool = pytest.importorskip("torch_geometric.nn.pool")


def _fps(src, batch=None, ratio=None, random_start=False, batch_size=None, **_):
    """Farthest points of each cloud, from its first."""
    chosen = []
    for cloud in range(int(batch.max()) + 1):
        rows = torch.nonzero(batch == cloud)[:, 0]
        points, taken = src[rows], [0]
        distance = torch.full((len(rows),), torch.inf, dtype=src.dtype)
        for _ in range(int(torch.tensor(ratio * len(rows) - 1e-6).ceil()) - 1):
            distance = torch.minimum(distance, (points - points[taken[-1]]).square().sum(1))
            taken.append(int(distance.argmax()))
        chosen.append(rows[taken])
    return torch.cat(chosen)


def _distances(x, y, batch_x, batch_y):
    """Distances of rows y to rows x, infinite to those of other clouds."""
    between = torch.cdist(y, x, compute_mode="donot_use_mm_for_euclid_dist")
    return between.masked_fill(batch_y.unsqueeze(1) != batch_x.unsqueeze(0), torch.inf)


def _knn(x, y, k, batch_x=None, batch_y=None, **_):
    near = _distances(x, y, batch_x, batch_y).topk(k, largest=False).indices
    return torch.stack([torch.arange(len(y)).repeat_interleave(k), near.flatten()])


def _knn_graph(x, k, batch=None, loop=False, **_):
    assert loop
    return _knn(x, x, k, batch, batch).flip(0)


def _radius(x, y, r, batch_x=None, batch_y=None, max_num_neighbors=32, **_):
    """The first points of each ball, as the search on a GPU has them."""
    inside = _distances(x, y, batch_x, batch_y) < r
    return torch.nonzero(inside & (inside.cumsum(1) <= max_num_neighbors)).T


@pytest.fixture
def searches(monkeypatch):
    for name, plain in (("fps", _fps), ("knn", _knn), ("knn_graph", _knn_graph),
                        ("radius", _radius)):  # fmt: skip
        monkeypatch.setattr(pool, name, plain)


def make_theirs(name):
    """Their network of random numbers everywhere, also where a fresh one has zeros and ones."""
    generator = torch.Generator().manual_seed(0)
    network = package.create_model(name, pretrained=False).eval().double()
    for key, tensor in network.state_dict().items():
        if key.endswith("running_var") or (tensor.ndim == 1 and key.endswith("weight")):
            tensor.uniform_(0.5, 1.5, generator=generator)
        elif tensor.ndim == 1 or key.startswith(("cls_", "mask_token", "sos_pos")):
            tensor.uniform_(-0.5, 0.5, generator=generator)
        elif tensor.ndim > 1 and tensor.count_nonzero() == 0:
            tensor.uniform_(-0.1, 0.1, generator=generator)
    return network


def sizes_of(name):
    """The sizes that come with a name."""
    return _KNOWN[name][1]


CLASSIFIERS = {
    # Name of the copy: channels beside the coordinates, and whether these are repeated there.
    "dgcnn.modelnet40-1024.an-tao": (0, False),
    "dgcnn.modelnet40-2048.an-tao": (0, False),
    "point-bert-base.modelnet40.xumin-yu": (0, False),
    "point-m2ae-base.modelnet40.renrui-zhang": (0, False),
    "point-mae-base.modelnet40.yatian-pang": (0, False),
    "pointgpt-s.modelnet40.guangyan-chen": (0, False),
    "pointgpt-b.scanobjectnn-hardest.guangyan-chen": (0, False),
    "pointmlp-base.modelnet40.xu-ma": (0, False),
    "pointmlp-elite.modelnet40.xu-ma": (0, False),
    "pointnet2-msg.modelnet40.xu-yan": (3, False),
    "pointnet2-ssg.modelnet40.xu-yan": (0, False),
    "pointnext-sm-c64.modelnet40.openpoints": (0, True),
    "pointnext-sm.scanobjectnn-hardest.openpoints": (1, True),
}


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.slow
def test_equal_weights_give_what_the_package_gives(name, searches):
    n_extra, with_xyz = CLASSIFIERS[name]
    theirs = make_theirs(name)
    for layer in theirs.modules():
        if hasattr(layer, "std_mode"):  # otherwise by the root of a mean square; see below
            layer.std_mode = "batch"
    generator = torch.Generator().manual_seed(1)
    points = torch.rand(2, 1024, 3 + n_extra, generator=generator, dtype=torch.float64) * 2 - 1

    def ask_them(cloud):
        xyz, extra = cloud[:, :3], cloud[:, 3:]
        features = cloud if with_xyz else extra if n_extra else None
        return theirs(features, xyz, torch.zeros(len(cloud), dtype=torch.long))

    with torch.no_grad():
        # One cloud after the other: then what PointMLP divides by is the standard deviation of
        # each cloud, as in the original.
        expected = torch.cat([ask_them(cloud) for cloud in points])
        ours = load_official(system_of(name), theirs.state_dict(), **sizes_of(name))(points)

    assert expected.std() > 1e-3
    torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-5)


PRETRAINING = {
    "point-bert-base.dvae.xumin-yu": DiscreteVAE,
    "point-bert-base.pretrain.xumin-yu": PointTransformer,  # the student alone
    "point-m2ae-base.pretrain.renrui-zhang": PointM2AEPretraining,
    "point-mae-base.pretrain.yatian-pang": PointMAEPretraining,
    "pointgpt-b.pretrain.guangyan-chen": PointGPTPretraining,
    "pointgpt-s.pretrain.guangyan-chen": PointGPTPretraining,
}
# What the original keeps and never reads, or no network of ours has a place for.
UNREAD = ("lm_head.", "cls_head.", "norm.", "generator_blocks.sos", "blocks.increase_dim.")


@pytest.mark.parametrize("name", PRETRAINING)
@pytest.mark.slow
def test_copies_of_pretraining_are_read_in_full(name):
    theirs = make_theirs(name)

    ours = load_official(system_of(name), theirs.state_dict(), **sizes_of(name))

    assert type(ours) is PRETRAINING[name]
    read = {float(tensor.sum()) for tensor in ours.state_dict().values()}
    left = [key for key, tensor in theirs.state_dict().items() if float(tensor.sum()) not in read]
    if isinstance(ours, PointTransformer):
        left.remove("mask_token")
        assert not any(key.startswith("norm.") for key in left)
    assert all(key.startswith(UNREAD) for key in left), left
    if not isinstance(ours, DiscreteVAE):
        assert pretrained_encoder(ours, None).config["width" if "m2ae" not in name else "widths"]


@pytest.mark.slow
def test_tokenizer_gives_the_words_and_points_of_the_package(searches, monkeypatch):
    theirs = make_theirs("point-bert-base.dvae.xumin-yu")
    points = torch.rand(600, 3, generator=torch.Generator().manual_seed(1)).double() * 2 - 1
    monkeypatch.setattr(
        torch.nn.functional, "gumbel_softmax", lambda logits, **_: logits.softmax(-1)
    )  # without noise

    with torch.no_grad():
        expected = theirs(None, points, torch.zeros(600, dtype=torch.long))
        ours = load_official("point_bert", theirs.state_dict())(
            points.unsqueeze(0), noise=torch.zeros(())
        )

    for name in ("logits", "coarse", "fine"):
        found, wanted = getattr(ours, name), expected[name]
        torch.testing.assert_close(found.flatten(0, 1), wanted.view_as(found).flatten(0, 1),
                                   rtol=1e-3, atol=1e-5)  # fmt: skip
