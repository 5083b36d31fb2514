import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from pointinteract.models.teachers import Teacher
from pointinteract.pretraining import ReConPretrainer

SMALL = dict(n_groups=8, group_size=8, max_epochs=2, batch_size=4, random_state=0)


@pytest.fixture(scope="module")
def fitted():
    X = np.random.default_rng(0).normal(size=(8, 64, 3)).astype("f4")
    return ReConPretrainer(**SMALL).fit(X), X


def test_features_are_those_of_the_encoder(fitted):
    pre, X = fitted

    features = pre.transform(X)

    prepared = torch.from_numpy(pre._prepare(X))
    with torch.inference_mode():
        expected = pre.module_.encoder.forward_probe(prepared)
    np.testing.assert_allclose(features, expected, atol=1e-5)
    assert features.dtype == np.float32 and features.shape == (8, 384)
    assert len(pre.get_feature_names_out()) == 384


def test_training_lowers_the_loss_and_is_recorded():
    X = np.random.default_rng(0).normal(size=(16, 64, 3)).astype("f4")

    pre = ReConPretrainer(**SMALL | {"max_epochs": 15}).fit(X)

    assert list(pre.history_.index) == list(range(1, 16)) and pre.n_epochs_ == 15
    assert pre.history_.reconstruction.iloc[-1] < 0.5 * pre.history_.reconstruction.iloc[0]


def test_same_seed_same_bits_and_other_seed_other_ones(fitted):
    pre, X = fitted

    again = clone(pre).fit(X).transform(X)
    other = clone(pre).set_params(random_state=1).fit(X).transform(X)

    assert np.array_equal(again, pre.transform(X)) and not np.array_equal(other, again)


def test_labels_are_never_looked_at(fitted):
    pre, X = fitted

    assert np.array_equal(clone(pre).fit(X, np.arange(8)).transform(X), pre.transform(X))


@pytest.mark.parametrize("settings, terms", [
    ({}, {"reconstruction"}),
    ({"self_contrast": True}, {"reconstruction", "contrast"}),
    ({"image_teacher": np.random.default_rng(1).normal(size=(8, 5))}, {"reconstruction", "image"}),
    ({"image_teacher": "depth_descriptor"}, {"reconstruction", "image"}),
    ({"text_teacher": "hashed_ngrams"}, {"reconstruction", "text"}),
    ({"text_teacher": lambda texts: np.array([[len(t), 1.0] for t in texts])},
     {"reconstruction", "text"}),
    ({"mask_type": "block", "reconstruction_loss": "cdl1", "stop_gradient": False},
     {"reconstruction"}),
])
def test_every_branch_trains_and_logs_its_term(settings, terms):
    X = np.random.default_rng(0).normal(size=(8, 64, 3)).astype("f4")
    texts = ["a chair", "a table"] * 4

    pre = ReConPretrainer(**SMALL | settings).fit(X, texts=texts)

    assert set(pre.history_.columns) - {"loss", "learning_rate", "seconds"} == terms
    assert np.isfinite(pre.history_.to_numpy()).all()
    np.testing.assert_allclose(pre.history_[sorted(terms)].sum(axis=1), pre.history_.loss,
                               rtol=1e-5)


def test_each_option_changes_the_result(fitted):
    pre, X = fitted
    reference = pre.transform(X)

    for settings in ({"mask_ratio": 0.3}, {"mask_type": "block"}, {"reconstruction_loss": "cdl1"},
                     {"self_contrast": True}, {"drop_path": 0.0}, {"learning_rate": 1e-2},
                     {"augmentation": None}, {"schedule": "constant"}, {"normalize": False},
                     {"weight_decay": 0.5}, {"warmup_epochs": 0}, {"n_points": 32}):
        changed = clone(pre).set_params(**settings).fit(X).transform(X)
        assert not np.array_equal(changed, reference), settings


def test_texts_make_the_groups_of_the_contrast():
    X = np.random.default_rng(0).normal(size=(8, 64, 3)).astype("f4")
    contrast = ReConPretrainer(**SMALL, self_contrast=True)

    alone = clone(contrast).fit(X)
    grouped = clone(contrast).fit(X, texts=["a", "b"] * 4)

    assert not np.array_equal(alone.transform(X), grouped.transform(X))


def test_zero_epochs_give_the_untrained_network(fitted):
    pre, X = fitted

    untrained = clone(pre).set_params(max_epochs=0).fit(X)

    assert untrained.n_epochs_ == 0 and len(untrained.history_) == 0
    assert untrained.transform(X).shape == (8, 384)


def test_partial_fit_goes_on_where_it_stopped(fitted):
    pre, X = fitted
    steps = clone(pre)

    steps.partial_fit(X).partial_fit(X)

    assert steps.n_epochs_ == 2
    assert np.array_equal(steps.transform(X), pre.transform(X))


def test_copies_answer_the_same_and_can_go_on(fitted):
    pre, X = fitted

    copy = pickle.loads(pickle.dumps(pre))

    assert np.array_equal(copy.transform(X), pre.transform(X))
    assert copy.partial_fit(X).n_epochs_ == 3


