"""Recipes: what the table says, who wins over whom, and that every setting is really used."""

from dataclasses import fields, replace
from fnmatch import fnmatch

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import nn

from pointinteract import list_models, load, save
from pointinteract.classification import PointClassifier, Recipe, get_recipe
from pointinteract.classification._recipe import SHARED_SETTINGS
from pointinteract.classification._recipes import PAPER_RECIPES, STRONG
from pointinteract.losses import smoothed_cross_entropy
from pointinteract.models import create_model
from pointinteract.training.data import augment

# Networks that no classification paper trained as such: PCN completes clouds.
WITHOUT_PAPER = {"pcn"}


class Tiny(nn.Module):
    """Norm, weights, biases and a head, in a few numbers."""

    def __init__(self, n_channels=3, n_classes=2):
        super().__init__()
        self.body = nn.Linear(n_channels, 4)
        self.norm = nn.BatchNorm1d(4)
        self.head = nn.Linear(4, n_classes)

    def forward(self, points):
        return self.head(self.norm(self.body(points).amax(1)))


def fitted(clouds, labels, recipe, **settings):
    return PointClassifier(Tiny, recipe=recipe, random_state=0, **settings).fit(clouds, labels)


def test_a_recipe_and_the_classifier_share_their_defaults():
    parameters = PointClassifier().get_params(deep=False)

    assert {name: parameters[name] for name in SHARED_SETTINGS} == {
        field.name: field.default for field in fields(Recipe) if field.name in SHARED_SETTINGS
    }


@pytest.mark.parametrize("name", list_models())
def test_every_network_has_its_recipes(name):
    assert get_recipe(name, "strong").check() == STRONG
    if name in WITHOUT_PAPER:
        with pytest.raises(ValueError, match="no paper's recipe is known"):
            get_recipe(name, "paper")
    else:
        assert get_recipe(name, "paper").check().source


@pytest.mark.parametrize("name", sorted(set(list_models()) - WITHOUT_PAPER))
def test_networks_and_their_classes_have_the_recipe_of_their_name(name):
    with torch.device("meta"):
        network = create_model(name, n_classes=2)

    assert get_recipe(network) == get_recipe(type(network)) == get_recipe(name)


def test_a_class_of_the_same_name_is_another_network():
    with pytest.raises(ValueError, match="no paper's recipe is known"):
        get_recipe(type("PointMLP", (nn.Module,), {}))


@pytest.mark.parametrize("pattern", PAPER_RECIPES)
def test_recipes_of_papers_make_sense(pattern):
    recipe = PAPER_RECIPES[pattern].check()

    assert "(" in recipe.source or "code" in recipe.source
    assert recipe.min_learning_rate < recipe.learning_rate
    assert sum(fnmatch(pattern.strip("*") + "x" * pattern.endswith("*"), other)
               for other in PAPER_RECIPES) == 1  # fmt: skip


@pytest.mark.parametrize(("name", "facts"), [
    ("pointnet", dict(optimizer="adam", learning_rate=1e-3, weight_decay=0, step_factor=0.7,
                      step_every=200_000, step_unit="clouds", min_learning_rate=1e-5,
                      batch_size=32, max_epochs=250, label_smoothing=0)),
    ("pointnet2_msg", dict(batch_size=16, max_epochs=251, max_norm=None)),
    ("dgcnn", dict(optimizer="sgd", momentum=0.9, learning_rate=0.1, weight_decay=1e-4,
                   decay_on="all", min_learning_rate=1e-3, max_epochs=250, label_smoothing=0.2)),
    ("pointcnn", dict(optimizer="adam", learning_rate=0.01, epsilon=0.01, batch_size=128,
                      step_factor=0.5, step_every=8000, step_unit="steps", weight_decay=1e-5,
                      decay_on="weights_and_norms", min_learning_rate=1e-6)),
    ("pct", dict(learning_rate=0.01, weight_decay=5e-4, min_learning_rate=1e-4)),
    ("pointmlp_elite", dict(weight_decay=2e-4, min_learning_rate=0.005, max_epochs=300,
                            max_norm=1.0)),
    ("pointnext_s", dict(optimizer="adamw", weight_decay=0.05, max_epochs=600, max_norm=1.0)),
    ("simpleview", dict(schedule="plateau", step_factor=0.5, patience=10, batch_size=18,
                        max_epochs=1000, min_learning_rate=1e-5)),
    ("mvtn", dict(weight_decay=0.01, step_factor=0.1, step_every=30, batch_size=20)),
    ("p2p", dict(n_points=4096, learning_rate=5e-4, batch_size=64)),
    ("curvenet", dict(learning_rate=0.1, max_epochs=200, max_norm=1.0)),
    ("gdanet", dict(batch_size=64, max_epochs=350)),
    ("transformer", dict(learning_rate=5e-4, schedule="cosine_epoch", warmup_epochs=10)),
    ("recon_base", dict(learning_rate=1e-5, head_factor=10, label_smoothing=0)),
])  # fmt: skip
def test_numbers_of_the_papers(name, facts):
    recipe = get_recipe(name)

    assert {fact: getattr(recipe, fact) for fact in facts} == facts


