"""Classifiers that start from files of the original systems."""

import os

import numpy as np
import pytest
import torch

from pointinteract import models
from pointinteract.classification import PointClassifier
from pointinteract.classification._build import pretrained_encoder
from pointinteract.datasets import make_shapes
from pointinteract.exceptions import CheckpointError
from pointinteract.models import create_model, load_official, to_official
from pointinteract.models.contrast import BootstrapNetwork, CrossPointNetwork
from pointinteract.models.maskpoint import MaskPointNetwork

# Numbers that tensors do not tell are those that a reader takes for granted: one head for such
# narrow networks, six in Point-M2AE.
TRUNK = {"width": 24, "depth": 2, "n_heads": 1, "patch_hidden": (4, 6, 8)}
PATCHES = {"n_groups": 64, "group_size": 8}
TOKENIZER = {"n_tokens": 16, "width": 12, "patch_hidden": (4, 6, 8), "graph_hidden": 8,
             "graph_widths": (8, 8, 8, 8), "coarse_width": 8, "fold_width": 8, **PATCHES}
PICTURES = {"width": 8, "depth": 1, "n_heads": 1}


def make_point_bert():
    return models.PointBERTPretraining(
        models.DiscreteVAE(**TOKENIZER), contrast_width=8, queue_length=16,
        **{key: TRUNK[key] for key in ("width", "depth", "n_heads")},
    )  # fmt: skip


def make_maskpoint():
    return models.MaskPointPretraining(
        MaskPointNetwork(**TRUNK, **PATCHES, patch_width=12, n_projected=8)
    )


def make_act():
    teacher = {**TOKENIZER, "transformer": PICTURES, "n_prompts": 3}
    return models.ACTPretraining(teacher=teacher, **TRUNK, **PATCHES, decoder_depth=1)


def make_encoder():
    return create_model("dgcnn", n_classes=0)


PRETRAINING = {
    "act": make_act,
    "crosspoint": lambda: CrossPointNetwork(
        make_encoder(), hidden=8, width=4, image_network=None
    ),
    "maskpoint": make_maskpoint,
    "point_bert": make_point_bert,
    "point_gpt": lambda: models.PointGPTPretraining(**TRUNK, **PATCHES, generator_depth=1),
    "point_m2ae": lambda: models.PointM2AEPretraining(
        widths=(12, 18, 24), depths=(1, 1, 1), n_heads=6, patch_hidden=(4, 6, 8)
    ),
    "point_mae": lambda: models.PointMAEPretraining(**TRUNK, **PATCHES, decoder_depth=1),
    "strl": lambda: BootstrapNetwork(make_encoder(), hidden=8, width=4),
}


