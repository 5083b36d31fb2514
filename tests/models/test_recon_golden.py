"""ReCon against numbers of the original; nothing about a set of numbers is written here."""

import json

import numpy as np
import pytest
import torch

from pointinteract import load_official, to_official
from pointinteract.losses import patch_chamfer_loss, self_contrast_loss
from pointinteract.nn.patches import split_by_mask
from pointinteract.ops import gather, knn

pytestmark = pytest.mark.golden
ATOL = RTOL = 1e-5
PASSES = ["pretrain_eval", "pretrain_train"]


@pytest.fixture(scope="module")
def folder(shared):
    found = shared / "golden" / "recon"
    if not found.is_dir():
        pytest.skip(f"no golden/recon below {shared}")
    return found


@pytest.fixture(scope="module")
def meta(folder):
    return json.loads((folder / "meta.json").read_text())


def read(folder, name):
    with np.load(folder / f"{name}.npz", allow_pickle=False) as archive:
        return {key: torch.from_numpy(np.array(archive[key])) if archive[key].dtype.kind != "U"
                else archive[key] for key in archive.files}


def close(ours, theirs, **tolerance):
    torch.testing.assert_close(
        ours.detach().to(theirs.dtype), theirs, **({"atol": ATOL, "rtol": RTOL} | tolerance)
    )


def same_gradients(model, loss, names, norms, **tolerance):
    """Compare the L2 norm of the gradient of every parameter; -1 says that there is none."""
    ours = dict(model.named_parameters())
    official = official_names(model)
    gradients = torch.autograd.grad(loss, list(ours.values()), retain_graph=True,
                                    allow_unused=True)
    found = {}
    for (name, _), gradient in zip(ours.items(), gradients, strict=True):
        found[official[name]] = -1.0 if gradient is None else gradient.norm().item()
    expected = norms.tolist()
    for name, norm in zip(names, expected, strict=True):
        # A branch that is cut off may show as absent on one side and as exact zero on the other.
        if max(norm, 0.0) == max(found[str(name)], 0.0):
            continue
        assert found[str(name)] == pytest.approx(norm, rel=1e-4, abs=2e-6), name


def official_names(model):
    from pointinteract.models._official import _FORMATS

    fmt = _FORMATS["recon"]
    return {name: fmt.official_name(name) for name, _ in model.named_parameters()}


def record(model, names):
    """Keep the outputs of named sub-modules during a pass."""
    kept = {}
    for name in names:
        module = model.get_submodule(name)
        module.register_forward_hook(
            lambda _, __, output, name=name: kept.__setitem__(name, output)
        )
    return kept


BLOCK_PARTS = {
    "norm1_contrast": "norm1_global", "norm1": "norm1_local", "attn_contrast": "cross_attention",
    "attn": "self_attention", "norm2_contrast": "norm2_global", "norm2": "norm2_local",
    "mlp_contrast": "mlp_global", "mlp": "mlp_local",
}


def check_trunk(kept, arrays, prefix=""):
    depth = len([key for key in kept if key.startswith(f"{prefix}blocks.") and key.count(".")
                 == prefix.count(".") + 1])
    assert depth > 0
    for i in range(depth):
        out = kept[f"{prefix}blocks.{i}"]
        close(out[:, :3], arrays[f"encoder.block{i}.global_out"])
        close(out[:, 3:], arrays[f"encoder.block{i}.local_out"])
        for theirs, ours in BLOCK_PARTS.items():
            if f"encoder.block{i}.{theirs}" in arrays:
                close(kept[f"{prefix}blocks.{i}.{ours}"], arrays[f"encoder.block{i}.{theirs}"])


def trunk_names(model, prefix=""):
    trunk = model.get_submodule(prefix[:-1]) if prefix else model
    names = [f"{prefix}norm", f"{prefix}patch_embedding", f"{prefix}position"]
    for i in range(len(trunk.blocks)):
        names.append(f"{prefix}blocks.{i}")
        names += [f"{prefix}blocks.{i}.{part}" for part in BLOCK_PARTS.values()]
    return names


