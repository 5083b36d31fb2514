"""Point-BERT, tokenizer and masked modelling, against numbers of the original."""

import pytest
import torch
import torch.nn.functional as F

from pointinteract.losses import (
    smoothed_cross_entropy,
    token_reconstruction_loss,
    token_uniformity_loss,
)
from pointinteract.models import load_official, to_official
from pointinteract.models.point_bert import PointBERTDraws, mix
from pointinteract.ops import farthest_point_sample
from pointinteract.pretraining import point_bert_losses
from pointinteract.training.schedules import half_cosine
from tests.models._golden import (
    GoldenFolder,
    close,
    official_names,
    record,
    same_gradients,
    sorted_points,
    transfer,
)

pytestmark = pytest.mark.golden
SYSTEM = "point_bert"
IN_ORDER = ["cls_token", "mask_token", "cls_pos", "encoder", "reduce_dim", "pos_embed", "blocks",
            "norm", "lm_head", "cls_head"]
IN_BLOCK = ["norm1", "norm2", "mlp", "attn"]


@pytest.fixture(scope="module")
def folder(shared):
    return GoldenFolder(shared, SYSTEM)


@pytest.fixture(scope="module")
def points(folder):
    return folder.arrays("dvae_eval_hard")["points"]


def tokenizer(folder):
    return load_official(SYSTEM, folder.state("dvae", "base"), **folder.config["dv"])


def pretraining_state(folder):
    """The fill, and over it the tokenizer's weights, as the folder's README says."""
    state, words = folder.state("mpm", "mbase"), folder.state("dvae", "base")
    state |= {f"dvae.{name}": value for name, value in words.items()}
    return state | {f"transformer_q.{name}": value for name, value in words.items()
                    if name.startswith("encoder.")}


def pretraining(folder):
    config = folder.config
    return load_official(
        SYSTEM,
        pretraining_state(folder),
        transformer_config=config["tc"],
        dvae_config=config["dv"],
        **{name: config[name] for name in ("m", "T", "K")},
    )


def classifier(folder):
    config = folder.config
    sizes = {name: config["tc"][name] for name in ("trans_dim", "depth", "num_heads")}
    sizes |= {name: config["dv"][name] for name in ("num_group", "group_size", "encoder_dims")}
    return load_official(SYSTEM, folder.state("finetune", "fbase"), cls_dim=config["cls"], **sizes)


@pytest.mark.parametrize("name", ["dvae_eval_hard", "dvae_eval_soft", "dvae_train_soft"])
def test_golden_tokenizer(folder, points, name):
    arrays = folder.arrays(name)
    model = tokenizer(folder).train("train" in name)
    kept = record(model, ["patch_embedding", "token_graph.edges.0"])
    hard = name.endswith("hard")

    out = model(points, temperature=1.0 if hard else folder.config["temp"], hard=hard,
                noise=arrays.pop("gumbel_noise"))

    places = out.centers.unsqueeze(2)
    found = {
        "points": points,
        "fps_idx": farthest_point_sample(points, folder.config["dv"]["num_group"]),
        "neighborhood": out.neighborhoods,
        "tokens": kept["patch_embedding"][0],
        "logits": out.logits,
        "labels_argmax": out.logits.argmax(dim=2),
        "sampled": out.sampled,
        "feature": out.features,
        "coarse": out.coarse,
        "fine": out.fine,
        "whole_coarse": (out.coarse + places).flatten(1, 2),
        "whole_fine": (out.fine + places).flatten(1, 2),
        "loss_recon": token_reconstruction_loss(out.coarse, out.fine, out.neighborhoods),
        "loss_kl": token_uniformity_loss(out.logits),
        "dgcnn1_layer1_max_first8": kept["token_graph.edges.0"][0][..., :8].transpose(1, 2),
    }
    if "grad_norm" in arrays:
        loss = found["loss_recon"] + 0.1 * found["loss_kl"]
        same_gradients(model, SYSTEM, loss, folder.json("grad_names_dvae"),
                       arrays.pop("grad_norm"))
    assert arrays.keys() <= found.keys()
    for key, expected in arrays.items():
        in_order = sorted_points if key == "neighborhood" else torch.as_tensor
        close(in_order(found[key]), in_order(expected))


