import copy
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.base import clone

from pointinteract.classification import PointClassifier
from pointinteract.exceptions import PointInteractWarning
from pointinteract.models import ACTAutoencoder, FrozenTransformer
from pointinteract.persistence import load, save
from pointinteract.pretraining import ACTPretrainer, ACTTokenizerPretrainer
from pointinteract.utils._random import draw_seed, make_generator

PATCHES = dict(n_groups=6, group_size=8, batch_size=4, random_state=0)
SMALL = dict(autoencoder_epochs=1, max_epochs=1, **PATCHES)


def image():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return FrozenTransformer(width=24, depth=2, n_heads=2)


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(8, 32, 3)).astype("f4")


@pytest.fixture(scope="module")
def tokenizer(X):
    pre = ACTTokenizerPretrainer(image_transformer=image(), n_prompts=2, n_tokens=16,
                                 max_epochs=1, **PATCHES)
    return pre.fit(X)


@pytest.fixture(scope="module")
def fitted(X):
    return ACTPretrainer(**SMALL).fit(X)


# The first stage -------------------------------------------------------------------------------


def test_the_transformer_stays_and_all_else_learns(tokenizer, X):
    untrained = clone(tokenizer).set_params(max_epochs=0).fit(X)
    before, after = (dict(pre.module_.named_parameters()) for pre in (untrained, tokenizer))
    given = image().state_dict()

    for name, value in after.items():
        if name.startswith("image."):
            assert torch.equal(value, given[name.removeprefix("image.")]), name
        elif value.ndim > 1:  # normalization takes some biases away again
            assert not torch.equal(value, before[name]), name


def test_the_autoencoder_makes_points_of_its_words(tokenizer, X):
    shown = tokenizer.reconstruct(X)

    assert tokenizer.tokenize(X).shape == (8, 6) and tokenizer.tokenize(X).max() < 16
    assert len(shown.error) == 8 and shown.rebuilt[0].shape == (48, 3)
    assert tokenizer.transform(X).shape == (8, 192)


@pytest.mark.slow
def test_autoencoding_gets_better_by_training():
    # Rods along one axis or another: a word has to tell which.
    X = 0.02 * np.random.default_rng(0).normal(size=(12, 16, 3)).astype("f4")
    X[np.arange(12), :, np.arange(12) % 3] *= 50
    pre = ACTTokenizerPretrainer(image_transformer=image(), n_prompts=2, n_tokens=16,
                                 **PATCHES | {"n_groups": 2}, max_epochs=30)
    start = clone(pre).set_params(max_epochs=0).fit(X)

    pre.fit(X)

    assert pre.history_.loss.iloc[-1] < 0.7 * pre.history_.loss.iloc[0]
    assert np.mean(pre.reconstruct(X).error) < 0.7 * np.mean(start.reconstruct(X).error)


def test_another_transformer_or_prompts_change_the_result(tokenizer, X):
    reference = tokenizer.transform(X)
    other = FrozenTransformer(width=24, depth=2, n_heads=2)

    for settings in ({"image_transformer": other}, {"image_transformer": None},
                     {"n_prompts": 3}):
        changed = clone(tokenizer).set_params(**settings).fit(X).transform(X)
        assert not np.array_equal(changed, reference), settings


# The second stage ------------------------------------------------------------------------------


def test_features_do_not_hang_on_the_batch(fitted, X):
    features = fitted.transform(X)

    assert features.shape == (8, 384) and features.dtype == np.float32
    assert len(fitted.get_feature_names_out()) == 384
    one = np.concatenate([fitted.transform(cloud[None]) for cloud in X])
    np.testing.assert_allclose(one, features, atol=1e-5)


def test_a_fitted_tokenizer_teaches_and_stays_as_it_is(tokenizer, X):
    before = copy.deepcopy(tokenizer.module_.state_dict())

    for statistics in (False, True):
        pre = ACTPretrainer(teacher=tokenizer, teacher_batch_statistics=statistics, max_epochs=2,
                            **PATCHES).fit(X)

        moved = {name for name, value in pre.module_.teacher.state_dict().items()
                 if not torch.equal(value, before[name])}
        assert all("norm" in name for name in moved) and bool(moved) == statistics
        assert all(torch.equal(value, before[name])
                   for name, value in tokenizer.module_.state_dict().items())
    assert pre.autoencoder_history_.equals(tokenizer.history_)


