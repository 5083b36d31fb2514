"""MaskPoint against numbers of the original."""

import pytest
import torch
import torch.nn.functional as F

from pointinteract.losses import query_discrimination_loss, queue_contrast_loss
from pointinteract.models import load_official, to_official
from pointinteract.ops import farthest_point_sample, gather
from pointinteract.pretraining._queries import place_queries
from tests.models._golden import (
    GoldenFolder,
    close,
    official_names,
    record,
    same_gradients,
    transfer,
)

pytestmark = pytest.mark.golden
SYSTEM = "maskpoint"
# Order in which the original makes its parts, and the parts of a block.
REGISTERED = ("cls_token", "mask_token", "cls_pos", "encoder.first", "encoder.second",
              "reduce_dim.", "pos_embed.", "blocks.", "decoder.",
              "cls_head.", "bin_cls_head.", "norm.")
IN_BLOCK = ("norm1", "norm2", "mlp.fc1", "mlp.fc2", "attn.qkv", "attn.q_proj", "attn.k_proj",
            "attn.v_proj", "attn.proj")


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
        **{name: config[name] for name in ("m", "T", "K")},
    )


def classifier(folder):
    names = ("trans_dim", "depth", "num_heads", "num_group", "group_size", "encoder_dims")
    sizes = {name: folder.config["tc"][name] for name in names}
    state = folder.state("finetune", "fbase")
    return load_official(SYSTEM, state, cls_dim=folder.config["cls"], **sizes)


def real_and_fake(folder, points, name="pretrain_eval"):
    """Queries and labels; the draws are those of evaluation in training too."""
    draws = folder.arrays(name)["uniform_for_fake_queries"]
    n_real = folder.config["tc"]["dec_query_real_num"]
    if name == "variant_center_query":
        n_real = folder.config["tc"]["num_group"]
    return place_queries(points, gather(points, farthest_point_sample(points, n_real)), draws)


def registered_norms(network):
    """L2 norms of the copy's parameters in the order of the original."""
    official = official_names(network, SYSTEM)

    def place(name):
        short = official[name].removeprefix("transformer_k.")
        part = next(i for i, begin in enumerate(REGISTERED) if short.startswith(begin))
        block = [i for i, inner in enumerate(IN_BLOCK) if f".{inner}." in short]
        number = next((int(word) for word in short.split(".") if word.isdigit()), 0)
        layer = short.rpartition(".")[0]
        return part, number, block, layer, short.endswith("bias")

    tensors = {f"key.{name}": tensor for name, tensor in network.key.named_parameters()}
    return torch.stack([tensors[name].norm() for name in sorted(tensors, key=place)])


@pytest.mark.parametrize("name", ["pretrain_eval", "pretrain_train"])
def test_golden_pretraining_pass(folder, points, name):
    arrays = folder.arrays(name)
    tc = folder.config["tc"]
    model = pretraining(folder).train(name.endswith("train"))
    kept = record(model, ["query.encoder.bridge"])
    before = model.queue.queue.clone()
    queries, labels = real_and_fake(folder, points)

    out = model(points, queries, mask=arrays["mask_query"])
    keys = model.keys(points, mask=arrays["mask_key"])
    contrast = queue_contrast_loss(
        out.projected, keys, model.queue.queue, temperature=folder.config["T"]
    )
    model.queue.push(F.normalize(keys, dim=1))

    neighborhoods, centers = model.encoder.patches(points)
    found = {
        "points": points,
        "fps_idx": farthest_point_sample(points, tc["num_group"]),
        "center": centers,
        "neighborhood": neighborhoods,
        "tokens": kept["query.encoder.bridge"][0],
        "encoder_out": out.tokens,
        "queries": queries,
        "query_labels": labels,
        "decoder_out": out.decoded,
        "query_logits": out.logits.transpose(1, 2),
        "cls_query_raw": out.projected,
        "cls_key_raw": keys,
        "queue_before": before,
        "queue_after": model.queue.queue,
        "loss_query": tc["query_loss_weight"] * query_discrimination_loss(
            out.logits, labels, alpha=tc["focal_loss_alpha"], gamma=tc["focal_loss_gamma"]
        ),
        "loss_moco_weighted": tc["moco_loss_weight"] * contrast,
        "key_param_l2_after": registered_norms(model),
    }
    if "grad_norm" in arrays:
        loss = found["loss_query"] + found["loss_moco_weighted"]
        same_gradients(model, SYSTEM, loss, folder.json("grad_names"), arrays.pop("grad_norm"))
    given = {"mask_query", "mask_key", "uniform_for_fake_queries"}
    assert arrays.keys() - given <= found.keys()
    for key in arrays.keys() - given:
        close(found[key], arrays[key])
    assert torch.equal(labels, arrays["query_labels"].long())


@pytest.mark.parametrize("kind", ["bce", "focal", "softmax"])
def test_golden_other_losses(folder, points, kind):
    arrays = folder.arrays(f"variant_{kind}")
    masks = folder.arrays("pretrain_eval")
    model = pretraining(folder)
    queries, labels = real_and_fake(folder, points)

    out = model(points, queries, mask=masks["mask_query"])
    keys = model.keys(points, mask=masks["mask_key"])
    contrast = queue_contrast_loss(
        out.projected, keys, model.queue.queue, temperature=folder.config["T"]
    )

    close(query_discrimination_loss(out.logits, labels, kind=kind), arrays["loss_query"])
    close(folder.config["tc"]["moco_loss_weight"] * contrast, arrays["loss_moco_weighted"])


def test_golden_centers_as_queries(folder, points):
    arrays = folder.arrays("variant_center_query")
    queries, labels = real_and_fake(folder, points, "variant_center_query")

    out = pretraining(folder)(points, queries, mask=arrays["mask_query"])

    close(queries, arrays["queries"])
    assert torch.equal(labels, arrays["query_labels"].long())
    close(out.logits.transpose(1, 2), arrays["query_logits"])
    close(query_discrimination_loss(out.logits, labels), arrays["loss_query"])


def test_golden_fine_tuning_and_transfer(folder, points):
    arrays = folder.arrays("finetune_eval")
    pretrained, model = pretraining(folder), classifier(folder)
    labels = arrays["labels"].long()

    logits = model(points)

    close(logits, arrays["logits"])
    close(model.forward_pool(points), arrays["head_in"])
    close(F.cross_entropy(logits, labels), arrays["ce_loss"])
    close(100 * (logits.argmax(1) == labels).float().mean(), arrays["acc_percent"])
    nothing_hidden = torch.zeros(folder.config["tc"]["num_group"], dtype=torch.bool)
    close(pretrained.query.project(points, nothing_hidden), arrays["svm_feature"])

    # The original takes the network that learns, without its class head.
    prefix = "transformer_q."
    brought = [name for name in folder.state("pretrain", "base")
               if name.startswith(prefix) and ".cls_head." not in name]
    lists = transfer(pretrained, model, SYSTEM, brought)

    expected = folder.json("transfer")
    for ours, key in zip(lists, ("loaded", "missing_in_checkpoint", "unused_in_checkpoint"),
                         strict=True):
        assert [name.removeprefix(prefix) for name in ours] == expected[key], key
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


def test_golden_files_without_the_contrast_are_read(folder):
    state = {f"module.{key}": value for key, value in folder.state("pretrain", "base").items()
             if key.startswith("transformer_q.")}

    model = load_official(SYSTEM, {"base_model": state})

    assert model.key is None and model.queue is None
    assert to_official(model).keys() == {key.removeprefix("module.") for key in state}
