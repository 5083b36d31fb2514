"""Networks with the weights of the originals give the numbers of the originals.

A system is tested as soon as `load_official` knows it and its numbers lie in shared/golden.
"""

import copy
import json

import numpy as np
import pytest
import torch

from pointinteract.exceptions import CheckpointError
from pointinteract.models import list_official, load_official, to_official
from pointinteract.ops import farthest_point_sample, knn

# How each further array of a system is found: a function of the module and of a record of
# {layer name: (first input, output)} of the forward pass, giving channels last.
ACTIVATIONS = {
    "dgcnn": {
        "edgeconv1": lambda module, record: record["edge1"][1],
        "edgeconv4": lambda module, record: record["edge4"][1],
    },
    "pointnet": {
        "stn3": lambda module, record: record["input_transform"][1],
        "stn64": lambda module, record: record["feature_transform"][1],
        "point_feature_128": lambda module, record: module.layer2.normalized(record["layer2"][0]),
        "log_probs": lambda module, record: record[""][1].log_softmax(1),
    },
}
ACTIVATIONS["curvenet"] = {
    "lpfa0": lambda module, record: record["stem"][1],
    "logits_paired": lambda module, record: _pair_weights(module)(record[""][0]),
}
ACTIVATIONS["gdanet"] = {
    f"block{n}": lambda module, record, name=f"block{n}.fuse": _normalized(module, record, name)
    for n in (1, 2)
}
ACTIVATIONS["pointnet2_ssg"] = ACTIVATIONS["pointnet2_msg"] = {
    "sa1": lambda module, record: record["level1"][1],
    "sa2": lambda module, record: record["level2"][1],
    "log_probs": ACTIVATIONS["pointnet"]["log_probs"],
}
ACTIVATIONS["p2p"] = {
    "prompt_image": lambda module, record: record["painter"][1],
    "rotation_matrix": lambda module, record: module.rotations[0],
}
ACTIVATIONS["pct"] = {
    "local_0": lambda module, record: record["embed1"][1],
    "local_1": lambda module, record: record["embed2"][1],
    "sa4": lambda module, record: record["attentions.3"][1],
}
ACTIVATIONS["pointmlp"] = ACTIVATIONS["pointmlp_elite"] = {
    "stage1_pre": lambda module, record: record["stages.0.pool"][1],
    "stage4_pos": lambda module, record: record["stages.3"][1],
}
ACTIVATIONS["pointcnn"] = {
    f"xconv{n}": lambda module, record, name=f"convolutions.{n - 1}": record[name][1]
    for n in (1, 2, 4)
}
ACTIVATIONS["simpleview"] = {
    "depth_images": lambda module, record: record["encoder"][0][:, 0],
    "view_features": lambda module, record: record["encoder"][1],
}
ACTIVATIONS["pointnext_s"] = ACTIVATIONS["pointnext_s_c64"] = {
    f"stage{n}": lambda module, record, name=f"levels.{n - 1}": record[name][1] for n in (1, 4)
}
ACTIVATIONS["mvtn"] = {
    "view_azimuth_deg": lambda module, record: record["view_predictor"][1][0],
    "view_elevation_deg": lambda module, record: record["view_predictor"][1][1],
    "rendered": lambda module, record: record["encoder"][0].unflatten(0, (2, -1)),
}
# Tensors of a state that are not drawn at random, by the last part of their names.
CONSTANTS = {
    "views_azim": (0.0, 120.0, 240.0, 0.0, 120.0, 240.0),
    "views_elev": (-45.0, -45.0, -45.0, 45.0, 45.0, 45.0),
    "views_dist": (1.0,) * 6,
}
BY_THEIR_OWN_TEST = {
    "input",
    "target",
    "logits",
    "global_feature",
    "grad_input",
    "knn1_index_sorted_pos0_31",
    "fps_index",
}


def _normalized(module, record, name):
    """What a layer with a rectifier gave before it."""
    return module.get_submodule(name).normalized(record[name][0])


def _pair_weights(module):
    """A CurveNet like `module` of which every curve has its own weights."""
    paired = type(module)(**module.config | {"paired": True})
    paired.load_state_dict(module.state_dict())
    return paired.eval()


@pytest.fixture(scope="module", params=list_official())
def golden(request, shared):
    """Manifest, arrays, official state and our module for each system with a manifest."""
    folder = shared / "golden" / request.param
    if not (folder / "manifest.json").is_file():
        pytest.skip(f"no manifest of {request.param}; its numbers, if any, have another test")
    manifest = json.loads((folder / "manifest.json").read_text())
    with np.load(folder / "golden.npz", allow_pickle=False) as archive:
        arrays = dict(archive)
    state = fill_weights(manifest)
    module = load_official(request.param, state, **manifest["config"])
    return manifest, arrays, state, module


def fill_weights(manifest):
    """Draw the weights as the manifest's rules say."""
    fill = manifest["fill"]
    by_key = {entry["key"]: entry for entry in manifest["state"]}
    state = {}
    for entry in manifest["state"]:
        source = by_key[entry.get("alias_of", entry["key"])]
        shape = tuple(entry["shape"])
        generator = np.random.default_rng(fill["seed_base"] + source["index"])
        z = generator.standard_normal(shape)
        fan = source.get("fan", np.prod(shape[1:]))
        value = {
            "weight": z * source.get("gain", fill["gain"]) / np.sqrt(fan),
            "scale": 1 + 0.1 * z,
            "shift": fill["shift_scale"] * z,
            "variance": 1 + 0.1 * np.abs(z),
            "counter": np.zeros(shape),
            "constant": CONSTANTS.get(entry["key"].rpartition(".")[2]),
        }[source["kind"]]
        dtype = np.int64 if entry["kind"] == "counter" else np.float32
        state[entry["key"]] = torch.from_numpy(np.asarray(value).astype(dtype))
    return state


