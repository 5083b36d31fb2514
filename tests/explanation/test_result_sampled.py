"""Explanations of more regions than can be enumerated, and their files."""

import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from pointinteract.exceptions import FileFormatError
from pointinteract.explanation import Explanation
from pointinteract.explanation._sampled import build_sampled_fields, read_plan, sample_plan

SETS = [(3,), (7,), (1, 4), (2, 9), (0, 5, 11), (3, 8, 10, 13)]
EFFECTS = np.array([2.0, -1.0, 1.5, 0.8, -2.5, 3.0])


def and_game(coalitions, effects=EFFECTS):
    return sum(
        effect * coalitions[:, list(one)].all(axis=1)
        for one, effect in zip(SETS, effects, strict=True)
    )


def saturating_game(coalitions):
    weights = np.linspace(0.1, 1, coalitions.shape[1])
    return 4 * np.tanh(3 * coalitions @ weights / weights.sum() - 1)


def explain(games, n_regions=14, budget=1000, **more):
    rng = np.random.default_rng(0)
    coalitions = sample_plan(n_regions, budget, random_state=0)
    values = np.stack([game(coalitions) for game in games]).astype(np.float64)
    return Explanation(
        values=values,
        points=tuple(rng.normal(size=(30, 3)) for _ in games),
        regions=tuple(np.arange(30) % n_regions for _ in games),
        meta={"score": "logit"},
        **build_sampled_fields(coalitions, values),
        **more,
    )


@pytest.fixture(scope="module")
def sampled():
    return explain([and_game, lambda c: and_game(c, EFFECTS[::-1]), saturating_game])


@pytest.mark.parametrize(("n_regions", "budget", "order"), [(14, 1000, 2), (40, 300, 1)])
def test_plan_spends_the_budget_on_known_rows(n_regions, budget, order):
    coalitions = sample_plan(n_regions, budget, random_state=3)

    plan = read_plan(coalitions)
    assert coalitions.shape == (budget, n_regions) and plan.max_order == order
    assert not coalitions[0].any() and coalitions[-1].all()
    design = coalitions[plan.design]
    assert design.sum(axis=1).max() == order
    assert (
        len(design)
        + plan.fitted.stop
        - plan.fitted.start
        + 1
        + (plan.held_out.stop - plan.held_out.start)
        == budget
    )
    np.testing.assert_array_equal(coalitions, sample_plan(n_regions, budget, random_state=3))


def test_budget_too_small_is_named():
    with pytest.raises(ValueError, match="at least n_regions . 34 = 54 coalitions.*got 53"):
        sample_plan(20, 53)


def test_other_coalitions_are_no_plan():
    coalitions = sample_plan(10, 300, random_state=0)

    for wrong in (coalitions[::-1], coalitions[1:], coalitions[:20]):
        with pytest.raises(ValueError, match="no plan made by sample_plan"):
            build_sampled_fields(wrong, np.zeros((1, len(wrong))))


def test_sampled_explanation_says_what_it_is(sampled):
    assert not sampled.is_exact and sampled.n_regions == 14 and sampled.n_clouds == 3
    assert "1000 coalitions sampled" in repr(sampled)
    np.testing.assert_allclose(sampled.r2[:2], 1)
    assert 0.99 < sampled.r2[2] < 1
    dense = Explanation(values=np.zeros((1, 4)), points=(np.zeros((2, 3)),), regions=((0, 1),))
    assert dense.is_exact


def test_interactions_of_a_sparse_game_are_all_found(sampled):
    frame = sampled[0].to_frame()

    found = {
        row.members: row.interaction for row in frame.itertuples() if abs(row.interaction) > 1e-6
    }
    assert set(found) == set(SETS)
    np.testing.assert_allclose([found[one] for one in SETS], EFFECTS, atol=1e-6)
    basis = frame.set_index("members")["basis"]
    assert basis[(1, 4)] == "exact" and basis[(0, 5, 11)] == "stable"
    assert (frame["order"] <= 2).sum() == 14 + 91