def test_clouds_of_different_sizes_are_not_padded(fitted):
    pre, X = fitted
    ragged = [cloud[: 20 + 5 * i] for i, cloud in enumerate(X)]

    together = pre.transform(ragged)
    alone = np.concatenate([pre.transform([cloud]) for cloud in ragged])

    np.testing.assert_allclose(together, alone, atol=1e-6)
    assert clone(pre).fit(ragged).transform(ragged).shape == (8, 384)


def test_reconstruction_shows_what_was_seen_and_what_was_guessed(fitted):
    pre, X = fitted

    shown = pre.reconstruct(X[:2])

    assert [part.shape for part in shown.visible] == [(32, 3)] * 2
    assert [part.shape for part in shown.rebuilt] == [(32, 3)] * 2
    prepared = pre._prepare(X[:2])
    for cloud, target in zip(prepared, shown.target, strict=True):
        distance = ((target[:, None] - cloud[None]) ** 2).sum(-1).min(1)
        assert distance.max() < 1e-9  # hidden patches, put back in their places
    assert np.array_equal(pre.reconstruct(X[:2]).rebuilt[0], shown.rebuilt[0])
    assert not np.array_equal(pre.reconstruct(X[:2], random_state=1).target[0], shown.target[0])


def test_works_in_a_pipeline_and_gives_frames():
    X = np.random.default_rng(0).normal(size=(8, 64, 3)).astype("f4")
    y = np.arange(8) % 2

    pipe = make_pipeline(ReConPretrainer(**SMALL), StandardScaler(), LinearSVC()).fit(X, y)

    assert set(pipe.predict(X)) <= {0, 1}
    frame = ReConPretrainer(**SMALL).set_output(transform="pandas").fit_transform(X)
    assert isinstance(frame, pd.DataFrame) and frame.columns[0] == "reconpretrainer0"


def test_interruption_leaves_it_fitted_with_what_was_reached():
    X = np.random.default_rng(0).normal(size=(8, 64, 3)).astype("f4")
    calls = []

    def interrupt_in_the_third_epoch(points, generator):
        calls.append(1)
        if len(calls) > 4:
            raise KeyboardInterrupt
        return points

    pre = ReConPretrainer(**SMALL | {"max_epochs": 9}, augmentation=interrupt_in_the_third_epoch)
    with pytest.raises(KeyboardInterrupt):
        pre.fit(X)

    assert pre.n_epochs_ == 2 and len(pre.history_) == 2
    assert pre.transform(X).shape == (8, 384)


@pytest.mark.parametrize("settings, message", [
    ({"size": "huge"}, "size must be one of"),
    ({"max_epochs": -1}, "max_epochs must be at least 0"),
    ({"mask_ratio": 1.0}, "mask_ratio must be in"),
    ({"mask_type": "stripes"}, "mask_type must be one of"),
    ({"reconstruction_loss": "emd"}, "reconstruction_loss must be one of"),
    ({"augmentation": "flip"}, "augmentation must be"),
    ({"schedule": "linear"}, "schedule must be one of"),
    ({"device": "abacus"}, "device must be"),
    ({"image_teacher": np.zeros((3, 2))}, "3 rows for 8 items"),
])
def test_wrong_settings_are_refused_in_fit(settings, message):
    X = np.random.default_rng(0).normal(size=(8, 64, 3)).astype("f4")

    with pytest.raises(ValueError, match=message):
        ReConPretrainer(**SMALL | settings).fit(X)


def test_texts_must_be_one_a_cloud():
    X = np.zeros((4, 10, 3), dtype="f4") + np.arange(10)[:, None]

    with pytest.raises(ValueError, match="got 3 for 4 clouds"):
        ReConPretrainer(**SMALL).fit(X, texts=["a"] * 3)
    with pytest.raises(ValueError, match="texts"):
        ReConPretrainer(**SMALL, text_teacher="hashed_ngrams").fit(X)


def test_a_teacher_given_as_an_object_is_not_changed():
    from pointinteract.models.teachers import DepthDescriptorTeacher

    X = np.random.default_rng(0).normal(size=(8, 64, 3)).astype("f4")
    teacher = DepthDescriptorTeacher(n_components=4)

    ReConPretrainer(**SMALL, image_teacher=teacher).fit(X)

    assert not hasattr(teacher, "mean_")


def test_teachers_with_a_cache_look_at_each_cloud_once(tmp_path):
    class Center(Teacher):
        takes = "clouds"
        n_asked = 0

        def identity(self):
            return ("center",)

        def encode(self, items):
            Center.n_asked += len(items)
            return self._checked(np.mean(items, axis=1), len(items))

    X = np.random.default_rng(0).normal(size=(6, 24, 3)).astype("f4")
    settings = dict(n_groups=4, group_size=4, image_teacher=Center(), max_epochs=1, random_state=0)
    cached = ReConPretrainer(teacher_cache=str(tmp_path), **settings)

    first = cached.fit(X).transform(X)
    second = clone(cached).fit(X).transform(X)

    assert Center.n_asked == 6
    assert np.array_equal(first, second)
    assert np.array_equal(first, ReConPretrainer(**settings).fit(X).transform(X))
