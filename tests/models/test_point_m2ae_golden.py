"""Point-M2AE against numbers of the original."""

import pytest
import torch
import torch.nn.functional as F

from pointinteract.losses import patch_chamfer_loss, smoothed_cross_entropy
from pointinteract.models import load_official, to_official
from tests.models._golden import GoldenFolder, close, record, same_gradients

pytestmark = pytest.mark.golden
SYSTEM = "point_m2ae"
DATASETS = {"modelnet": "fbase", "scanobject": "f2base"}


@pytest.fixture(scope="module")
def folder(shared):
    return GoldenFolder(shared, SYSTEM)


@pytest.fixture(scope="module")
def points(folder):
    return folder.arrays("pretrain_eval")["points"]


def pretraining(folder, *, published_padding=True, **sizes):
    sizes = folder.config["m"] | {"published_padding": published_padding} | sizes
    return load_official(SYSTEM, folder.state("pretrain", "base"), **sizes)


def classifier(folder, dataset, state=None):
    names = ("group_sizes", "num_groups", "encoder_dims", "encoder_depths", "local_radius",
             "num_heads", "drop_path_rate")
    sizes = {name: folder.config["m"][name] for name in names}
    return load_official(
        SYSTEM, state or folder.state(f"finetune_{dataset}", DATASETS[dataset]), **sizes
    )


def loss_of(out):
    return patch_chamfer_loss(out.rebuilt.unsqueeze(0), out.target.unsqueeze(0))


def check_outputs(out, kept, arrays):
    """Compare whatever of a pass `arrays` holds; return what is left of them."""
    for i in range(3):
        if f"mask{i}" in arrays:
            assert torch.equal(out.masks[i], arrays.pop(f"mask{i}").bool())
        if f"tokens{i}" in arrays:
            close(kept[f"encoder.embeddings.{i}"][0], arrays.pop(f"tokens{i}"))
        if f"encoder_valid{i}" in arrays:
            assert torch.equal(out.valid[i], arrays.pop(f"encoder_valid{i}").bool())
        if f"encoder_out_padded{i}" in arrays:  # of padding, nobody reads the result
            valid = out.valid[i]
            close(out.tokens[i][valid], arrays.pop(f"encoder_out_padded{i}")[valid])
    for i in range(2):
        if f"decoder_out{i}" in arrays:
            close(kept[f"decoder.{i}.0"][0], arrays.pop(f"decoder_out{i}"))
    if "propagated0" in arrays:
        close(kept["propagation"][0], arrays.pop("propagated0"))
    close(out.decoded, arrays.pop("decoder_norm_out"))
    close(out.rebuilt, arrays.pop("pred_points"))
    if "gt_points" in arrays:
        close(out.target, arrays.pop("gt_points"))
    close(loss_of(out), arrays.pop("loss"))
    return arrays


@pytest.mark.parametrize("name", ["pretrain_eval", "pretrain_train"])
def test_golden_pretraining_pass(folder, points, name):
    arrays = folder.arrays(name)
    model = pretraining(folder).train(name.endswith("train"))
    kept = record(model, [*(f"encoder.embeddings.{i}" for i in range(3)),
                          "decoder.0.0", "decoder.1.0", "propagation"])

    out = model(points, mask=arrays["mask2"].bool())

    for i, scale in enumerate(out.scales if name.endswith("eval") else []):
        close(scale.centers, arrays.pop(f"center{i}"))
        close(scale.patches, arrays.pop(f"neighborhood{i}"))
        n_members = points.shape[1] if i == 0 else out.scales[i - 1].centers.shape[1]
        offsets = n_members * torch.arange(len(points)).view(-1, 1, 1)
        assert torch.equal((scale.index + offsets).flatten(), arrays.pop(f"knn_index_flat{i}"))
    left = check_outputs(out, kept, arrays)
    left.pop("points", None)
    if name.endswith("train"):
        names = folder.json("grad_names")
        norms = left.pop("grad_norm")
        same_gradients(model, SYSTEM, loss_of(out), names, norms, atol=2e-5)
    assert not left


def test_golden_pass_without_radius(folder, points):
    arrays, mask = folder.arrays("variant_no_radius"), folder.arrays("pretrain_eval")["mask2"]
    model = pretraining(folder, local_radius=[0, 0, 0])

    out = model(points, mask=mask.bool())

    assert not check_outputs(out, {}, arrays)


def test_golden_padding_that_is_not_read_needs_no_radius(folder, points):
    """Ours at the published radii is the original without any."""
    arrays, mask = folder.arrays("variant_no_radius"), folder.arrays("pretrain_eval")["mask2"]
    model = pretraining(folder, published_padding=False)

    out = model(points, mask=mask.bool())

    assert not check_outputs(out, {}, arrays)


def test_golden_probe_feature(folder, points):
    close(pretraining(folder).forward_probe(points), folder.arrays("finetune_eval")["svm_feature"])


@pytest.mark.parametrize("dataset", DATASETS)
def test_golden_classifier(folder, points, dataset):
    arrays = folder.arrays("finetune_eval")
    model = classifier(folder, dataset)
    smoothing = folder.config["smooth"] if dataset == "modelnet" else 0.0

    logits = model(points)

    # Theirs are those before the norm.
    close(model.forward_features(points), model.norm(arrays[f"{dataset}_encoder_out"]))
    close(model.forward_pool(points), arrays[f"{dataset}_head_in"])
    close(logits, arrays[f"{dataset}_logits"])
    labels = arrays["labels"].long()
    loss = (smoothed_cross_entropy(logits, labels, smoothing=smoothing) if smoothing
            else F.cross_entropy(logits, labels))
    close(loss, arrays[f"{dataset}_loss"])


@pytest.mark.parametrize("dataset", DATASETS)
def test_golden_weight_transfer(folder, points, dataset):
    expected = folder.json("transfer")[dataset]
    brought = to_official(pretraining(folder))
    own = to_official(classifier(folder, dataset))
    shared = {name: brought[name] for name in own.keys() & brought.keys()}

    model = classifier(folder, dataset, own | shared)

    assert sorted(shared) == sorted(expected["loaded"])
    assert sorted(own.keys() - shared.keys()) == sorted(expected["missing_in_checkpoint"])
    assert sorted(brought.keys() - shared.keys()) == sorted(expected["unused_in_checkpoint"])
    theirs = folder.arrays("finetune_eval")[f"{dataset}_logits_after_transfer"]
    close(model(points), theirs)


@pytest.mark.parametrize("kind, base", [("pretrain", "base"), ("finetune_modelnet", "fbase"),
                                        ("finetune_scanobject", "f2base")])
def test_golden_state_round_trip_also_of_a_parallel_run(folder, kind, base):
    state = folder.state(kind, base)
    # The original reads such a file and takes nothing of it, without a word.
    wrapped = {"base_model": {f"module.{name}": value for name, value in state.items()}}

    written = to_official(load_official(SYSTEM, wrapped))

    assert written.keys() == state.keys()
    assert all(torch.equal(written[name], state[name]) for name in state)