def test_unknown_names_say_what_there_is(clouds, labels):
    with pytest.raises(ValueError, match="unknown recipe 'papr'. Did you mean 'paper'.*strong"):
        get_recipe("dgcnn", "papr")
    with pytest.raises(ValueError, match="no paper's recipe is known for 'mine'.*dgcnn.*strong"):
        get_recipe("mine")
    with pytest.raises(ValueError, match="no paper's recipe"):
        fitted(clouds, labels, "paper")
    with pytest.raises(TypeError, match="recipe must be None.*got 3"):
        fitted(clouds, labels, 3)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"optimizer": "lion"}, "optimizer must be one of 'adamw', 'adam', 'sgd'"),
        ({"schedule": "linear"}, "'plateau'"),
        ({"augmentation": "flip"}, "'tilt'"),
        ({"momentum": 1.0}, "momentum"),
        ({"epsilon": 0}, "epsilon"),
        ({"step_unit": "weeks"}, "'clouds'"),
        ({"decay_on": "none"}, "weights_and_norms"),
        ({"smoothing_over": "some"}, "'others'"),
        ({"rate_factors": (("head.",),)}, "pairs"),
        ({"patience": -1}, "patience"),
    ],
)
def test_settings_that_make_no_sense_are_refused(clouds, labels, setting, words):
    with pytest.raises(ValueError, match=words):
        fitted(clouds, labels, Recipe(**setting))


def test_a_recipe_given_out_is_a_copy():
    get_recipe("dgcnn").learning_rate = 7.0
    get_recipe("dgcnn", "strong").learning_rate = 7.0

    assert get_recipe("dgcnn").learning_rate == 0.1 and STRONG.learning_rate != 7.0


def test_without_a_recipe_only_parameters_count(clouds, labels):
    clf = fitted(clouds, labels, None, max_epochs=1, learning_rate=0.02, n_points=16)

    assert clf.recipe_ == Recipe(max_epochs=1, learning_rate=0.02, n_points=16)


def test_what_the_user_sets_wins_and_stretches_the_schedule(clouds, labels):
    recipe = Recipe(
        optimizer="sgd",
        max_epochs=100,
        warmup_epochs=20,
        step_every=30,
        patience=10,
        batch_size=7,
        label_smoothing=0.2,
        schedule="staircase",
        max_norm=None,
    )

    clf = fitted(clouds, labels, recipe, max_epochs=2, batch_size=4, label_smoothing=0.1)

    assert clf.recipe_ == replace(
        recipe,
        max_epochs=2,
        warmup_epochs=0.4,
        step_every=0.6,
        patience=1,
        batch_size=4,
        label_smoothing=0.1,
    )
    assert clf.n_epochs_ == 2 and clf._run.batch_size == 4 and clf._run.max_norm is None