@pytest.mark.parametrize("name", PASSES)
def test_golden_pretraining_pass(folder, meta, name):
    arrays = read(folder, name)
    model = load_official("recon", folder / "pretrain_state.npz", **meta["pretrain_config"])
    model.train(name.endswith("train"))
    kept = record(model, [*trunk_names(model, "encoder."), "decoder_norm",
                          *[f"decoder.{i}" for i in range(len(model.decoder))]])

    out = model(arrays["in.points"], mask=arrays["mask"])

    neighborhoods, centers = model.encoder.patches(arrays["in.points"])
    close(neighborhoods, arrays["neighborhood"])
    close(centers, arrays["center"])
    index = knn(centers, arrays["in.points"], meta["pretrain_config"]["group_size"])
    assert torch.equal(index, arrays["knn_idx"])
    close(kept["encoder.patch_embedding"], arrays["patch_tokens"])
    close(kept["encoder.position"], arrays["encoder.pos_visible"])
    check_trunk(kept, arrays, "encoder.")
    close(out.tokens, arrays["encoder.norm_out"])
    for i, key in enumerate(["cls_token_out", "img_token_out", "text_token_out"]):
        close(out.tokens[:, i], arrays[key])
    close(out.tokens[:, 3:], arrays["x_vis"])
    for i in range(len(model.decoder)):
        close(kept[f"decoder.{i}"], arrays[f"decoder.block{i}.out"])
    visible, hidden = split_by_mask(arrays["mask"])
    order = torch.cat([visible, hidden], dim=1)
    close(model.decoder_position(gather(centers, order)), arrays["decoder.input_pos"])
    close(out.decoded, arrays["decoder.out"])
    close(out.rebuilt.flatten(0, 1), arrays["rebuilt_patches"])
    close(out.target.flatten(0, 1), arrays["target_patches"])
    close(out.image, arrays["img_proj_out"])
    close(out.text, arrays["text_proj_out"])
    close(out.contrast, arrays["cls_proj_out"], atol=5e-5)


@pytest.mark.parametrize("name", PASSES)
def test_golden_pretraining_losses_and_gradients(folder, meta, name):
    from pointinteract.pretraining import recon_losses

    arrays = read(folder, name)
    config = meta["pretrain_config"]
    model = load_official("recon", folder / "pretrain_state.npz", **config)
    model.train(name.endswith("train"))

    out = model(arrays["in.points"], mask=arrays["mask"])
    losses = recon_losses(
        out,
        reconstruction_loss=config["loss"],
        image_features=arrays["in.img_feature"],
        text_features=arrays["in.text_feature"],
        groups=arrays["in.group_label"],
    )

    theirs = {"reconstruction": "mdm", "image": "csc_img", "text": "csc_text", "contrast": "smc"}
    total = sum(losses.values())
    for ours, key in theirs.items():
        close(losses[ours], arrays[f"loss.{key}"], rtol=2e-5)
        same_gradients(model, losses[ours], arrays["param_names"], arrays[f"grad_l2.{key}"])
    close(total, arrays["loss.total"], rtol=2e-5)
    same_gradients(model, total, arrays["param_names"], arrays["grad_l2.total"])
    total.backward()
    state = {official: parameter.grad for official, parameter in zip(
        official_names(model).values(), model.parameters(), strict=True)}
    for key in (key for key in arrays if key.startswith("grad.")):
        ours = state[key.removeprefix("grad.")].reshape(arrays[key].shape)
        error = (ours - arrays[key]).norm() / arrays[key].norm()
        assert error < 1e-4, key
    written = to_official(model)
    for key in (key for key in arrays if key.startswith("after.")):
        close(written[key.removeprefix("after.")], arrays[key])


def test_golden_attention_shares(folder, meta):
    arrays = read(folder, "pretrain_eval")
    model = load_official("recon", folder / "pretrain_state.npz", **meta["pretrain_config"])
    kept = record(model, trunk_names(model, "encoder."))
    model(arrays["in.points"], mask=arrays["mask"])

    for i, block in enumerate(model.encoder.blocks):
        prefix = f"encoder.blocks.{i}."
        shares = block.cross_attention.weights(
            kept[prefix + "norm1_global"], kept[prefix + "norm1_local"]
        )
        close(shares, arrays[f"encoder.block{i}.cross_attn_prob"])


def test_golden_fine_tuning(folder, meta):
    arrays = read(folder, "finetune_eval")
    model = load_official("recon", folder / "finetune_state.npz", **meta["finetune_config"])
    kept = record(model, trunk_names(model))

    logits = model(arrays["in.points"])

    check_trunk(kept, arrays)
    close(kept["patch_embedding"], arrays["patch_tokens"])
    close(model.forward_features(arrays["in.points"]), arrays["encoder.norm_out"])
    close(model.forward_pool(arrays["in.points"]), arrays["feature"])
    close(logits, arrays["logits"])
    loss = torch.nn.functional.cross_entropy(logits, arrays["in.label"])
    close(loss, arrays["loss.ce"])
    same_gradients(model, loss, arrays["param_names"], arrays["grad_l2.ce"])


