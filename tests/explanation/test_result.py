"""Explanation: indexing, tables, comparison, files."""

import json
import pickle
import zipfile

import numpy as np
import pytest

from pointinteract.exceptions import FileFormatError, PointInteractWarning
from pointinteract.explanation import Explanation, InteractionExplainer
from pointinteract.games import all_coalitions, kappa, mean_strength


def extents(points):
    """Three classes: wide, deep, tall, by a smooth maximum."""
    return np.log(np.exp(2 * np.abs(points)).mean(axis=1)) * 3


@pytest.fixture
def explanation(clouds):
    y = np.array([0, 1, 2, 0, 1, 2, 0, 1])
    return InteractionExplainer(4).explain(extents, clouds, y)


def random_explanation(seed, n_clouds=6, n_regions=3):
    rng = np.random.default_rng(seed)
    return Explanation(
        values=rng.normal(size=(n_clouds, 2**n_regions)),
        points=tuple(rng.normal(size=(9, 3)) for _ in range(n_clouds)),
        regions=tuple(np.arange(9) % n_regions for _ in range(n_clouds)),
    )


def test_interactions_add_up_to_values(explanation):
    for number, row in enumerate(all_coalitions(4)):
        inside = ~all_coalitions(4)[:, ~row].any(axis=1)
        np.testing.assert_allclose(
            explanation.interactions[:, inside].sum(axis=1),
            explanation.values[:, number],
            atol=1e-9,
        )


@pytest.mark.parametrize(
    ("index", "rows"),
    [(2, [2]), (-1, [7]), (slice(1, 4), [1, 2, 3]), ([5, 0], [5, 0]), (np.arange(8) > 5, [6, 7])],
)
def test_indexing_takes_everything_of_those_clouds(explanation, index, rows):
    some = explanation[index]

    assert len(some) == some.n_clouds == len(rows)
    np.testing.assert_array_equal(some.values, explanation.values[rows])
    np.testing.assert_array_equal(some.labels, explanation.labels[rows])
    np.testing.assert_array_equal(some.targets, explanation.targets[rows])
    for position, row in enumerate(rows):
        np.testing.assert_array_equal(some.points[position], explanation.points[row])
        np.testing.assert_array_equal(some.regions[position], explanation.regions[row])


def test_iteration_ends_and_index_beyond_raises(explanation):
    assert [len(one) for one in explanation] == [1] * 8
    with pytest.raises(IndexError):
        explanation[8]


def test_explanation_is_frozen(explanation):
    with pytest.raises(AttributeError):
        explanation.values = None


def test_frame_has_a_row_for_every_cloud_and_coalition(explanation):
    frame = explanation.to_frame()

    assert list(frame.columns) == [
        "cloud", "coalition", "order", "members", "value", "interaction",
    ]  # fmt: skip
    assert len(frame) == 8 * 16
    row = frame.iloc[16 + 0b1010]
    assert row["cloud"] == 1 and row["members"] == (1, 3) and row["order"] == 2
    assert row["interaction"] == explanation.interactions[1, 0b1010]
    assert row["value"] == explanation.values[1, 0b1010]


def test_top_of_the_frame_is_the_strongest_first(explanation):
    frame = explanation.to_frame(top=3)

    assert len(frame) == 24 and (frame["order"] > 0).all()
    for cloud, part in frame.groupby("cloud"):
        strength = np.sort(np.abs(explanation.interactions[cloud, 1:]))[::-1]
        np.testing.assert_allclose(np.abs(part["interaction"]), strength[:3])


def test_strongest_can_leave_single_regions_out(explanation):
    numbers = explanation.strongest(0, 5, min_order=2)

    assert all_coalitions(4)[numbers].sum(axis=1).min() >= 2


def test_kappa_is_the_ratio_of_means(explanation):
    frame = explanation.strength_by_order()

    expected = kappa(mean_strength(explanation.interactions).mean(axis=0))
    np.testing.assert_allclose(frame["strength"], expected)
    assert frame["order"].tolist() == [1, 2, 3, 4]
    assert (frame["low"] <= frame["strength"]).all()
    assert (frame["strength"] <= frame["high"]).all()


def test_normalizations_are_what_their_names_say(explanation):
    strength = mean_strength(explanation.interactions)
    change = np.abs(explanation.values[:, -1] - explanation.values[:, 0]).mean()
    counts = np.array([4, 6, 4, 1])
    total = strength.mean(axis=0) * counts

    def measured(name):
        return explanation.strength_by_order(name)["strength"]

    np.testing.assert_allclose(measured("raw"), strength.mean(axis=0))
    np.testing.assert_allclose(measured("z"), strength.mean(axis=0) / change)
    np.testing.assert_allclose(measured("sum"), total / total.sum())
    cancellation = measured("cancellation")
    assert cancellation.between(0, 1).all() and cancellation.iloc[-1] == pytest.approx(1)


def test_low_and_high_add_orders_up(explanation):
    strength = explanation.strength_by_order()["strength"].to_numpy()

    assert explanation.kappa_low().value == pytest.approx(strength[0])
    assert explanation.kappa_high().value == pytest.approx(strength[2:].sum())
    low, high = explanation.kappa_low("halves"), explanation.kappa_high("halves")
    assert low.value + high.value == pytest.approx(1)
    assert low.low <= low.value <= low.high
    # Shares that sum to one move against each other.
    assert low.low == pytest.approx(1 - high.high)


def test_correct_only_takes_the_clouds_that_are_right(explanation):
    right = explanation[explanation.correct]

    assert 0 < len(right) < len(explanation)
    np.testing.assert_allclose(
        explanation.strength_by_order(correct_only=True)["strength"],
        right.strength_by_order()["strength"],
    )


