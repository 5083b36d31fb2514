"""Maps of features: where dots, names and pictures are."""

import numpy as np
import pytest

pyplot = pytest.importorskip("matplotlib.pyplot")

from pointinteract.plotting import EmbeddingDisplay  # noqa: E402
from pointinteract.plotting._places import far_apart, keep_apart, spread_out  # noqa: E402

RANDOM = np.random.default_rng(0)
NAMES = np.array(["bed", "cup", "jar"])


@pytest.fixture(autouse=True)
def no_window(monkeypatch):
    monkeypatch.setattr(pyplot, "show", lambda *args, **kwargs: pytest.fail("show was called"))
    yield
    pyplot.close("all")


@pytest.fixture
def features():
    """Three groups of ten in ten dimensions, far from each other."""
    middles = 20 * RANDOM.normal(size=(3, 10))
    return (middles[:, None] + RANDOM.normal(size=(3, 10, 10))).reshape(30, 10)


@pytest.fixture
def y():
    return np.repeat(NAMES, 10)


@pytest.fixture
def X():
    return RANDOM.normal(size=(30, 20, 3))


class Transformer:
    def __init__(self, features):
        self.features = features

    def transform(self, X):
        return self.features[: len(X)]


@pytest.mark.parametrize("method", ["tsne", "pca"])
def test_what_is_alike_lies_together(features, y, X, method):
    display = EmbeddingDisplay.from_estimator(
        Transformer(features), X, y, method=method, random_state=0
    )

    assert display.embedding.shape == (30, 2)
    groups = display.embedding.reshape(3, 10, 2)
    middles = groups.mean(axis=1)
    gaps = np.linalg.norm(groups[:, :, None] - middles, axis=3)  # (3, 10, 3)
    assert (gaps.argmin(axis=2) == np.arange(3)[:, None]).all()


def test_same_seed_same_map(features, y):
    one, two = (EmbeddingDisplay.from_features(features, y, random_state=3) for _ in range(2))

    np.testing.assert_array_equal(one.embedding, two.embedding)


def test_pca_says_what_its_axes_hold(features, y):
    display = EmbeddingDisplay.from_features(features, y, method="pca").plot()

    assert "principal component 1 (" in display.ax_.get_xlabel()
    assert "% of the variance)" in display.ax_.get_ylabel()
    assert EmbeddingDisplay.from_features(features, y).plot().ax_.get_xlabel() == ""


def test_names_stand_among_the_dots_of_their_class(features, y):
    display = EmbeddingDisplay.from_features(features, y, random_state=0).plot()

    names = {text.get_text(): text for text in display.ax_.texts}
    assert sorted(names) == sorted(NAMES)
    display.figure_.canvas.draw()
    for name, text in names.items():
        box = text.get_window_extent()
        place = display.ax_.transData.inverted().transform([box.x0 + box.width / 2, box.y0])
        gaps = np.linalg.norm(display.embedding - place, axis=1)
        assert y[gaps.argmin()] == name


def test_colors_tell_classes_apart_and_agree_with_the_legend(features, y):
    display = EmbeddingDisplay.from_features(features, y, method="pca").plot(labels="legend")

    dots = display.ax_.collections
    assert [len(group.get_offsets()) for group in dots] == [10, 10, 10]
    assert len({tuple(group.get_facecolors()[0]) for group in dots}) == 3
    assert [text.get_text() for text in display.ax_.get_legend().get_texts()] == list(NAMES)


def test_more_classes_than_colors_differ_in_their_markers():
    display = EmbeddingDisplay(RANDOM.normal(size=(20, 2)), np.arange(20)).plot(labels="none")

    looks = {
        (tuple(group.get_facecolors()[0]), len(group.get_paths()[0].vertices))
        for group in display.ax_.collections
    }
    assert len(looks) == 20


def test_pictures_lie_in_their_places_and_apart(features, y, X):
    display = EmbeddingDisplay.from_features(features, y, X=X, random_state=0)
    display.plot(n_pictures=30)

    frames = [child.get_window_extent() for child in display.ax_.child_axes]
    assert 3 <= len(frames) < 30  # not all have room, but every class has
    for i, frame in enumerate(frames):
        assert not any(frame.overlaps(other) for other in frames[:i])
        dots = display.ax_.transData.transform(display.embedding)
        inside = (dots >= (frame.x0, frame.y0)) & (dots <= (frame.x1, frame.y1))
        assert inside.all(axis=1).any()
        assert len(display.ax_.child_axes[i].collections[0].get_offsets()) == 20


def test_pictures_need_clouds(features, y):
    with pytest.raises(ValueError, match="n_pictures needs the clouds X"):
        EmbeddingDisplay.from_features(features, y).plot(n_pictures=1)


def test_few_clouds_are_enough():
    display = EmbeddingDisplay.from_features(RANDOM.normal(size=(4, 6)), list("abca"))

    assert np.isfinite(display.embedding).all()


@pytest.mark.parametrize(
    ("features", "y", "asked", "words"),
    [
        (np.zeros((5, 2)), list("aabbc"), {"X": np.zeros((4, 9, 3))}, "inconsistent numbers"),
        (np.zeros((5, 2)), list("aabbc"), {"method": "umap"}, "one of 'tsne', 'pca'; got 'umap'"),
        (np.zeros((2, 4)), list("ab"), {}, r"at least 3 clouds, got shape \(2, 4\)"),
        (np.zeros((5, 2)), list("ab"), {}, "inconsistent numbers of samples"),
    ],
)
def test_wrong_wishes_are_named(features, y, asked, words):
    with pytest.raises(ValueError, match=words):
        EmbeddingDisplay.from_features(features, y, **asked)


def test_estimators_without_features_are_refused(X, y):
    with pytest.raises(TypeError, match="method transform, which object lacks"):
        EmbeddingDisplay.from_estimator(object(), X, y)


def test_squares_that_have_no_room_are_not_chosen():
    places = np.array([[0.0, 0.0], [0.5, 0.5], [3.0, 0.0], [3.0, 0.4], [0.0, 2.0]])

    chosen = far_apart(places, 9)

    gaps = np.abs(places[chosen][:, None] - places[chosen]).max(axis=2)
    assert len(chosen) == 3 and (gaps + 9 * np.eye(3) >= 1).all()
    assert far_apart(places, 1, first=[1]) == [1]
    assert far_apart(places, 0) == []


def test_rectangles_are_moved_apart_and_away_from_boxes():
    middles = np.array([[0.5, 0.5], [0.51, 0.5], [0.2, 0.2]])
    sizes = np.full((3, 2), (0.2, 0.05))
    box = np.array([0.1, 0.1, 0.3, 0.3])

    moved = keep_apart(middles, sizes, [box])

    low, high = moved - sizes / 2, moved + sizes / 2
    apart = (low[0] >= high[1] - 1e-6) | (low[1] >= high[0] - 1e-6)
    assert apart.any()
    assert ((low[2] >= box[2:] - 1e-6) | (high[2] <= box[:2] + 1e-6)).any()


def test_heights_are_spread_no_more_than_needed():
    heights = np.array([1.0, 0.0, 1.05, 5.0])

    moved = spread_out(heights, 0.25)

    np.testing.assert_allclose(moved, [0.9, 0.0, 1.15, 5.0])