def test_the_same_teacher_in_every_form(tokenizer, X):
    settings = dict(max_epochs=1, **PATCHES)
    expected = ACTPretrainer(teacher=tokenizer, **settings).fit(X).transform(X)

    by_module = ACTPretrainer(teacher=tokenizer.module_, **settings).fit(X)
    # A tokenizer that is not fitted yet is fitted, to clouds that are normalised already.
    by_clone = ACTPretrainer(teacher=clone(tokenizer), **settings).fit(X)

    assert np.array_equal(by_module.transform(X), expected)
    assert by_module.autoencoder_history_ is None
    ours, theirs = by_clone.autoencoder_history_.loss, tokenizer.history_.loss
    np.testing.assert_allclose(ours, theirs, rtol=1e-3)


def test_a_transformer_of_pictures_makes_the_first_stage_here(X):
    pre = ACTPretrainer(teacher=image(), **SMALL).fit(X)

    assert isinstance(pre.module_.teacher, ACTAutoencoder)
    assert torch.equal(pre.module_.teacher.image.norm.weight, image().norm.weight)
    assert pre.module_.teacher.image.numbers["width"] == 24
    assert len(pre.autoencoder_history_) == 1


def test_the_student_comes_to_say_what_the_teacher_says(tokenizer, X):
    pre = ACTPretrainer(teacher=tokenizer, **PATCHES | {"batch_size": 8}, max_epochs=12)
    start = clone(pre).set_params(teacher=tokenizer, max_epochs=0).fit(X)

    pre.fit(X)

    assert pre.history_.similarity.iloc[-1] > pre.history_.similarity.iloc[0] + 0.3
    shown, before = pre.reconstruct(X), start.reconstruct(X)
    assert np.mean(shown.similarity) > np.mean(before.similarity) + 0.3
    np.testing.assert_allclose(1 - pre.history_.patches, pre.history_.similarity, atol=1e-5)


def test_reconstruction_shows_what_was_seen_and_what_was_guessed(fitted, X):
    shown = fitted.reconstruct(X)

    prepared = fitted._prepare(X)
    for i in range(len(X)):
        assert shown.visible[i].shape == (16, 3) and shown.target[i].shape == (32, 3)
        assert shown.rebuilt[i].shape == (32, 3) and -1 <= shown.similarity[i] <= 1
        rows = {tuple(row.round(4)) for row in prepared[i]}
        assert {tuple(row.round(4)) for row in shown.visible[i]} <= rows
    again, other = fitted.reconstruct(X), fitted.reconstruct(X, random_state=1)
    assert np.array_equal(again.rebuilt[0], shown.rebuilt[0])
    assert not np.array_equal(other.visible[0], shown.visible[0])


def test_guesses_are_compared_with_hidden_patches_of_the_whole_cloud(fitted, X):
    module = fitted.module_.eval()
    points = torch.from_numpy(fitted._prepare(X))
    noise = torch.zeros(())

    with torch.inference_mode():
        out = module(points, generator=torch.Generator().manual_seed(0), noise=noise)
        neighborhoods, centers = module.encoder.patches(points)
        features = module.teacher.feature_graph(
            module.teacher.read_as_picture(
                module.teacher.codebook[module.teacher.token_logits(
                    neighborhoods, centers).argmax(dim=2)], centers), centers)

    assert out.mask.sum(dim=1).tolist() == [4] * 8
    torch.testing.assert_close(out.target, features[out.mask].view(8, 4, -1),
                               atol=1e-5, rtol=1e-4)