def test_golden_downstream_models_from_pretraining_weights(folder, meta):
    arrays = read(folder, "downstream")
    pretrained = load_official("recon", folder / "pretrain_state.npz", **meta["pretrain_config"])
    model = pretrained.encoder
    points = arrays["in.points"]

    close(model.forward_pool(points), arrays["linear.feature"])
    close(model.forward_features(points), arrays["linear.norm_out"])
    close(model.forward_probe(points), arrays["svm.feature"])
    tokens = model.forward_features(points)
    close(pretrained.text_projection(tokens[:, 2]), arrays["zeroshot.text"])
    close(pretrained.image_projection(tokens[:, 1]), arrays["zeroshot.image"])
    head = {key.removeprefix("linear.state."): value for key, value in arrays.items()
            if key.startswith("linear.state.")}
    state = {key.removeprefix("MAE_encoder."): value
             for key, value in to_official(pretrained).items() if key.startswith("MAE_encoder.")}
    linear = load_official("recon", state | head, **meta["finetune_config"] | {"type": "linear"})
    close(linear(points), arrays["linear.logits"])


@pytest.mark.parametrize("name, config", [("pretrain_state", "pretrain_config"),
                                          ("finetune_state", "finetune_config")])
def test_golden_state_round_trip(folder, meta, name, config):
    state = read(folder, name)

    written = to_official(load_official("recon", state, **meta[config]))

    assert written.keys() == state.keys()
    assert all(torch.equal(written[key], state[key]) for key in state)


def test_golden_prefixes_and_teachers_are_dropped(folder, meta):
    state = read(folder, "pretrain_state")
    wrapped = {f"module.{key}": value for key, value in state.items()}
    wrapped["module.img_encoder.head.weight"] = torch.zeros(2, 2)

    model = load_official("recon", {"base_model": wrapped, "epoch": 3}, **meta["pretrain_config"])

    assert all(torch.equal(value, state[key]) for key, value in to_official(model).items())


def test_golden_self_contrast(folder):
    from pointinteract.losses.contrastive import contrast_from_similarity

    arrays = read(folder, "ops")
    similarity, label = arrays["smc.similarity"], arrays["smc.label"]

    close(contrast_from_similarity(similarity, label), arrays["smc.loss"])

    out = read(folder, "pretrain_train")
    close(self_contrast_loss(out["cls_proj_out"], out["in.group_label"]), out["loss.smc"])
    patches = [out[key].unsqueeze(0) for key in ("rebuilt_patches", "target_patches")]
    close(patch_chamfer_loss(*patches), out["loss.mdm"])


def test_golden_learning_rates(folder, meta):
    from pointinteract.training import cosine_schedule

    arrays = read(folder, "ops")
    for name, groups in (("lr.pretrain", "param_groups_pretrain"),
                         ("lr.finetune", "param_groups_finetune")):
        theirs = arrays[name]
        bases = [group["base_lr"] for group in meta[groups]]
        for g, base in enumerate(bases):
            ours = [cosine_schedule(epoch, base, max_epochs=len(theirs) - 1, warmup_epochs=10)
                    for epoch in range(len(theirs))]
            close(torch.tensor(ours, dtype=theirs.dtype), theirs[:, g], rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("name, config, groups", [
    ("pretrain_state", "pretrain_config", "param_groups_pretrain"),
    ("finetune_state", "finetune_config", "param_groups_finetune"),
])
def test_golden_parameter_groups(folder, meta, name, config, groups):
    from pointinteract.training import parameter_groups

    model = load_official("recon", folder / f"{name}.npz", **meta[config])
    names = official_names(model)
    ours_to_theirs = {id(p): names[n] for n, p in model.named_parameters()}
    plain_rate = meta[groups][-1]["base_lr"]

    made = parameter_groups(
        model,
        learning_rate=plain_rate,
        weight_decay=0.05,
        head_factor=meta[groups][0]["base_lr"] / plain_rate if meta[groups][0]["names"] else 1.0,
    )

    found = {
        (round(group["lr"], 12), group["weight_decay"]):
            sorted(ours_to_theirs[id(p)] for p in group["params"])
        for group in made
    }
    for group in meta[groups]:
        if group["names"]:
            key = (round(group["base_lr"], 12), group["weight_decay"])
            assert found.pop(key) == sorted(group["names"])
    assert not found