def test_golden_schedules(folder):
    arrays = folder.arrays("dvae_schedules")

    for step, temperature, weight in zip(*(arrays[key].tolist() for key in (
            "iteration", "temperature", "kl_weight")), strict=True):
        ours = half_cosine(step, 1.0, 0.0625, length=100_000)
        assert ours == pytest.approx(temperature, rel=1e-6)
        ours = half_cosine(step, 0.0, 0.1, length=100_000, delay=10_000)
        assert ours == pytest.approx(weight, rel=1e-5, abs=1e-15)


@pytest.mark.parametrize("name", ["mpm_eval", "mpm_train"])
def test_golden_masked_modelling(folder, points, name):
    arrays = folder.arrays(name)
    model = pretraining(folder)
    model.tokenizer_batch_statistics = True  # as the original has it
    model.train(name.endswith("train"))
    kept = record(model, ["query.encoder.bridge", "query.encoder.norm", "key.encoder.bridge"])
    draws = PointBERTDraws(arrays["mask_query"].bool(), arrays["mask_key"].bool(),
                           arrays["mixup_ratio"], arrays["mixup_mask"].bool(),
                           arrays["mask_mixup"].bool())

    queue = model.queue.queue.clone()
    model.follow_query()
    out = model(points, draws=draws)
    losses = point_bert_losses(out, queue, temperature=folder.config["T"])
    model.remember(out.keys)

    neighborhoods, centers = model.tokenizer.patches(points)
    tokens = [*kept["query.encoder.bridge"], *kept["key.encoder.bridge"]]
    norm_out = kept["query.encoder.norm"][0]
    found = {
        "center": centers,
        "neighborhood": neighborhoods,
        "mask_query": draws.mask,
        "mask_key": draws.key_mask,
        "mask_mixup": draws.mixed_mask,
        "mixup_ratio": draws.share,
        "mixup_mask": draws.kept,
        "overall_mask_query": out.guessed,
        "overall_mask_mixup": out.mixed_guessed,
        "overall_mask_key": draws.key_mask,
        "tokens_query": tokens[0],
        "tokens_query_after_replace": tokens[0],
        "tokens_mixup_after_replace": tokens[1],
        "tokens_key_after_replace": tokens[2],
        "norm_out_query": norm_out,
        "cls_query_raw": out.features,
        "cls_mixup_raw": out.mixed_features,
        "cls_key_raw": out.keys,
        "logits_masked_query": out.logits,
        "logits_masked_mixup": out.mixed_logits,
        "logits_visible_query": model.query.token_head(norm_out[:, 1:][~out.guessed]),
        "mixup_neighborhood": mix(draws.kept, neighborhoods),
        "mixup_center": mix(draws.kept, centers),
        "mixup_label": out.mixed_labels,
        "dvae_label_eval": out.labels,
        "dvae_label_train": out.labels,
        "queue_before": queue,
        "queue_after": model.queue.queue,
        "queue_ptr_after": model.queue.queue_ptr,
        "key_param_l2_after": torch.stack([p.norm() for p in key_parameters(model)]),
        "loss_moco": losses["contrast"],
        "loss_token": losses["tokens"] + losses["mixed_tokens"],
        "loss_mixup_contrast": losses["mixed_contrast"],
        "loss_total_first": sum(losses.values()) - losses["mixed_contrast"],
    }
    if "grad_norm" in arrays:
        same_gradients(model, SYSTEM, sum(losses.values()), folder.json("grad_names_mpm"),
                       arrays.pop("grad_norm"))
    assert arrays.keys() <= found.keys()
    for key, expected in arrays.items():
        in_order = sorted_points if key.endswith("neighborhood") else torch.as_tensor
        close(in_order(found[key]), in_order(expected))


