"""Checkpoints of the original systems: read, refused where they do not fit, written back."""

import os
import warnings

import numpy as np
import pytest
import torch

from pointinteract.exceptions import CheckpointError
from pointinteract.models import create_model, load_official, to_official
from pointinteract.models._official import (
    OfficialFormat,
    OfficialSizes,
    OfficialState,
    register_official,
    unit_axes,
)

# --- reading ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def state():
    """An official state dict with numbers that cannot be taken for fresh ones."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state = to_official(create_model("pointnet_basic", n_classes=4))
        return {
            key: torch.tensor(7) if value.dtype == torch.int64 else torch.rand(value.shape)
            for key, value in state.items()
        }


def assert_same(module, state):
    written = to_official(module)
    assert list(written) == sorted(state)
    assert all(torch.equal(written[key], value) for key, value in state.items())


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {f"module.{key}": value for key, value in s.items()},
        lambda s: {"base_model": s, "epoch": 3, "metrics": {"acc": 0.9}},
        lambda s: {"state_dict": {f"module.{key}": value for key, value in s.items()}},
        lambda s: {"model": {"model_state_dict": s}},
        lambda s: {key: value.numpy() for key, value in s.items()},
    ],
    ids=["plain", "module", "base_model", "state_dict", "nested", "numpy"],
)
def test_wrapped_states_are_opened(state, wrap):
    assert_same(load_official("pointnet_basic", wrap(state)), state)


def test_file_with_numpy_scalars_is_read(state, tmp_path):
    path = tmp_path / "ckpt-best.pth"
    metrics = {"acc": np.float64(93.5), "f": np.float32(1), "i": np.int64(2)}
    torch.save({"base_model": state, "metrics": metrics, "epoch": np.int64(9)}, path)

    assert_same(load_official("pointnet_basic", path), state)
    assert_same(load_official("pointnet_basic", str(path)), state)


def test_npz_and_safetensors_are_read(state, tmp_path):
    np.savez(tmp_path / "a.npz", **{key: value.numpy() for key, value in state.items()})
    assert_same(load_official("pointnet_basic", tmp_path / "a.npz"), state)

    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file(state, tmp_path / "a.safetensors")
    assert_same(load_official("pointnet_basic", tmp_path / "a.safetensors"), state)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_other_precisions_come_back_unchanged(state, dtype):
    other = {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}

    module = load_official("pointnet_basic", other)

    assert_same(module, other)
    assert module.layer1.linear.weight.dtype == dtype


def test_loading_copies_and_leaves_random_numbers_alone(state):
    torch_state = torch.get_rng_state()
    module = load_official("pointnet_basic", state)
    assert torch.equal(torch.get_rng_state(), torch_state)

    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    assert state["linear2.weight"].abs().sum() > 0
    assert not module.training and all(p.requires_grad for p in module.parameters())


def test_checkpoints_from_before_batch_counters_are_read_and_written_alike(state):
    old = {key: value for key, value in state.items() if "num_batches" not in key}

    assert_same(load_official("pointnet_basic", old), old)


def test_second_names_may_be_absent_but_not_differ():
    state = to_official(create_model("dgcnn", n_classes=4))
    assert torch.equal(state["bn1.weight"], state["conv1.1.weight"])
    short = {key: value for key, value in state.items() if not key.startswith("bn1.")}
    assert_same(load_official("dgcnn", short), short)

    state["bn1.weight"] = state["bn1.weight"] + 1
    with pytest.raises(CheckpointError, match="bn1.weight differs from conv1.1.weight"):
        load_official("dgcnn", state)


def test_trained_and_changed_modules_are_written(state):
    module = load_official("pointnet_basic", state, dropout=0.1).train()
    module.reset_classifier(6)
    module(torch.randn(4, 16, 3)).sum().backward()

    written = to_official(module)

    assert written["linear2.weight"].shape == (6, 512)
    assert written["bn1.num_batches_tracked"] == 8
    assert module.dropout == 0.1
    assert_same(load_official("pointnet_basic", written, output_channels=6), written)


# --- refusing ---------------------------------------------------------------------------------


def without(state, key):
    return {name: value for name, value in state.items() if name != key}


@pytest.mark.parametrize(
    "system, change, sizes, words",
    [
        ("pointnet3", dict, {}, "Unknown system 'pointnet3'. Checkpoints can be read of: "),
        ("dgcnn", dict, {}, "no tensor 'conv1.0.weight'. Its 38 tensors are bn1.bias"),
        ("pointnet", dict, {}, "not a checkpoint of 'pointnet'"),
        ("pointnet_basic", lambda s: without(s, "bn1.bias"), {}, "1 missing (bn1.bias)"),
        ("pointnet_basic", lambda s: s | {"a": s["bn1.bias"]}, {}, "1 unexpected (a)"),
        (
            "pointnet_basic",
            lambda s: s | {"bn1.bias": torch.ones(3)},
            {},
            "bn1.bias is (3,) and should be (64,)",
        ),
        (
            "pointnet_basic",
            lambda s: s | {"conv2.weight": s["conv2.weight"][..., 0]},
            {},
            "conv2.weight is (64, 64) and should be (64, 64, 1)",
        ),
        ("pointnet_basic", lambda s: s | {"conv5.weight": torch.ones(8)}, {}, "must have 3 axes"),
        ("pointnet_basic", dict, {"output_channels": 5}, "output_channels=5 does not fit"),
        ("pointnet_basic", dict, {"emb_dims": 512}, "tensors say emb_dims=1024"),
        ("pointnet_basic", dict, {"k": 4}, "no size 'k'; the sizes it takes are"),
        ("pointnet_basic", lambda s: {}, {}, "got an empty mapping"),
        ("pointnet_basic", lambda s: [1], {}, "got list"),
        ("pointnet_basic", lambda s: s | {"epoch": 3}, {}, "'epoch' is of type int"),
        (
            "pointnet_basic",
            lambda s: s | {"module.bn1.bias": s["bn1.bias"]},
            {},
            "holds 'bn1.bias' twice",
        ),
    ],
)
def test_what_does_not_fit_is_named(state, system, change, sizes, words):
    with pytest.raises(CheckpointError) as caught:
        load_official(system, change(state), **sizes)

    assert words in str(caught.value)


def test_only_the_first_few_of_many_names_are_listed(state):
    many = {key: value for key, value in state.items() if not key.startswith("bn")}

    with pytest.raises(CheckpointError, match=r"24 missing \(bn1.weight, .*, \.\.\.\)") as caught:
        load_official("pointnet_basic", many)

    assert len(str(caught.value)) < 400


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("hostile",)


@pytest.mark.parametrize("kind", ["truncated", "text", "empty", "hostile", "npz"])
def test_damaged_and_hostile_files_are_refused(state, tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / ("a.npz" if kind == "npz" else "a.pth")
    torch.save({"a": Hostile()} if kind == "hostile" else state, path)
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:1000])
    elif kind == "text":
        path.write_text("not a checkpoint")
    elif kind == "empty":
        path.write_bytes(b"")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(CheckpointError) as caught:
            load_official("pointnet_basic", path)

    assert not (tmp_path / "hostile").exists()
    if kind != "npz":  # there its entries are complained about
        assert path.name in str(caught.value)


def test_missing_file_is_a_file_not_found_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_official("dgcnn", tmp_path / "none.pth")


def test_module_without_original_cannot_be_written():
    with pytest.raises(CheckpointError, match="Linear has no published original"):
        to_official(torch.nn.Linear(2, 2))


# --- the pieces -------------------------------------------------------------------------------


def test_a_system_is_registered_once():
    with pytest.raises(ValueError, match="registered already"):
        register_official(OfficialFormat("dgcnn", lambda state, sizes: torch.nn.Linear(1, 1)))


def test_sizes_are_compared_and_asked_for():
    sizes = OfficialSizes("x", {"k": 3, "odd": 1})

    assert sizes.check("k", 3) == 3 and sizes.get("rate", 0.5) == 0.5
    with pytest.raises(CheckpointError, match="no size 'odd'; the sizes it takes are: k, rate"):
        sizes.refuse_unknown()


def test_state_names_a_tensor_of_another_rank():
    state = OfficialState("x", {"w": torch.ones(2, 3)})

    assert state.shape("w", 2) == (2, 3)
    with pytest.raises(CheckpointError, match=r"'w' .* 3 axes, got shape \(2, 3\)"):
        state.shape("w", 3)


def test_unit_axes_are_added_and_dropped():
    layout = unit_axes(2)
    weight = torch.rand(4, 3)

    assert layout.to_official(weight).shape == (4, 3, 1, 1)
    assert torch.equal(layout.to_ours(layout.to_official(weight)), weight)
