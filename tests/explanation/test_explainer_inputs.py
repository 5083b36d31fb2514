"""What is wrong with an explainer's input is said in words: what came, what would be right."""

from functools import partial

import numpy as np
import pytest
import torch

from pointinteract.exceptions import CheckpointError, CloudError
from pointinteract.explanation import (
    Explanation,
    InteractionExplainer,
    SetPool,
    mask_sensitivity,
)
from pointinteract.explanation._running import _stack_and_let_go


@pytest.fixture
def clouds():
    return np.random.default_rng(0).normal(size=(3, 32, 3)).astype(np.float32)


def widest(points):
    """One "logit" for each axis."""
    return np.abs(points).max(axis=1)


def spread(points):
    return points.std(axis=(1, 2))


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.encode = torch.nn.Linear(3, 16)
            self.head = torch.nn.Linear(16, 4)

    def forward(self, points):
        return self.head(self.encode(points).amax(dim=1))


@pytest.mark.parametrize(
    ("structure", "what"),
    [
        ("SetPool", "a str"),
        (SetPool, "the class SetPool"),
        ({"encode": abs}, "a dict"),
        ((SetPool(abs, abs), None), "a NoneType"),
    ],
)
def test_structure_that_no_engine_would_look_at_is_refused(clouds, structure, what):
    with pytest.raises(TypeError, match=f"SetPool, WeightedPoints, PatchTokens.*got {what}"):
        InteractionExplainer(4, structure=structure).explain(Network(), clouds)


def test_structure_of_a_foreign_network_is_used(clouds):
    network = Network()
    explainer = InteractionExplainer(4, structure=SetPool(network.encode, network.head))

    explanation = explainer.explain(network, clouds)

    plain = InteractionExplainer(4).explain(network, clouds)
    assert (explainer.engine_, plain.meta["engine"]) == ("set_pool", "generic")
    np.testing.assert_allclose(explanation.values, plain.values, atol=1e-5)


@pytest.mark.parametrize("X", [None, 3, "clouds", Network()])
def test_anything_but_clouds_is_named(X):
    with pytest.raises(CloudError, match=f"list of clouds, got {type(X).__name__}"):
        InteractionExplainer(4).explain(widest, X)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_jobs": "all"}, TypeError, "n_jobs must be an integer, got 'all'"),
        ({"resume": True}, TypeError, "resume must be the path of a file or None, got True"),
        ({"target": "chair"}, ValueError, "a target.* must be integers.*got 'chair'"),
        ({"target": -1}, ValueError, "from 0; got -1"),
    ],
)
def test_parameter_that_cannot_be_is_named(clouds, options, error, message):
    with pytest.raises(error, match=message):
        InteractionExplainer(4, **options).explain(widest, clouds)


def test_folder_is_no_file_to_resume_from(clouds, tmp_path):
    with pytest.raises(CheckpointError, match="is a folder; name a file in it"):
        InteractionExplainer(4, resume=tmp_path).explain(widest, clouds)


def test_network_that_expects_another_shape_is_told_which_it_got(clouds):
    channels_first = torch.nn.Conv1d(3, 8, 1)

    with pytest.raises(RuntimeError) as caught:
        InteractionExplainer(4).explain(channels_first, clouds)

    assert "the first cloud has shape (32, 3)" in caught.value.__notes__[-1]


@pytest.mark.parametrize(
    ("score", "message"),
    [
        (lambda logits, target: logits, r"one for each row; got shape \(16, 3\)"),
        (lambda logits, target: 1.0, r"one for each row; got shape \(\)"),
        (lambda logits, target: logits[:, target] * np.nan, "NaN or infinity for 16 of 16"),
    ],
)
def test_score_of_the_user_must_give_a_number_for_each_row(clouds, score, message):
    with pytest.raises(ValueError, match=message):
        InteractionExplainer(4, score=score).explain(widest, clouds)


def scaled(logits, target, by):
    return by * logits[:, target]


def test_score_without_a_name_can_be_saved(clouds, tmp_path):
    explainer = InteractionExplainer(
        4, score=partial(scaled, by=2.0), resume=tmp_path / "unfinished", keep_answers=True
    )

    explanation = explainer.explain(widest, clouds)
    explanation.save(tmp_path / "e.npz")

    read = Explanation.load(tmp_path / "e.npz")
    assert read.meta["score"] == "partial"
    with pytest.raises(ValueError, match="'partial', was a function of the user's; pass it"):
        read.class_values()
    np.testing.assert_allclose(
        read.class_values(partial(scaled, by=2.0))[0, read.targets[0]], read.values[0], rtol=1e-6
    )


@pytest.mark.parametrize("again", [lambda e: e.rescore("logit"), lambda e: e.class_values()])
def test_model_of_one_number_has_no_classes_to_score(clouds, again):
    explanation = InteractionExplainer(4, keep_answers=True).explain(spread, clouds)

    with pytest.raises(ValueError, match="spread answers one number for each cloud"):
        again(explanation)


@pytest.mark.parametrize("temperatures", [2.0, [], [1.0, 0.0], [-1.0]])
def test_temperatures_must_be_numbers_above_zero(clouds, temperatures):
    with pytest.raises(ValueError, match="temperatures must be"):
        InteractionExplainer(4).scale_control(widest, clouds, temperatures=temperatures)


def test_names_of_regions_may_be_numbers_but_not_one_text(clouds):
    explainer = InteractionExplainer(4)

    explanation = explainer.explain(widest, clouds, region_names=range(4))

    assert explanation.names_of(0, 0b1001) == ("0", "3")
    with pytest.raises(TypeError, match="list of names, got the text 'legs'"):
        explainer.explain(widest, clouds, region_names="legs")


def test_mask_sensitivity_is_a_method_too(clouds):
    explainer = InteractionExplainer(4, random_state=0)

    found = explainer.mask_sensitivity(widest, clouds, absences=("center", "remove"))

    expected = mask_sensitivity(explainer, widest, clouds, absences=("center", "remove"))
    assert found.choices == expected.choices
    for choice in found.choices:
        np.testing.assert_array_equal(
            found.explanations[choice].values, expected.explanations[choice].values
        )
    with pytest.raises(TypeError, match="InteractionExplainer, got function; the model comes"):
        mask_sensitivity(widest, explainer, clouds)


def test_stacking_lets_go_of_the_parts():
    parts = [np.full((2, 3), number, dtype=np.float32) for number in range(4)]
    expected = np.stack(parts)

    stacked = _stack_and_let_go(parts)

    assert parts == [] and stacked.dtype == np.float32
    np.testing.assert_array_equal(stacked, expected)