def test_the_run_gets_every_setting(clouds, labels):
    recipe = Recipe(
        n_points=8, augmentation=("shuffle", "tilt"), batch_size=5, max_epochs=1,
        optimizer="adam", learning_rate=0.02, head_factor=3.0, rate_factors=(("body.", 0.5),),
        epsilon=0.01, weight_decay=0.3, decay_on="weights_and_norms", schedule="staircase",
        warmup_epochs=0, min_learning_rate=1e-4, step_factor=0.5, step_every=9.0,
        step_unit="steps", patience=3, max_norm=2.0,
    )  # fmt: skip

    run = fitted(clouds, labels, recipe)._run

    assert type(run.optimizer) is torch.optim.Adam
    assert run.n_points == 8 and run.augmentation == ("shuffle", "tilt") and run.batch_size == 5
    assert (run.schedule, run.step_factor, run.step_every, run.step_unit, run.patience) == (
        "staircase", 0.5, 9.0, "steps", 3)  # fmt: skip
    assert run.min_learning_rate == 1e-4 and run.max_norm == 2.0
    assert {group["eps"] for group in run.optimizer.param_groups} == {0.01}
    module_names = {id(p): name for name, p in run.module.named_parameters()}
    seen = {
        module_names[id(p)]: (round(rate, 6), group["weight_decay"])
        for group, rate in zip(run.optimizer.param_groups, run.base_rates, strict=True)
        for p in group["params"]
    }
    assert seen == {
        "body.weight": (0.01, 0.3), "body.bias": (0.01, 0.0),
        "norm.weight": (0.02, 0.3), "norm.bias": (0.02, 0.3),
        "head.weight": (0.06, 0.3), "head.bias": (0.06, 0.3),
    }  # fmt: skip


def test_training_by_sgd_is_what_a_plain_loop_gives(clouds, labels):
    recipe = Recipe(
        n_points=None, normalize=False, augmentation=None, batch_size=99, max_epochs=3,
        optimizer="sgd", learning_rate=0.1, momentum=0.5, weight_decay=0.01, decay_on="all",
        schedule="annealed", min_learning_rate=0.02, max_norm=None, label_smoothing=0.2,
    )  # fmt: skip
    clf = fitted(clouds, labels, replace(recipe, max_epochs=3))
    with torch.random.fork_rng():
        torch.manual_seed(clf.seed_)
        net = Tiny(n_classes=len(clf.classes_))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.5, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 3, eta_min=0.02)
    points, target = torch.from_numpy(clouds), torch.from_numpy(np.unique(labels, False, True)[1])

    rates, losses = [], []
    for _ in range(3):
        rates.append(optimizer.param_groups[0]["lr"])
        loss = smoothed_cross_entropy(net(points), target, smoothing=0.2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())

    assert clf.history_.learning_rate.tolist() == pytest.approx(rates)
    assert clf.history_.loss.tolist() == pytest.approx(losses, rel=1e-4)
    for mine, theirs in zip(clf.module_.parameters(), net.parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-5)


def test_smoothing_over_all_classes_is_that_of_the_framework(clouds, labels):
    recipe = Recipe(
        augmentation=None,
        batch_size=99,
        max_epochs=1,
        normalize=False,
        label_smoothing=0.3,
        smoothing_over="all",
    )
    clf = fitted(clouds, labels, recipe)
    with torch.random.fork_rng():
        torch.manual_seed(clf.seed_)
        net = Tiny(n_classes=len(clf.classes_))
    target = torch.from_numpy(np.unique(labels, return_inverse=True)[1])

    logits = net(torch.from_numpy(clouds))

    wanted = nn.functional.cross_entropy(logits, target, label_smoothing=0.3)
    assert clf.history_.loss.iloc[0] == pytest.approx(wanted.item(), rel=1e-5)


def test_queries_follow_the_recipe(clouds, labels):
    raw = fitted(clouds, labels, Recipe(normalize=False, n_points=None, max_epochs=1))
    assert np.array_equal(raw.prepare_clouds(clouds), clouds)

    few = fitted(clouds, labels, Recipe(n_points=6, max_epochs=1), n_votes=2)
    assert few.prepare_clouds(clouds).shape[1] == 6
    assert np.abs(few.prepare_clouds(clouds)).max() <= 1.0001
    assert few.predict(clouds).shape == labels.shape