@pytest.fixture(autouse=True)
def seed():
    """Fresh weights are the same in every run."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def shaken(network):
    """The network with other numbers everywhere than a fresh one has."""
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.0)
    return network


def check_same_encoder(found, expected):
    """The same kind of network, with the same numbers in all but the head and what is fresh."""
    assert type(found) is type(expected)
    state, reference = found.state_dict(), expected.state_dict()
    fresh = ("head", "cls_")  # made by a classifier where pre-training has none
    compared = [name for name in reference if not name.startswith(fresh)]
    assert compared
    for name in compared:
        torch.testing.assert_close(state[name], reference[name], rtol=0, atol=0)


@pytest.mark.parametrize("system", PRETRAINING)
def test_pretraining_file_gives_its_encoder(system, tmp_path):
    network = shaken(PRETRAINING[system]())
    state = {f"module.{name}": tensor for name, tensor in to_official(network).items()}
    torch.save({"base_model": state, "epoch": 300, "best_metrics": np.float64(1.5)},
               tmp_path / "ckpt.pth")  # fmt: skip

    encoder = pretrained_encoder(str(tmp_path / "ckpt.pth"), None)

    check_same_encoder(encoder, network.encoder)


@pytest.mark.parametrize("name", ["dgcnn", "pointnet", "simpleview", "pointmlp_elite"])
def test_classifier_file_gives_its_network(name, tmp_path):
    network = shaken(create_model(name, n_classes=3))
    torch.save(to_official(network), tmp_path / "best.t7")

    check_same_encoder(pretrained_encoder(tmp_path / "best.t7", None), network)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["curvenet", "gdanet", "pct", "pointcnn", "pointmlp", "pointnet2_msg", "pointnet2_ssg",
     "pointnet_basic", "pointnext_s", "pointnext_s_c64", "recon_nano"],
)  # fmt: skip
def test_other_classifier_files_give_their_networks(name, tmp_path):
    test_classifier_file_gives_its_network(name, tmp_path)


def test_classifier_is_trained_from_a_file(tmp_path):
    network = shaken(PRETRAINING["point_mae"]())
    torch.save({"base_model": to_official(network)}, tmp_path / "ckpt.pth")
    X, y = make_shapes(4, n_points=70, return_X_y=True, random_state=0)

    clf = PointClassifier(pretrained=str(tmp_path / "ckpt.pth"), max_epochs=1,
                          learning_rate=1e-12, weight_decay=0.0).fit(X, y % 2)  # fmt: skip

    ours = clf.module_.patch_embedding.linear1.weight.detach()
    torch.testing.assert_close(ours, network.encoder.patch_embedding.linear1.weight.detach())


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("hostile",)


def test_hostile_file_runs_no_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"base_model": {"a": torch.zeros(2)}, "config": Hostile()}, "ckpt.pth")

    with pytest.raises(CheckpointError, match="not loaded for safety"):
        pretrained_encoder("ckpt.pth", None)

    assert not (tmp_path / "hostile").exists()


def test_file_that_fits_nothing_says_what_it_holds(tmp_path):
    torch.save({"stem.weight": torch.zeros(3, 3)}, tmp_path / "other.pth")

    with pytest.raises(CheckpointError, match=r"none of the systems known.*dgcnn.*stem\.weight"):
        pretrained_encoder(tmp_path / "other.pth", None)


def test_tokenizer_is_refused_because_it_has_no_encoder(tmp_path):
    torch.save(to_official(models.DiscreteVAE(**TOKENIZER)), tmp_path / "dvae.pth")

    with pytest.raises(CheckpointError, match="no encoder that a classifier could start from"):
        pretrained_encoder(tmp_path / "dvae.pth", None)


class TestAverages:
    """Files with a running average of the weights beside these."""

    @pytest.fixture
    def both(self):
        """Weights and average, of different numbers."""
        first, second = (create_model("pointnet_basic", n_classes=3) for _ in range(2))
        return to_official(first), to_official(second)

    @pytest.mark.parametrize(
        "place", ["state_dict_ema", "model_ema", "ema_state_dict", "ema", "nested"]
    )
    def test_average_is_read_when_asked_for(self, both, place):
        plain, average = both
        file = {"epoch": 3, "model": plain, place: {f"module.{k}": v for k, v in average.items()}}
        if place == "nested":
            file = {"state_dict": {"model": plain, "ema": {"state_dict": average, "decay": 0.9}}}

        without = load_official(None, file)
        with_average = load_official("pointnet_basic", file, ema=True)

        name = "conv1.weight"
        torch.testing.assert_close(to_official(without)[name], plain[name], rtol=0, atol=0)
        torch.testing.assert_close(to_official(with_average)[name], average[name], rtol=0, atol=0)

    @pytest.mark.parametrize("decay", [{}, {"ema": 0.999}])
    def test_average_that_is_not_there(self, both, decay):
        with pytest.raises(CheckpointError, match="ema=True asks for.*does not hold"):
            load_official("pointnet_basic", {"model": both[0], **decay}, ema=True)

    def test_file_of_an_average_alone_says_how_to_read_it(self, both):
        with pytest.raises(CheckpointError, match="under 'model_ema'.*ema=True"):
            load_official("pointnet_basic", {"model_ema": both[1], "epoch": 3})