def test_golden_words_of_training_are_those_of_evaluation_unless_asked(folder, points):
    evaluated, trained = (folder.arrays(f"mpm_{mode}")[f"dvae_label_{mode}"]
                          for mode in ("eval", "train"))
    model = pretraining(folder).train()
    generator = torch.Generator().manual_seed(0)

    ours = model(points, generator=generator).labels
    model.tokenizer_batch_statistics = True
    published = model.train()(points, generator=generator).labels

    assert torch.equal(ours, evaluated.long()) and torch.equal(published, trained.long())
    assert not torch.equal(ours, published)


def test_golden_numbers_notice_what_is_easy_to_get_wrong(folder, points):
    arrays = folder.arrays("dvae_eval_hard")
    model = tokenizer(folder)
    noise = arrays["gumbel_noise"]

    assert not torch.equal(model(points, noise=0 * noise).logits.argmax(2),
                           (arrays["logits"] + noise).argmax(2))
    model.decoder.grid.copy_(model.decoder.grid.flip(1))  # the other coordinate first
    assert (model(points, hard=True, noise=noise).fine - arrays["fine"]).abs().max() > 1e-3
    model.token_graph.n_neighbors = 3
    assert (model(points, hard=True, noise=noise).logits - arrays["logits"]).abs().max() > 1e-2


def key_parameters(model):
    """Parameters of the key network in the order in which the original makes them."""
    named = {official: model.get_parameter(name)
             for name, official in official_names(model, SYSTEM).items()
             if name in dict(model.named_parameters()) and name.startswith("key.")}

    def place(name):
        parts = name.removeprefix("transformer_k.").split(".")
        in_block = (int(parts[2]), IN_BLOCK.index(parts[3])) if parts[0] == "blocks" else ()
        return (IN_ORDER.index(parts[0]), *in_block)

    return [named[name] for name in sorted(named, key=place)]


def test_golden_fine_tuning_and_transfer(folder, points):
    arrays = folder.arrays("finetune_eval")
    model = classifier(folder)
    labels = arrays["labels"].long()

    logits = model(points)

    close(logits, arrays["logits"])
    close(model.forward_pool(points), arrays["head_in"])
    close(F.cross_entropy(logits, labels), arrays["loss_plain_ce"])
    close(smoothed_cross_entropy(logits, labels, smoothing=0.2),
          arrays["loss_label_smoothing_0.2"])
    close(100 * (logits.argmax(1) == labels).float().mean(), arrays["acc_percent"])

    pretrained = pretraining(folder)
    close(pretrained.query.contrast(pretrained.encoder.forward_features(points)),
          arrays["svm_feature"])

    # What the original looks at: the query network, but its head for contrast.
    brought = [name for name in pretraining_state(folder) if name.startswith("transformer_q.")
               and not name.startswith("transformer_q.cls_head.")]
    lists = transfer(pretrained, model, SYSTEM, brought)

    expected = folder.json("transfer")
    for ours, key in zip(lists, ("loaded", "missing_in_checkpoint", "unused_in_checkpoint"),
                         strict=True):
        assert [name.removeprefix("transformer_q.") for name in ours] == expected[key], key
    close(model(points), arrays["logits_after_transfer"])
    close(model.forward_pool(points), arrays["head_in_after_transfer"])


@pytest.mark.parametrize("make, state", [
    (tokenizer, lambda folder: folder.state("dvae", "base")),
    (pretraining, pretraining_state),
    (classifier, lambda folder: folder.state("finetune", "fbase")),
])
def test_golden_state_comes_back_to_the_last_bit(folder, make, state):
    expected = state(folder)

    written = to_official(make(folder))

    assert list(written) == sorted(expected)
    for key, value in expected.items():
        assert written[key].dtype == value.dtype and torch.equal(written[key], value), key


def test_golden_files_of_parallel_runs_are_read(folder):
    state = pretraining_state(folder)
    wrapped = {f"module.{key}": value for key, value in state.items()}

    model = load_official(SYSTEM, {"base_model": wrapped, "epoch": 300},
                          transformer_config={"num_heads": 6})

    assert all(torch.equal(value, state[key]) for key, value in to_official(model).items())