def test_recipes_are_cloned_searched_over_and_saved(clouds, labels, tmp_path):
    clf = PointClassifier(
        "pointnet_basic", recipe=get_recipe("pointnet_basic"), max_epochs=1, random_state=0
    )
    twin = clone(clf).set_params(recipe__learning_rate=0.05)
    assert clf.recipe.learning_rate == 0.1 and twin.recipe.learning_rate == 0.05

    twin.fit(clouds, labels)
    again = load(save(twin, tmp_path / "file.npz"))

    assert again.recipe == twin.recipe and again.recipe_ == twin.recipe_
    assert np.array_equal(again.predict_logits(clouds), twin.predict_logits(clouds))
    again.partial_fit(clouds, labels)
    assert again.n_epochs_ == 2 and type(again._run.optimizer) is torch.optim.SGD


def test_a_plateau_is_remembered_in_a_file(clouds, labels, tmp_path):
    recipe = Recipe(
        augmentation=None,
        optimizer="sgd",
        learning_rate=1e-9,
        momentum=0.0,
        schedule="plateau",
        step_factor=0.5,
        patience=0,
        min_learning_rate=0.0,
        batch_size=99,
        max_epochs=3,
    )
    clf = fitted(clouds, labels, recipe)  # so small a rate changes nothing: a plateau
    clf.architecture_ = {"kind": "given"}

    assert clf.history_.learning_rate.tolist() == [1e-9, 1e-9, 5e-10]
    del clf._run
    clf.partial_fit(clouds, labels)
    assert clf.history_.learning_rate.iloc[-1] == pytest.approx(2.5e-10)


def test_recipes_repeat_themselves_and_go_with_early_stopping(clouds, labels):
    X, y = np.concatenate([clouds] * 3), np.concatenate([labels] * 3)
    settings = dict(max_epochs=3, early_stopping=True, validation_fraction=0.34)

    first = PointClassifier("pointnet_basic", recipe="paper", random_state=3, **settings)
    second = clone(first)

    assert np.array_equal(first.fit(X, y).predict_logits(X), second.fit(X, y).predict_logits(X))
    assert "validation_accuracy" in first.history_
    assert first.recipe_.optimizer == "sgd" and first.recipe_.max_epochs == 3


def test_a_changed_setting_holds_in_the_next_partial_fit(clouds, labels):
    clf = fitted(clouds, labels, Recipe(label_smoothing=0.2, augmentation=None), max_epochs=1)

    clf.set_params(label_smoothing=0.5, recipe__optimizer="sgd").partial_fit(clouds, labels)

    assert clf.recipe_.label_smoothing == 0.5
    assert type(clf._run.optimizer) is torch.optim.SGD


def test_warm_start_goes_on_by_the_recipe(clouds, labels):
    clf = fitted(clouds, labels, "strong", max_epochs=2, warm_start=True)
    weights = [p.clone() for p in clf.module_.parameters()]

    clf.fit(clouds, labels)

    assert clf.n_epochs_ == 4
    assert any(
        not torch.equal(a, b) for a, b in zip(weights, clf.module_.parameters(), strict=True)
    )


def test_pretrained_networks_and_modules_know_their_paper(clouds, labels):
    from pointinteract.pretraining import JigsawPretrainer

    lesson = JigsawPretrainer("pointnet_basic", max_epochs=1, random_state=0).fit(clouds)
    clf = PointClassifier(pretrained=lesson, recipe="paper", max_epochs=1, random_state=0)
    assert clf.fit(clouds, labels).recipe_.source.startswith("The baseline in the code of DGCNN")

    given = PointClassifier(lesson.module_.encoder, recipe="paper", max_epochs=1, random_state=0)
    assert given.fit(clouds, labels).recipe_.optimizer == "sgd"
    assert PointClassifier(recipe="paper")._recipe() == get_recipe("recon_nano")


@pytest.mark.parametrize("pattern", PAPER_RECIPES)
def test_augmentations_of_the_recipes_exist(pattern):
    points = torch.randn(2, 16, 3)
    names = PAPER_RECIPES[pattern].augmentation

    moved = augment(points, names, torch.Generator().manual_seed(0))

    assert moved.shape == points.shape and torch.equal(moved, points) == (names is None)
