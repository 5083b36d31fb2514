"""ACT, both stages and classifiers, against numbers of the original."""

import pytest
import torch
import torch.nn.functional as F

from pointinteract.classification._build import _freeze
from pointinteract.losses import token_reconstruction_loss, token_uniformity_loss
from pointinteract.models import load_official, to_official
from pointinteract.nn.patches import split_by_mask
from pointinteract.ops import farthest_point_sample
from pointinteract.pretraining import act_losses
from tests.models._fills import fill_weights
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
SYSTEM = "act"
TEACHER, STUDENT = "dvae_tokenizer.", "ACT_encoder."
UNREAD = f"{STUDENT}lm_head."


@pytest.fixture(scope="module")
def folder(shared):
    return GoldenFolder(shared, SYSTEM)


@pytest.fixture(scope="module")
def points(folder):
    return folder.arrays("autoencoder_eval_hard")["points"]


def autoencoder_sizes(folder):
    # The heads of the frozen transformer are not in the original's own configuration.
    return folder.config["dv"] | {"visual_num_heads": folder.config["vit"]["num_heads"]}


def autoencoder(folder):
    state = folder.state("autoencoder", "base")
    return load_official(SYSTEM, state, **autoencoder_sizes(folder))


def distillation_state(folder, *, class_guess=False):
    """The fill, and over it the autoencoder's weights, as the folder's README says.

    With a guess by the class token the original has one more tensor, of which the fill takes
    notice: numbers of entries after it are one higher.
    """
    entries = folder.json("keys_distill")
    if class_guess:
        entries.append({"name": "cls_pos", "shape": [1, 1, 48], "dtype": "float32"})
        entries = [entry | {"index": i} for i, entry in
                   enumerate(sorted(entries, key=lambda entry: entry["name"]))]
    state = fill_weights(entries, folder.config["sbase"])
    inside = folder.state("autoencoder", "base")
    return state | {f"{TEACHER}{name}": value for name, value in inside.items()}


def distillation(folder, *, class_guess=False, loss="cosine"):
    config = folder.config
    model = load_official(
        SYSTEM,
        distillation_state(folder, class_guess=class_guess),
        transformer_config=config["tc"] | {"cls_loss": class_guess},
        dvae_config=autoencoder_sizes(folder),
        loss=loss,
    )
    model.teacher_batch_statistics = True  # as the original has it
    return model


def classifier(folder, kind):
    config = folder.config
    sizes = {name: config["tc"][name] for name in ("depth", "num_heads", "encoder_dims")}
    sizes |= {name: config["dv"][name] for name in ("num_group", "group_size")}
    offset = {"full": 0, "linear": 500}[kind]
    state = fill_weights(folder.json(f"keys_finetune_{kind}"), config["fbase"] + offset)
    return load_official(SYSTEM, state, cls_dim=config["cls"], transfer_type=kind, **sizes)


@pytest.mark.parametrize("name", [
    "autoencoder_eval_hard", "autoencoder_eval_soft", "autoencoder_train_soft"
])
def test_golden_autoencoder(folder, points, name):
    arrays = folder.arrays(name)
    model = autoencoder(folder).train("train" in name)
    model.prompt_dropout.p = 0.0
    blocks = [f"image.blocks.{i}" for i in range(folder.config["vit"]["depth"])]
    kept = record(model, ["patch_embedding", "project_in", "project_out", "image", *blocks])
    hard = name.endswith("hard")

    out = model(points, temperature=1.0 if hard else folder.config["temp"], hard=hard,
                noise=arrays.pop("gumbel_noise"))

    found = {
        "points": points,
        "fps_idx": farthest_point_sample(points, folder.config["dv"]["num_group"]),
        "center": out.centers,
        "neighborhood": out.neighborhoods,
        "tokens": kept["patch_embedding"][0],
        "logits": out.logits,
        "projected_in": kept["project_in"][0],
        "visual_pos": model.image_position(out.centers),
        "visual_norm_out": kept["image"][0],
        "projected_out": kept["project_out"][0],
        "feature": out.features,
        "coarse": out.coarse,
        "fine": out.fine,
        "loss_recon": token_reconstruction_loss(out.coarse, out.fine, out.neighborhoods),
        "loss_kl": token_uniformity_loss(out.logits),
    } | {f"visual_block{i}": kept[block][0] for i, block in enumerate(blocks)}
    if "grad_norm" in arrays:
        loss = found["loss_recon"] + 0.1 * found["loss_kl"]
        same_gradients(model, SYSTEM, loss, folder.json("grad_names_autoencoder"),
                       arrays.pop("grad_norm"))
    assert arrays.keys() <= found.keys()
    for key, expected in arrays.items():
        in_order = sorted_points if key == "neighborhood" else torch.as_tensor
        close(in_order(found[key]), in_order(expected))