def test_effects_that_are_not_stable_are_not_reported(sampled):
    # tanh of a sum has all orders, and its short series misses those around nothing.
    frame = sampled[2].to_frame()

    assert (frame["basis"] == "exact").all() and len(frame) == 14 + 91


def test_strongest_and_their_effects(sampled):
    numbers = sampled.strongest(0, 3)

    assert sampled.names_of(0, numbers[0]) == ("region 3", "region 8", "region 10", "region 13")
    np.testing.assert_allclose(sampled.effects(0, numbers), [3, -2.5, 2], atol=1e-6)
    high = sampled.strongest(0, 10, min_order=3)
    assert len(high) == 2
    assert np.isnan(sampled.effects(0, [0b111])).all()
    assert len(sampled.to_frame(top=2)) == 6


def test_strength_says_what_it_rests_on(sampled):
    frame = sampled[:2].strength_by_order("raw")

    assert frame["order"].tolist() == [1, 2, 3, 4]
    assert frame["basis"].tolist() == ["exact", "exact", "stable", "stable"]
    assert frame["stable"].tolist() == [14, 91, 1, 1]
    # The first cloud has single effects 2 and -1, the second 3 and -2.5, and so on.
    assert frame["strength"][0] == pytest.approx((3.0 + 5.5) / 2 / 14)
    assert frame["strength"][2] == pytest.approx((2.5 + 1.0) / 2 / 364)
    assert sampled.strength_by_order()["strength"].sum() == pytest.approx(1)


def test_indices_of_the_surrogate(sampled):
    shapley = sampled[0].to_index("Shapley")["value"]

    expected = np.zeros(14)
    for one, effect in zip(SETS, EFFECTS, strict=True):
        expected[list(one)] += effect / len(one)
    np.testing.assert_allclose(shapley, expected, atol=1e-6)
    banzhaf = sampled[0].to_index("Banzhaf")["value"]
    assert banzhaf[0] == pytest.approx(-2.5 / 4, abs=1e-6)
    fourier = sampled[0].to_index("Fourier", 1)
    assert fourier["order"].tolist() == [1] * len(fourier)


@pytest.mark.parametrize(
    "call",
    [
        lambda e: e.interactions,
        lambda e: e.kappa_high(),
        lambda e: e.compare(e),
        lambda e: e.or_interactions,
        lambda e: e.and_or(),
        lambda e: e.salient(),
        lambda e: e.pairwise_by_order(),
        lambda e: e.to_shapiq(),
        lambda e: e.plot("orders"),
        lambda e: e.plot("classes"),
        lambda e: e.plot("sparsity"),
        lambda e: e.to_index("STII"),
    ],
)
def test_what_needs_every_coalition_says_so(sampled, call):
    with pytest.raises(ValueError, match="all (2.14 )?coalitions.*16 regions"):
        call(sampled)


def test_indexing_takes_the_surrogates_along(sampled):
    some = sampled[[2, 0]]

    assert some.surrogates == (sampled.surrogates[2], sampled.surrogates[0])
    np.testing.assert_array_equal(some.r2, sampled.r2[[2, 0]])
    assert some.coalitions is sampled.coalitions


def test_another_score_recovers_anew():
    coalitions = sample_plan(14, 1000, random_state=0)
    answers = np.stack([saturating_game(coalitions), and_game(coalitions)], axis=1)[None]
    whole = explain([saturating_game], answers=answers)

    other = whole.rescore("logit", target=1)

    np.testing.assert_allclose(other.values[0], and_game(coalitions))
    assert other.r2[0] == pytest.approx(1) and other.targets.tolist() == [1]


