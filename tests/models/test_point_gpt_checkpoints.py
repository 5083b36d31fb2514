"""Checkpoints of PointGPT: names, shapes, sizes, and what they are read as."""

import pytest
import torch

from pointinteract.exceptions import CheckpointError
from pointinteract.models import PointGPT, PointGPTPretraining, load_official, to_official
from pointinteract.models.point_gpt import point_gpt_sizes
from tests.models._point_gpt_literal import (
    HIDDEN,
    N_HEADS,
    OFFICIAL,
    ORIGINAL,
    SMALL,
    G,
    make,
    shaken,
)


@pytest.fixture(autouse=True)
def seed():
    """Fresh weights are the same in every run."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize(
    ("size", "millions", "of_classifier"),
    [("small", 29, 29.2), ("base", 120, 120.4), ("large", 360, 360.4)],
)
def test_published_sizes_have_the_published_numbers(size, millions, of_classifier):
    with torch.device("meta"):
        pretraining = PointGPTPretraining(**point_gpt_sizes(size))
        classifier = PointGPT(n_classes=15, **point_gpt_sizes(size))

    def count(network):
        return sum(p.numel() for p in network.parameters()) / 1e6

    assert round(count(pretraining)) == millions
    assert round(count(classifier), 1) == of_classifier


# Names and shapes as the original has them, with our small sizes: 20 wide, patches of 5.
BLOCK = {"ln_1.weight": (20,), "ln_1.bias": (20,), "ln_2.weight": (20,), "ln_2.bias": (20,),
         "attn.in_proj_weight": (60, 20), "attn.in_proj_bias": (60,),
         "attn.out_proj.weight": (20, 20), "attn.out_proj.bias": (20,),
         "mlp.0.weight": (80, 20), "mlp.0.bias": (80,),
         "mlp.2.weight": (20, 80), "mlp.2.bias": (20,)}
SHARED = {"sos_pos": (1, 1, 20), "norm.weight": (20,), "blocks.sos": (20,),
          "blocks.ln_f.bias": (20,), "blocks.increase_dim.0.weight": (15, 20, 1),
          "blocks.increase_dim.0.bias": (15,), "generator_blocks.sos": (20,),
          "generator_blocks.ln_f.weight": (20,), "generator_blocks.increase_dim.0.bias": (15,),
          "generator_blocks.increase_dim.0.weight": (15, 20, 1)}
SHARED |= {f"{stack}.layers.{i}.{k}": v for stack in ("blocks", "generator_blocks")
           for i in (0, 1) for k, v in BLOCK.items()}
FINE = {"cls_token": (1, 1, 20), "cls_pos": (1, 1, 20), "blocks.cls_norm.weight": (20,),
        "blocks.cls_head_finetune.0.weight": (256, 40),
        "blocks.cls_head_finetune.1.running_var": (256,),
        "blocks.cls_head_finetune.4.weight": (256, 256),
        "blocks.cls_head_finetune.5.weight": (256,),
        "blocks.cls_head_finetune.8.weight": (4, 256)}
EMBEDDING = {
    "small": {"first_conv.0": (8, 3, 1), "first_conv.3": (12, 8, 1),
              "second_conv.0": (16, 24, 1), "second_conv.3": (20, 16, 1)},
    "large": {"first_conv.0": (6, 3, 1), "first_conv.3": (8, 6, 1), "first_conv.6": (12, 8, 1),
              "second_conv.0": (16, 24, 1), "second_conv.3": (20, 16, 1)},
}


@pytest.mark.parametrize("embedding", HIDDEN)
@pytest.mark.parametrize("kind", ["pretraining", "classifier"])
def test_checkpoints_have_the_original_names_and_come_back(kind, embedding, generator):
    prefix = "GPT_Transformer." if kind == "pretraining" else ""
    if kind == "pretraining":
        network = PointGPTPretraining(patch_hidden=HIDDEN[embedding], **SMALL)
    else:
        network = PointGPT(n_classes=4, patch_hidden=HIDDEN[embedding], **SMALL)
    network = shaken(network, generator)

    state = to_official(network)
    again = load_official("point_gpt", {"base_model": state}, **OFFICIAL)

    expected = SHARED | (FINE if kind == "classifier" else {})
    expected |= {f"encoder.{k}.weight": v for k, v in EMBEDDING[embedding].items()}
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    for name, shape in expected.items():
        assert shapes[prefix + name] == shape, name
    n_norms = 3 if embedding == "large" else 2
    # SHARED leaves out three biases of norms; a norm of rows has five tensors.
    n_shared = len(SHARED) + 3 + 2 * len(EMBEDDING[embedding]) + 5 * n_norms
    n_fine = 4 + 2 * 3 + 5 * 2 if kind == "classifier" else 0
    assert len(shapes) == n_shared + n_fine
    assert type(again) is type(network)
    mine, back = to_official(again), state
    assert all(torch.equal(mine[k], back[k]) for k in back) and mine.keys() == back.keys()


def test_files_of_the_original_are_read_as_the_original_means_them(generator):
    classifier = load_official("point_gpt", to_official(make(generator)), **OFFICIAL)
    pretraining = PointGPTPretraining(patch_hidden=HIDDEN["small"], **SMALL)
    encoder = load_official(
        "point_gpt", to_official(pretraining), NAME="PointGPT", loss="cdl12", weight_center=1,
        cls_dim=40, num_group=G, transformer_config={"num_heads": N_HEADS, "mask_ratio": 0.5,
                                                     "drop_path_rate": 0.1, "depth": 2},
    )

    assert {name: classifier.config[name] for name in ORIGINAL} == ORIGINAL
    assert encoder.mask_ratio == 0.5
    # A class token is made afresh, so it can stand where it sees something.
    assert encoder.encoder.config["class_token"] == "last"
    assert encoder.encoder.config["temperature"] == 1.0
    ours = load_official("point_gpt", to_official(make(generator)), temperature=10.0,
                         class_token="last", generation_target="relative", **OFFICIAL)
    assert ours.config == make(generator).config


def test_files_without_what_nobody_reads_are_read_too(generator):
    state = to_official(make(generator))
    for name in ("norm.weight", "norm.bias", "generator_blocks.sos"):
        del state[name]

    load_official("point_gpt", state, **OFFICIAL)

    with pytest.raises(CheckpointError, match="depth=3.*depth=2"):
        load_official("point_gpt", state, depth=3)
    with pytest.raises(CheckpointError, match="missing .blocks.ln_f.bias"):
        load_official("point_gpt", {k: v for k, v in state.items() if k != "blocks.ln_f.bias"},
                      **OFFICIAL)


@pytest.mark.parametrize("wrong", [{"class_token": "first"}, {"generation_target": "near"}])
def test_wrong_switches_are_named(wrong):
    name, value = next(iter(wrong.items()))
    with pytest.raises(ValueError, match=f"{name} must be one of .*got '{value}'"):
        PointGPT(**SMALL, **wrong)


def test_pretraining_without_a_generator_is_no_checkpoint(generator):
    state = to_official(PointGPTPretraining(patch_hidden=HIDDEN["small"], **SMALL))

    with pytest.raises(CheckpointError, match="no tensor .*generator_blocks.increase_dim"):
        load_official("point_gpt", {k: v for k, v in state.items() if "generator" not in k})