def test_hidden_patches_do_not_reach_the_student(fitted, X):
    module = fitted.module_.eval()
    mask = torch.zeros(1, 6, dtype=torch.bool)
    mask[0, 2:] = True
    points = torch.from_numpy(fitted._prepare(X[:1]))
    with torch.inference_mode():
        neighborhoods, centers = module.encoder.patches(points)
        before = module(points, mask=mask, noise=torch.zeros(()))
        module.encoder.patches = lambda _: (
            torch.where(mask[:, :, None, None], -neighborhoods, neighborhoods), centers)
        after = module(points, mask=mask, noise=torch.zeros(()))
        del module.encoder.patches

    assert torch.equal(after.guessed, before.guessed)
    assert not torch.equal(after.target, before.target)


def test_the_class_token_learns_only_by_a_guess_of_its_own(tokenizer, X):
    points = torch.from_numpy(tokenizer._prepare(X))
    for class_guess in (False, True):
        pre = ACTPretrainer(teacher=tokenizer, class_guess=class_guess, max_epochs=1,
                            **PATCHES).fit(X)
        out = pre.module_(points, generator=torch.Generator().manual_seed(0))
        out.tokens.retain_grad()
        loss, parts = pre._compute_loss(points, None, None, torch.Generator().manual_seed(0))

        assert ("class" in parts) == class_guess
        assert (out.guessed_global is not None) == class_guess
        assert ("class" in pre.history_.columns) == class_guess
        if class_guess:
            (gradient,) = torch.autograd.grad(out.guessed_global.sum(), out.tokens)
            assert gradient[:, 0].abs().sum() > 0


@pytest.mark.parametrize("loss", ["l2", "smooth_l1", "nt_xent", "barlow"])
def test_every_loss_can_be_fallen(loss, tokenizer, X):
    pre = ACTPretrainer(teacher=tokenizer, loss=loss, **PATCHES | {"batch_size": 8},
                        max_epochs=6).fit(X)

    assert pre.history_.loss.iloc[-1] < pre.history_.loss.iloc[0]


def test_same_seed_same_bits_and_other_seed_other_ones(fitted, X):
    again = clone(fitted).fit(X).transform(X)
    other = clone(fitted).set_params(random_state=1).fit(X).transform(X)

    assert np.array_equal(again, fitted.transform(X)) and not np.array_equal(other, again)


@pytest.mark.slow
def test_each_option_changes_the_result(tokenizer, X):
    pre = ACTPretrainer(teacher=tokenizer, max_epochs=2, **PATCHES)
    reference = clone(pre).set_params(teacher=tokenizer).fit(X).transform(X)

    for settings in ({"loss": "l2"}, {"class_guess": True}, {"teacher_batch_statistics": True},
                     {"mask_ratio": 0.5}, {"mask_type": "block"}, {"decoder_depth": 1},
                     {"drop_path": 0.5}, {"learning_rate": 1e-2}):
        changed = clone(pre).set_params(teacher=tokenizer, **settings).fit(X).transform(X)
        assert not np.array_equal(changed, reference), settings


@pytest.mark.slow
def test_an_interrupted_training_goes_on_with_the_same_numbers(fitted, X, tmp_path):
    path = tmp_path / "act.npz"
    settings = SMALL | {"max_epochs": 3, "checkpoint": path}
    whole = ACTPretrainer(**settings | {"checkpoint": None}).fit(X)
    calls = []

    class Stopped(ACTPretrainer):
        def _compute_loss(self, *args):
            calls.append(1)
            if len(calls) > 3:  # in the second epoch
                raise KeyboardInterrupt
            return super()._compute_loss(*args)

    Stopped.__name__ = "ACTPretrainer"
    with pytest.raises(KeyboardInterrupt):
        Stopped(**settings).fit(X)
    assert (tmp_path / "act-autoencoder.npz").exists() and path.exists()

    resumed = ACTPretrainer(**settings).fit(X)

    assert np.array_equal(resumed.transform(X), whole.transform(X))
    for name, value in whole.module_.state_dict().items():
        assert torch.equal(resumed.module_.state_dict()[name], value), name


