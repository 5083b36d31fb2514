"""Point-MAE against numbers of the original."""

import numpy as np
import pytest
import torch

from pointinteract.losses import patch_chamfer_loss
from pointinteract.models import load_official, to_official
from pointinteract.nn.patches import split_by_mask
from pointinteract.ops import farthest_point_sample, gather
from pointinteract.training import cosine_schedule
from tests.models._golden import GoldenFolder, close, record, same_gradients, transfer

pytestmark = pytest.mark.golden
SYSTEM = "point_mae"


@pytest.fixture(scope="module")
def folder(shared):
    return GoldenFolder(shared, SYSTEM)


@pytest.fixture(scope="module")
def points(folder):
    return folder.arrays("pretrain_eval")["points"]


def pretraining(folder):
    config = folder.config
    return load_official(
        SYSTEM,
        folder.state("pretrain", "base"),
        transformer_config=config["tc"],
        **{name: config[name] for name in ("num_group", "group_size", "loss")},
    )


def classifier(folder):
    config = folder.config
    sizes = {name: config["tc"][name] for name in ("trans_dim", "depth", "num_heads")}
    sizes |= {name: config[name] for name in ("num_group", "group_size")}
    return load_official(SYSTEM, folder.state("finetune", "fbase"), cls_dim=config["cls"], **sizes)


@pytest.mark.parametrize("name", ["pretrain_eval", "pretrain_block_eval", "pretrain_train"])
def test_golden_pretraining_pass(folder, points, name):
    arrays = folder.arrays(name)
    model = pretraining(folder).train(name.endswith("train"))
    parts = {
        **{f"enc_block{i}": f"encoder.blocks.{i}" for i in range(len(model.encoder.blocks))},
        **{f"dec_block{i}": f"decoder.{i}" for i in range(len(model.decoder))},
        "tokens": "encoder.patch_embedding",
        "pos_vis_encoder": "encoder.position",
    }
    kept = record(model, parts.values())

    out = model(points, mask=arrays.pop("mask"))

    neighborhoods, centers = model.encoder.patches(points)
    visible, hidden = split_by_mask(out.mask)
    found = {key: kept[part][0] for key, part in parts.items()} | {
        "points": points,
        "fps_idx": farthest_point_sample(points, folder.config["num_group"]),
        "center": out.centers,
        "neighborhood": neighborhoods,
        "pos_vis_decoder": model.decoder_position(gather(centers, visible)),
        "pos_mask_decoder": model.decoder_position(gather(centers, hidden)),
        "x_vis": out.tokens,
        "x_rec": out.decoded,
        "pred_points": out.rebuilt.flatten(0, 1),
        "gt_points": out.target.flatten(0, 1),
        "loss": patch_chamfer_loss(out.rebuilt, out.target, kind=folder.config["loss"]),
        "loss_cdl1": patch_chamfer_loss(out.rebuilt, out.target, kind="cdl1"),
        "loss_cdl2": patch_chamfer_loss(out.rebuilt, out.target, kind="cdl2"),
    }
    if "grad_norm" in arrays:
        norm = model.encoder.patch_embedding.norm1
        found["bn1_running_mean_after"] = norm.running_mean
        found["bn1_running_var_after"] = norm.running_var
        same_gradients(model, SYSTEM, found["loss"], folder.json("grad_names"),
                       arrays.pop("grad_norm"))
    assert arrays.keys() <= found.keys()
    for key, expected in arrays.items():
        close(found[key], expected)


def test_golden_fine_tuning_and_transfer(folder, points):
    arrays = folder.arrays("finetune_eval")
    model = classifier(folder)
    labels = arrays["labels"].long()

    logits = model(points)

    close(logits, arrays["logits"])
    close(model.forward_features(points), arrays["norm_out"])
    close(model.forward_pool(points), arrays["head_in"])
    close(torch.nn.functional.cross_entropy(logits, labels), arrays["ce_loss"])
    close(100 * (logits.argmax(1) == labels).float().mean(), arrays["acc_percent"])

    lists = transfer(pretraining(folder), model, SYSTEM, folder.state("pretrain", "base"))

    expected = folder.json("transfer")
    for ours, key in zip(lists, ("loaded", "missing_in_checkpoint", "unused_in_checkpoint"),
                         strict=True):
        assert ours == expected[key], key
    close(model(points), arrays["logits_after_transfer"])
    close(model.forward_pool(points), arrays["head_in_after_transfer"])


@pytest.mark.parametrize("make, state", [(pretraining, ("pretrain", "base")),
                                         (classifier, ("finetune", "fbase"))])
def test_golden_state_comes_back_to_the_last_bit(folder, make, state):
    expected = folder.state(*state)

    written = to_official(make(folder))

    assert list(written) == sorted(expected)
    for key, value in expected.items():
        assert written[key].dtype == value.dtype and torch.equal(written[key], value), key


def test_golden_files_of_parallel_runs_are_read(folder):
    state = folder.state("pretrain", "base")
    wrapped = {f"module.{key}": value for key, value in state.items()}

    model = load_official(SYSTEM, {"base_model": wrapped, "epoch": 300})

    assert all(torch.equal(value, state[key]) for key, value in to_official(model).items())


def test_golden_learning_rates(folder):
    """The rate of Point-MAE and its kin, epoch by epoch."""
    for name, theirs in folder.arrays("lr_schedule").items():
        rate, length, warmup = (part.lstrip("lrtw") for part in name.split("_"))
        peak = float(rate.replace("e", "e-"))
        ours = [
            cosine_schedule(epoch, peak, max_epochs=int(length), warmup_epochs=int(warmup))
            for epoch in range(len(theirs))
        ]
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-15, err_msg=name)


def test_golden_numbers_notice_what_is_easy_to_get_wrong(folder, points):
    arrays = folder.arrays("pretrain_eval")
    model = pretraining(folder)
    right = model(points, mask=arrays["mask"])

    with_class = model.encoder.encode
    model.encoder.encode = lambda *args, **kwargs: with_class(*args)[:, 1:]
    assert (model(points, mask=arrays["mask"]).tokens - right.tokens).abs().max() > 1e-2
    del model.encoder.encode
    model.decoder_position = model.encoder.position  # the decoder has positions of its own
    assert (model(points, mask=arrays["mask"]).rebuilt - right.rebuilt).abs().max() > 1e-2