@pytest.mark.parametrize("name", ["distill_eval", "distill_train"])
def test_golden_distillation(folder, points, name):
    arrays = folder.arrays(name)
    model = distillation(folder).train(name.endswith("train"))
    model.teacher.prompt_dropout.p = 0.0
    kept = record(model, ["encoder.patch_embedding"])

    out = model(points, mask=arrays["mask"], noise=arrays.pop("gumbel_noise"))

    loss = act_losses(out)["patches"]
    if "grad_norm" in arrays:
        same_gradients(model, SYSTEM, loss, folder.json("grad_names_distill"),
                       arrays.pop("grad_norm"))
    found = {
        "mask": out.mask,
        "student_tokens": kept["encoder.patch_embedding"][0],
        "encoder_norm_out": out.tokens,
        "decoder_out": out.decoded,
        "student_feature": out.guessed,
        "teacher_feature_all": out.taught,
        "loss": loss,
    }
    assert arrays.keys() == found.keys()
    for key, expected in arrays.items():
        close(found[key], expected)
    rows = torch.arange(len(points)).unsqueeze(1)
    close(out.target, arrays["teacher_feature_all"][rows, split_by_mask(out.mask)[1]])


def test_golden_guess_by_the_class_token(folder, points):
    arrays, base = folder.arrays("variant_other_cls_loss"), folder.arrays("distill_eval")
    model = distillation(folder, class_guess=True)

    out = model(points, mask=base["mask"], noise=base["gumbel_noise"])

    close(out.decoded_global, arrays["decoder_out_global"])
    close(out.guessed_global, arrays["student_feature_global"])
    close(sum(act_losses(out).values()), arrays["loss"])


@pytest.mark.parametrize("ours, theirs", [("l2", "l2"), ("smooth_l1", "smoothl1")])
def test_golden_other_losses(folder, points, ours, theirs):
    base = folder.arrays("distill_eval")
    model = distillation(folder, loss=theirs)

    out = model(points, mask=base["mask"], noise=base["gumbel_noise"])

    close(act_losses(out, kind=ours)["patches"], folder.arrays(f"variant_{theirs}")["loss"])


@pytest.mark.parametrize("kind", ["full", "linear"])
def test_golden_fine_tuning_and_transfer(folder, points, kind):
    arrays = folder.arrays("finetune_eval")
    model = classifier(folder, kind)
    expected = folder.json("transfer")[kind]
    head = model.head_type

    logits = model(points)

    assert head == {"full": "mlp", "linear": "linear"}[kind]
    close(logits, arrays[f"{kind}_logits"])
    close(model.forward_pool(points), arrays[f"{kind}_head_in"])
    close(F.cross_entropy(logits, arrays["labels"].long()), arrays[f"{kind}_ce"])
    _freeze(model, kind)
    names = official_names(model, SYSTEM)
    trained = [names[name] for name, p in model.named_parameters() if p.requires_grad]
    assert sorted(trained) == expected["trainable"]

    pretrained = distillation(folder)
    lists = transfer(pretrained, model, SYSTEM, list(distillation_state(folder)))

    for ours, key in zip(lists, ("loaded", "missing_in_checkpoint", "unused_in_checkpoint"),
                         strict=True):
        assert sorted(name.removeprefix(STUDENT) for name in ours) == expected[key], key
    close(model(points), arrays[f"{kind}_logits_after_transfer"])


def test_golden_feature_of_the_published_probe(folder, points):
    model = distillation(folder)

    summary = model.encoder.forward_features(points)[:, 0]

    close(model.class_projection(summary), folder.arrays("finetune_eval")["svm_feature"])


@pytest.mark.parametrize("make, state", [
    (autoencoder, lambda folder: folder.state("autoencoder", "base")),
    (distillation, distillation_state),
    (lambda folder: distillation(folder, class_guess=True),
     lambda folder: distillation_state(folder, class_guess=True)),
    (lambda folder: classifier(folder, "linear"),
     lambda folder: fill_weights(folder.json("keys_finetune_linear"),
                                 folder.config["fbase"] + 500)),
])
def test_golden_state_comes_back_to_the_last_bit(folder, make, state):
    expected = state(folder)

    written = to_official(make(folder))

    assert list(written) == sorted(expected)
    for key, value in expected.items():
        assert written[key].dtype == value.dtype and written[key].shape == value.shape, key
        # A head for words that nothing trains is not kept.
        assert torch.equal(written[key], 0 * value if key.startswith(UNREAD) else value), key


def test_golden_files_of_parallel_runs_are_read(folder):
    state = distillation_state(folder)
    wrapped = {f"module.{key}": value for key, value in state.items()}

    model = load_official(SYSTEM, {"base_model": wrapped, "epoch": 300},
                          dvae_config={"visual_num_heads": 4},
                          transformer_config={"num_heads": 6})

    written = to_official(model)
    assert all(torch.equal(value, written[key]) for key, value in state.items()
               if not key.startswith(UNREAD))