def test_copies_and_files_answer_the_same_and_can_go_on(fitted, X, tmp_path):
    for copied in (pickle.loads(pickle.dumps(fitted)), copy.deepcopy(fitted),
                   load(save(fitted, tmp_path / "act.npz"))):
        assert np.array_equal(copied.transform(X), fitted.transform(X))
        assert np.array_equal(copied.reconstruct(X).rebuilt[0], fitted.reconstruct(X).rebuilt[0])
        assert copied.partial_fit(X).n_epochs_ == 2


def test_a_classifier_starts_from_the_student(fitted, X):
    y = np.arange(8) % 2

    classifier = PointClassifier(pretrained=fitted, max_epochs=1, random_state=0).fit(X, y)

    assert classifier.predict_proba(X).shape == (8, 2)
    probe = PointClassifier(pretrained=fitted, protocol="linear", max_epochs=1,
                            random_state=0).fit(X, y)
    ours, theirs = probe.module_.blocks, fitted.module_.encoder.blocks
    assert all(torch.equal(ours.state_dict()[name], value)
               for name, value in theirs.state_dict().items())


@pytest.mark.slow
def test_ragged_clouds_and_further_channels(X):
    ragged = [cloud[: 20 + i] for i, cloud in enumerate(X)]
    with_normals = np.concatenate([X, X], axis=2)

    small, wide = ACTPretrainer(**SMALL).fit(ragged), ACTPretrainer(**SMALL).fit(with_normals)

    assert small.transform(ragged).shape == (8, 384) and len(small.reconstruct(ragged).error) == 8
    assert wide.reconstruct(with_normals).visible[0].shape == (16, 3)


def test_a_cloud_of_a_single_patch_is_warned_of(X):
    with pytest.warns(PointInteractWarning, match="nothing to learn from"):
        pre = ACTPretrainer(**SMALL | {"n_groups": 1}).fit(X)

    assert pre.reconstruct(X).error == [0.0] * 8


@pytest.mark.parametrize("settings, error, message", [
    ({"size": "tiny"}, ValueError, "size must be one of"),
    ({"loss": "l1"}, ValueError, "loss must be one of 'cosine'"),
    ({"mask_type": "grid"}, ValueError, "mask_type must be one of 'rand'"),
    ({"mask_ratio": 1.0}, ValueError, "mask_ratio must be in"),
    ({"decoder_depth": 0}, ValueError, "decoder_depth must be at least 1"),
    ({"autoencoder_epochs": -1}, ValueError, "autoencoder_epochs must be at least 0"),
    ({"teacher": 3}, TypeError, "frozen transformer must be .* got int"),
    ({"teacher": "./not-there"}, FileNotFoundError, "no folder './not-there'"),
])
def test_wrong_settings_are_refused_in_fit_and_leave_nothing(settings, error, message, X):
    pre = ACTPretrainer(**SMALL | settings)

    with pytest.raises(error, match=message):
        pre.fit(X)

    assert not hasattr(pre, "module_")


def test_teachers_of_other_patches_or_of_another_kind_are_refused(tokenizer, fitted, X):
    with pytest.raises(ValueError, match="teacher has n_groups=6 and here it is 5"):
        ACTPretrainer(teacher=tokenizer, **SMALL | {"n_groups": 5}).fit(X)
    with pytest.raises(ValueError, match="teacher has n_channels=3 and here it is 6"):
        ACTPretrainer(teacher=tokenizer, **SMALL).fit(np.concatenate([X, X], axis=2))
    with pytest.raises(TypeError, match="estimator with a ACTPretraining"):
        ACTPretrainer(teacher=fitted, **SMALL).fit(X)
    with pytest.raises(ValueError, match="n_prompts must be at least 1"):
        ACTTokenizerPretrainer(n_prompts=0, **PATCHES).fit(X)


def test_similarity_is_the_mean_cosine(fitted, X):
    points = torch.from_numpy(fitted._prepare(X[:1]))
    with torch.inference_mode():
        out = fitted.module_(points, generator=make_generator(draw_seed(0)),
                             noise=torch.zeros(()))

    expected = F.cosine_similarity(out.guessed, out.target, dim=2).mean()
    assert fitted.reconstruct(X[:1]).similarity[0] == pytest.approx(float(expected), abs=1e-6)