def tolerance(manifest, name):
    """The recommended tolerance of an array."""
    recommended = manifest["recommended_tolerance"]
    if name in recommended:
        return recommended[name]
    measured = manifest["measured_float32_vs_float64_max_abs"].get(name, 0.0)
    return {"rtol": recommended["other"]["rtol"], "atol": max(20 * measured, 1e-5)}


def run_recorded(module, points):
    record = {}
    hooks = [
        layer.register_forward_hook(
            lambda layer, args, out, name=name: record.update({name: (args[0], out)})
        )
        for name, layer in module.named_modules()
    ]
    logits = module(points)
    for hook in hooks:
        hook.remove()
    return logits, record


@pytest.mark.golden
def test_golden_logits_and_feature(golden, device):
    manifest, arrays, _, module = golden
    module.to(device)
    points = torch.from_numpy(arrays["input"]).to(device)

    with torch.no_grad():
        found = {"logits": module(points), "global_feature": module.forward_pool(points)}

    module.cpu()
    for name, value in found.items():
        np.testing.assert_allclose(value.cpu(), arrays[name], **tolerance(manifest, name))


@pytest.mark.golden
def test_golden_activations(golden):
    manifest, arrays, _, module = golden
    known = ACTIVATIONS.get(manifest["system"], {})
    with torch.no_grad():
        _, record = run_recorded(module, torch.from_numpy(arrays["input"]))

    for name in sorted(set(arrays) - BY_THEIR_OWN_TEST):
        base = name.removesuffix("_mean").removesuffix("_pos0_31")
        assert base in known, f"no way to compare {name} of {manifest['system']}"
        with torch.no_grad():
            value = known[base](module, record)
        if name.endswith("_pos0_31"):
            value = value[:, :32]
            if "channel-last" not in manifest["arrays"][name]["meaning"]:
                value = value.transpose(1, 2)
        elif name.endswith("_mean"):
            value = value.mean(1)
        np.testing.assert_allclose(value, arrays[name], **tolerance(manifest, name), err_msg=name)


@pytest.mark.golden
def test_golden_first_neighbors(golden):
    manifest, arrays, _, _ = golden
    if "knn1_index_sorted_pos0_31" not in arrays:
        pytest.skip(f"no neighbors are stored for {manifest['system']}")
    expected = arrays["knn1_index_sorted_pos0_31"]
    points = torch.from_numpy(arrays["input"])

    found = knn(points[:, : expected.shape[1]], points, manifest["config"]["k"])

    np.testing.assert_array_equal(found.sort(-1).values, expected)


@pytest.mark.golden
def test_golden_first_samples(golden):
    manifest, arrays, _, _ = golden
    if "fps_index" not in arrays:
        pytest.skip(f"no samples are stored for {manifest['system']}")
    points = torch.from_numpy(arrays["input"])

    found = farthest_point_sample(points, arrays["fps_index"].shape[1])

    np.testing.assert_array_equal(found, arrays["fps_index"])


@pytest.mark.golden
def test_golden_input_gradient(golden):
    manifest, arrays, _, module = golden
    if "grad_input" not in arrays:
        pytest.skip(f"no gradient is stored for {manifest['system']}")
    # In float64: in float32 values that are nearly the maximum change places with the order of
    # summing, and with them the points that the gradient goes to.
    points = torch.from_numpy(arrays["input"]).double().requires_grad_()
    target = torch.from_numpy(arrays["target"].astype(np.int64)).unsqueeze(1)

    score = copy.deepcopy(module).double()(points).gather(1, target).sum()
    (gradient,) = torch.autograd.grad(score, points)

    expected = arrays["grad_input"]
    error = np.linalg.norm(gradient.numpy() - expected) / np.linalg.norm(expected)
    assert error < tolerance(manifest, "grad_input")["relative_l2"]


@pytest.mark.golden
def test_golden_state_comes_back_to_the_last_bit(golden):
    manifest, _, state, module = golden

    written = to_official(module)

    assert list(written) == sorted(state)
    for key, value in state.items():
        assert written[key].dtype == value.dtype and written[key].shape == value.shape
        assert torch.equal(written[key], value), key
    assert sum(p.numel() for p in module.parameters()) == manifest["parameter_count"]


@pytest.mark.golden
def test_golden_wrong_sizes_are_named(golden):
    manifest, _, state, _ = golden
    n_classes = manifest["num_classes"]
    name, wrong = other_classes(manifest["config"], n_classes)

    with pytest.raises(CheckpointError) as caught:
        load_official(manifest["system"], state, **wrong)

    assert f"{name}={n_classes + 1}" in str(caught.value)
    assert f"{name}={n_classes}" in str(caught.value)


def other_classes(config, n_classes):
    """What a configuration, nested or not, calls the number of classes; and one with another."""
    for name, value in config.items():
        if value == n_classes:
            return name, config | {name: n_classes + 1}
        if isinstance(value, dict) and (inner := other_classes(value, n_classes)):
            return inner[0], config | {name: inner[1]}
    return None