def test_correct_only_needs_labels(clouds):
    explanation = InteractionExplainer(2).explain(extents, clouds)

    with pytest.raises(ValueError, match="pass y to explain"):
        explanation.strength_by_order(correct_only=True)


def test_comparison_with_itself_finds_no_difference(explanation):
    frame = explanation.compare(explanation)

    np.testing.assert_allclose(frame[["difference", "low", "high"]], 0, atol=1e-12)
    np.testing.assert_allclose(frame["correlation"], 1)


def test_comparison_of_another_model_is_paired():
    base = random_explanation(0, n_clouds=60)
    # The same clouds with one more interaction of all three regions.
    changed = base.values.copy()
    changed[:, -1] += 3
    other = Explanation(changed, base.points, base.regions)

    frame = base.compare(other)

    assert frame["difference"].iloc[-1] > 0 and frame["low"].iloc[-1] > 0
    np.testing.assert_allclose(frame["strength_other"] - frame["strength"], frame["difference"])
    np.testing.assert_allclose(frame["correlation"][:2], 1)
    swapped = other.compare(base)
    np.testing.assert_allclose(swapped["difference"], -frame["difference"])


def test_comparison_of_other_clouds_is_refused(explanation):
    with pytest.raises(ValueError, match="this one has 8 clouds.*other 3 of 4"):
        explanation.compare(explanation[:3])


def test_comparison_of_other_regions_warns(clouds):
    first = InteractionExplainer(4).explain(extents, clouds)
    far = InteractionExplainer(4, start="far").explain(extents, clouds)

    with pytest.warns(PointInteractWarning, match="cut cloud 0 into different regions"):
        first.compare(far)


def test_regions_are_named_by_their_parts(explanation):
    parts = [np.where(ids < 2, 0, ids - 1) for ids in explanation.regions]

    named = explanation.name_regions(parts, ["leg", "seat", "back"])

    assert named.region_names[0] == ("leg 1", "leg 2", "seat", "back")
    assert named.names_of(0, 0b1010) == ("leg 2", "back")
    assert explanation.names_of(0, 0b1010) == ("region 1", "region 3")
    assert named[3].region_names == (named.region_names[3],)


def test_file_brings_everything_back(explanation, tmp_path):
    named = explanation.name_regions(names=["a", "b", "c", "d"])

    named.save(tmp_path / "explanation.npz")
    back = Explanation.load(tmp_path / "explanation.npz")

    for name in ("values", "targets", "predicted", "labels"):
        np.testing.assert_array_equal(getattr(back, name), getattr(named, name))
        assert getattr(back, name).dtype == getattr(named, name).dtype
    for name in ("points", "regions"):
        for a, b in zip(getattr(back, name), getattr(named, name), strict=True):
            np.testing.assert_array_equal(a, b)
    assert back.meta == named.meta and back.region_names == named.region_names
    assert repr(back) == repr(named)


def test_file_of_unequal_clouds_and_named_classes(clouds, tmp_path):
    class Model:
        classes_ = np.array(["wide", "deep", "tall"], dtype=object)

        def decision_function(self, X):
            return extents(X)

    explanation = InteractionExplainer(3).explain(
        Model(), [clouds[0], clouds[1][:30]], ["tall", "wide"]
    )

    explanation.save(tmp_path / "explanation.npz")
    back = Explanation.load(tmp_path / "explanation.npz")

    assert [len(points) for points in back.points] == [64, 30]
    assert back.class_name(back.labels[0]) == "tall"
    np.testing.assert_array_equal(back.values, explanation.values)


def test_explanation_of_plain_values_survives_the_file(clouds, tmp_path):
    explanation = InteractionExplainer(2).explain(lambda x: x.max(axis=(1, 2)), clouds)

    explanation.save(tmp_path / "explanation.npz")

    assert Explanation.load(tmp_path / "explanation.npz").targets is None


def test_truncated_file_is_refused_wherever_it_ends(explanation, tmp_path):
    path = tmp_path / "explanation.npz"
    explanation[:2].save(path)
    whole = path.read_bytes()

    for length in (0, 3, 50, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(FileFormatError):
            Explanation.load(path)


def rewrite(path, change):
    """Save the same archive with its document changed."""
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    document = json.loads(content["document.json"])
    change(document)
    content["document.json"] = json.dumps(document).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.update(format="something else"),
        lambda document: document.update(format_number=99),
        lambda document: document.update(arrays=["values"]),
        lambda document: document.update(arrays=document["arrays"][::-1]),
        lambda document: document.update(arrays=7),
        lambda document: document.pop("meta"),
        lambda document: document.update(meta=[1]),
        lambda document: document.update(region_names=[["one"]]),
        lambda document: document.update(region_names=3),
    ],
)
def test_mangled_document_is_refused(explanation, tmp_path, change):
    path = tmp_path / "explanation.npz"
    explanation.save(path)

    rewrite(path, change)

    with pytest.raises(FileFormatError, match="explanation.npz"):
        Explanation.load(path)


class Bomb:
    """Tells when it is unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was opened",))


def test_pickles_are_never_opened(tmp_path):
    path = tmp_path / "explanation.npz"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(FileFormatError):
        Explanation.load(path)

    np.savez(path, values=np.array([Bomb()], dtype=object))
    with pytest.raises(FileFormatError):
        Explanation.load(path)


def test_missing_file_is_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        Explanation.load(tmp_path / "nowhere.npz")