def test_file_brings_a_sampled_explanation_back(sampled, tmp_path):
    rng = np.random.default_rng(0)
    whole = replace(
        sampled,
        answers=rng.normal(size=(3, 1000, 2)).astype(np.float32),
        noise_by_order=np.arange(14.0),
    )

    whole.save(tmp_path / "sampled.npz")
    back = Explanation.load(tmp_path / "sampled.npz")

    for name in ("values", "answers", "coalitions", "r2", "noise_by_order"):
        np.testing.assert_array_equal(getattr(back, name), getattr(whole, name))
        assert getattr(back, name).dtype == getattr(whole, name).dtype
    for one, other in zip(back.surrogates, whole.surrogates, strict=True):
        np.testing.assert_array_equal(one.members, other.members)
        np.testing.assert_array_equal(one.coefficients, other.coefficients)
        assert (one.r2, one.error, one.n_players) == (other.r2, other.error, 14)
    assert back.to_frame().equals(whole.to_frame())


def rewrite(path, change_document=None, change_arrays=None):
    """Save the same archive with its document or one of its arrays changed."""
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    document = json.loads(content["document.json"])
    if change_document is not None:
        change_document(document, content)
    if change_arrays is not None:
        for name, change in change_arrays.items():
            file = f"arrays/{document['arrays'].index(name):05d}.npy"
            (path.parent / "array.npy").write_bytes(content[file])
            np.save(path.parent / "array.npy", change(np.load(path.parent / "array.npy")))
            content[file] = (path.parent / "array.npy").read_bytes()
    content["document.json"] = json.dumps(document).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)


def drop_last_array(document, content):
    document["arrays"].pop()
    content.pop(f"arrays/{len(document['arrays']):05d}.npy")


def test_files_of_the_first_layout_are_still_read(tmp_path):
    path = tmp_path / "old.npz"
    dense = Explanation(
        values=np.arange(8.0).reshape(2, 4),
        points=(np.zeros((2, 3)), np.ones((3, 3))),
        regions=(np.array([0, 1]), np.array([0, 1, 1])),
        labels=np.array([1, 0]),
    )
    dense.save(path)

    rewrite(path, lambda document, content: document.update(format_number=1))

    back = Explanation.load(path)
    np.testing.assert_array_equal(back.values, dense.values)
    assert back.is_exact and back.answers is None


@pytest.mark.parametrize(
    "change",
    [
        {"term_lengths": lambda a: a + 1},
        {"term_lengths": lambda a: -a},
        {"term_members": lambda a: a + 5},
        {"term_members": lambda a: a[:, ::-1].copy()},
        {"term_members": lambda a: np.where(a >= 0, 3, a)},
        {"term_members": lambda a: a.astype(float)},
        {"term_members": lambda a: np.hstack([a, a])},
        {"term_coefficients": lambda a: a[:-1]},
        {"term_errors": lambda a: a[:-1]},
        {"r2": lambda a: a[:-1]},
        {"coalitions": lambda a: a[:-1]},
        {"coalitions": lambda a: a.astype(int)},
        {"coalitions": lambda a: ~a},
        {"coalitions": lambda a: a[:, :0]},
        {"coalitions": lambda a: a[0]},
    ],
)
def test_mangled_arrays_are_refused(sampled, tmp_path, change):
    path = tmp_path / "sampled.npz"
    sampled.save(path)

    rewrite(path, change_arrays=change)

    with pytest.raises(FileFormatError, match="sampled.npz"):
        Explanation.load(path)


@pytest.mark.parametrize(
    "change",
    [
        drop_last_array,
        lambda document, content: document.update(format_number=1),
        lambda document, content: document.update(format_number=True),
        lambda document, content: document.update(format_number=3),
        lambda document, content: document.update(format_number=[2]),
    ],
)
def test_mangled_documents_are_refused(sampled, tmp_path, change):
    path = tmp_path / "sampled.npz"
    sampled.save(path)

    rewrite(path, change)

    with pytest.raises(FileFormatError, match="sampled.npz"):
        Explanation.load(path)
