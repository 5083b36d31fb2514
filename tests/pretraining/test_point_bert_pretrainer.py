import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

from pointinteract.classification import PointClassifier
from pointinteract.models import DiscreteVAE, PointBERTPretraining
from pointinteract.models.discrete_vae import tokenizer_sizes
from pointinteract.models.point_bert import mix
from pointinteract.persistence import load, save
from pointinteract.pretraining import DiscreteVAEPretrainer, PointBERTPretrainer

SMALL = dict(tokenizer_epochs=1, n_groups=6, group_size=8, max_epochs=2, batch_size=4,
             queue_length=16, contrast_width=8, random_state=0)


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(8, 32, 3)).astype("f4")


@pytest.fixture(scope="module")
def words(X):
    return DiscreteVAEPretrainer(n_groups=6, group_size=8, n_tokens=16, max_epochs=1,
                                 batch_size=4, random_state=0).fit(X)


@pytest.fixture(scope="module")
def fitted(X):
    return PointBERTPretrainer(**SMALL).fit(X)


@pytest.fixture(scope="module")
def module():
    numbers = tokenizer_sizes("nano") | {"n_groups": 16, "group_size": 8, "n_tokens": 16}
    torch.manual_seed(0)
    return PointBERTPretraining(DiscreteVAE(**numbers), width=24, depth=1, n_heads=3,
                                contrast_width=8, queue_length=16)


# What is random -------------------------------------------------------------------------------


def test_a_block_of_near_patches_is_hidden_and_never_none(module):
    generator = torch.Generator().manual_seed(0)
    centers = torch.randn(64, 20, 3, generator=generator)

    mask = module.draw_mask(centers, generator)

    counts = mask.sum(dim=1)
    assert counts.min() >= 5 and counts.max() <= 9 and len(counts.unique()) >= 4
    for cloud, hidden in zip(centers, mask, strict=True):
        distance = (cloud[:, None] - cloud[None]).norm(dim=2)
        n_hidden = int(hidden.sum())
        nearest = distance.argsort(dim=1)[:, :n_hidden].sort(dim=1).values
        assert (nearest == hidden.nonzero().T).all(dim=1).any()
    assert module.draw_mask(centers[:, :2], generator).sum(dim=1).tolist() == [1] * 64


def test_random_masks_hide_some_everywhere(module):
    numbers = dict(width=24, depth=1, n_heads=3, contrast_width=8, queue_length=16)
    rand = PointBERTPretraining(module.tokenizer, mask_type="rand", **numbers)
    generator = torch.Generator().manual_seed(0)

    mask = rand.draw_mask(torch.zeros(400, 16, 3), generator)
    tiny = rand.draw_mask(torch.zeros(400, 1, 3), generator)

    assert 0.2 < mask.float().mean() < 0.5 and mask.any(dim=1).all() and tiny.all()
    assert mask.float().mean(dim=0).std() < 0.05


def test_mixed_clouds_take_the_rest_from_the_other_end_of_the_batch():
    values = torch.arange(12.0).view(3, 4)
    kept = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]], dtype=torch.bool)

    mixed = mix(kept, values)

    assert mixed.tolist() == [[0, 1, 10, 11], [4, 5, 6, 7], [8, 9, 10, 11]]


def test_hidden_patches_say_nothing_of_their_looks(module):
    generator = torch.Generator().manual_seed(0)
    neighborhoods = torch.randn(2, 5, 8, 3, generator=generator)
    centers = torch.randn(2, 5, 3, generator=generator)
    mask = torch.tensor([[0, 1, 1, 0, 0], [1, 0, 0, 0, 0]], dtype=torch.bool)
    other = torch.where(mask[..., None, None], 3 * neighborhoods, neighborhoods)
    network = module.eval().query

    hidden = network(neighborhoods, centers, mask)[0]

    torch.testing.assert_close(network(other, centers, mask)[0], hidden)
    assert not torch.allclose(network(other, centers)[0], network(neighborhoods, centers)[0])


def test_replaced_patches_are_guessed_too_and_only_in_training(module):
    numbers = dict(width=24, depth=1, n_heads=3, contrast_width=8, queue_length=16)
    model = PointBERTPretraining(module.tokenizer, replace_share=0.5, **numbers)
    points = torch.randn(4, 64, 3, generator=torch.Generator().manual_seed(0))

    trained = model.train()(points, generator=torch.Generator().manual_seed(1))
    asked = model.eval()(points, generator=torch.Generator().manual_seed(1))

    assert (trained.guessed >= trained.draws.mask).all()
    assert trained.guessed.sum() > trained.draws.mask.sum()
    assert len(trained.logits) == trained.guessed.sum()
    assert torch.equal(asked.guessed, asked.draws.mask)


# The two networks and the tokenizer ------------------------------------------------------------


def test_both_networks_start_with_the_tokenizers_patch_embedding(X, words):
    pre = PointBERTPretrainer(**SMALL | {"max_epochs": 0, "tokenizer": words}).fit(X)

    expected = words.module_.state_dict()
    for name, value in pre.module_.tokenizer.state_dict().items():
        assert torch.equal(value, expected[name]), name
    for network in (pre.module_.query, pre.module_.key):
        for name, value in network.encoder.patch_embedding.state_dict().items():
            assert torch.equal(value, expected[f"patch_embedding.{name}"]), name
    for query, key in zip(pre.module_.query.parameters(), pre.module_.key.parameters(),
                          strict=True):
        assert torch.equal(query, key) and query.requires_grad and not key.requires_grad


def test_training_leaves_the_tokenizer_and_moves_the_key_network_slowly(X, words):
    pre = PointBERTPretrainer(**SMALL | {"tokenizer": words}).fit(X)

    for name, value in pre.module_.tokenizer.state_dict().items():
        assert torch.equal(value, words.module_.state_dict()[name]), name
    start = clone(pre).set_params(max_epochs=0, tokenizer=FrozenEstimator(words)).fit(X)
    first, query, key = (torch.cat([p.flatten() for p in network.parameters()])
                         for network in (start.module_.query, pre.module_.query,
                                         pre.module_.key))
    # Four steps, each of which goes a hundredth of the way.
    assert 0 < (key - first).norm() < 0.05 * (query - first).norm()
    assert pre.module_.queue.queue_ptr.item() == 0  # 2 epochs x 8 clouds, of 16 places
    assert not torch.equal(pre.module_.queue.queue, start.module_.queue.queue)
    torch.testing.assert_close(pre.module_.queue.queue.norm(dim=0), torch.ones(16))


def test_as_published_the_tokenizer_drifts(X, words):
    settings = {"tokenizer": words, "tokenizer_batch_statistics": True}
    pre = PointBERTPretrainer(**SMALL | settings).fit(X)

    drifted = [name for name, value in pre.module_.tokenizer.state_dict().items()
               if not torch.equal(value, words.module_.state_dict()[name])]

    assert drifted and all("running" in name or "tracked" in name for name in drifted)


def test_a_tokenizer_may_be_fitted_unfitted_frozen_or_a_module(X, words):
    ways = [words, FrozenEstimator(words), words.module_, clone(words)]
    once = SMALL | {"max_epochs": 1}

    answers = [PointBERTPretrainer(**once | {"tokenizer": way}).fit(X).transform(X)
               for way in ways]

    for answer in answers[1:3]:
        assert np.array_equal(answer, answers[0])
    # This one is fitted to clouds that are normalised already, and normalises them again.
    np.testing.assert_allclose(answers[3], answers[0], atol=0.05)
    with pytest.raises(ValueError, match="size must be one of"):
        PointBERTPretrainer(**SMALL | {"tokenizer": DiscreteVAEPretrainer("huge")}).fit(X)


# The estimator ---------------------------------------------------------------------------------


def test_loss_falls_and_words_are_guessed(X, words):
    pre = PointBERTPretrainer(**SMALL | {"tokenizer": words, "max_epochs": 12, "n_points": None,
                                         "augmentation": None, "mixing": False}).fit(X)

    history = pre.history_
    assert set(history.columns) == {"loss", "tokens", "contrast", "accuracy", "learning_rate",
                                    "seconds"}
    assert history.tokens.iloc[-3:].mean() < 0.8 * history.tokens.iloc[0]


def test_terms_of_the_loss_come_and_go(fitted, X, words):
    terms = {"tokens", "mixed_tokens", "contrast", "mixed_contrast"}
    without = PointBERTPretrainer(
        **SMALL | {"tokenizer": words, "max_epochs": 1, "moco": False}
    ).fit(X)
    alone = clone(without).set_params(tokenizer=words, mixing=False).fit(X)

    assert terms < set(fitted.history_.columns)
    np.testing.assert_allclose(fitted.history_.loss, fitted.history_[sorted(terms)].sum(axis=1),
                               rtol=1e-5)
    assert set(without.history_.columns) & terms == terms - {"contrast"}
    assert set(alone.history_.columns) & terms == {"tokens"}
    assert len(fitted.tokenizer_history_) == 1 and "n_words" in fitted.tokenizer_history_


def test_reconstruction_shows_guesses_as_points(fitted, X):
    shown, again = fitted.reconstruct(X), fitted.reconstruct(X)

    for i in range(len(X)):
        n_hidden = len(shown.target[i]) // 8
        assert 1 <= n_hidden <= 2 and shown.rebuilt[i].shape == (8 * n_hidden, 3)
        assert shown.visible[i].shape == (8 * (6 - n_hidden), 3)
        assert shown.words[i].shape == (6,) and 0 <= shown.accuracy[i] <= 1
        assert np.isfinite(shown.error[i])
        assert np.array_equal(shown.rebuilt[i], again.rebuilt[i])


def test_features_are_patches_or_what_is_contrasted(fitted, X):
    patches, contrasted = fitted, copy.deepcopy(fitted).set_params(features="contrast")

    assert patches.transform(X).shape == (8, 384)
    np.testing.assert_allclose(patches.transform(X[3:4]), patches.transform(X)[3:4], atol=1e-4)
    assert contrasted.transform(X).shape == (8, 8)
    assert len(clone(contrasted).fit(X).get_feature_names_out()) == 8


def test_same_seed_same_bits_and_other_seed_other_ones(fitted, X):
    again = clone(fitted).fit(X).transform(X)
    other = clone(fitted).set_params(random_state=1).fit(X).transform(X)

    assert np.array_equal(again, fitted.transform(X)) and not np.array_equal(other, again)


@pytest.mark.parametrize("n_words, n_epochs", [(1, None), (3, 1)])
def test_a_broken_training_goes_on_in_either_stage(n_words, n_epochs, X, tmp_path, monkeypatch):
    settings = SMALL | {"tokenizer_epochs": 3, "max_epochs": 3}
    whole = PointBERTPretrainer(**settings).fit(X)
    path = tmp_path / "training.npz"
    limits = {DiscreteVAEPretrainer: n_words, PointBERTPretrainer: n_epochs}
    with monkeypatch.context() as patch:
        for kind, limit in limits.items():
            patch.setattr(kind, "_compute_loss", _broken_after(limit, kind._compute_loss))
        with pytest.raises(RuntimeError, match="broken"):
            PointBERTPretrainer(**settings, checkpoint=path).fit(X)
    assert (tmp_path / "training-tokenizer.npz").exists() and path.exists() == bool(n_epochs)

    resumed = PointBERTPretrainer(**settings, checkpoint=path).fit(X)

    for name, value in whole.module_.state_dict().items():
        assert torch.equal(value, resumed.module_.state_dict()[name]), name
    assert resumed.n_epochs_ == 3 and len(resumed.tokenizer_history_) == 3


def _broken_after(n_epochs, compute):
    def compute_or_break(self, *arguments):
        if n_epochs is not None and self._run.epoch >= n_epochs:
            raise RuntimeError("broken")
        return compute(self, *arguments)

    return compute_or_break


def test_a_classifier_starts_from_it(fitted, X):
    y = np.arange(8) % 2

    classifier = PointClassifier(pretrained=fitted, max_epochs=1, random_state=0).fit(X, y)

    assert classifier.predict(X).shape == (8,)
    assert classifier.module_.head_type == "mlp2"


def test_copies_and_files_answer_the_same_and_can_go_on(fitted, X, tmp_path):
    for copied in (pickle.loads(pickle.dumps(fitted)), copy.deepcopy(fitted),
                   load(save(fitted, tmp_path / "bert.npz"))):
        assert np.array_equal(copied.transform(X), fitted.transform(X))
        assert np.array_equal(copied.reconstruct(X).rebuilt[0], fitted.reconstruct(X).rebuilt[0])
        assert copied.partial_fit(X).n_epochs_ == 3


def test_ragged_wide_and_tiny_clouds(X):
    ragged = [cloud[: 20 + i] for i, cloud in enumerate(X)]
    with_normals = np.concatenate([X, X], axis=2)
    once = SMALL | {"max_epochs": 1}

    for clouds in (ragged, with_normals, X[:, :1]):
        pre = PointBERTPretrainer(**once).fit(clouds)
        assert pre.transform(clouds).shape == (8, 384)
        assert np.isfinite(pre.history_.to_numpy()).all()


@pytest.mark.parametrize("settings, error, message", [
    ({"size": "huge"}, ValueError, "size must be one of"),
    ({"tokenizer": "words"}, TypeError, "must be a DiscreteVAEPretrainer, a DiscreteVAE module"),
    ({"tokenizer": torch.nn.Linear(1, 1)}, TypeError, "must bring a DiscreteVAE"),
    ({"tokenizer_epochs": -1}, ValueError, "tokenizer_epochs must be at least 0"),
    ({"mask_range": 0.4}, ValueError, "mask_range must be two shares"),
    ({"mask_range": (0.5, 0.4)}, ValueError, r"upper mask_range must be in \[0.5"),
    ({"mask_type": "rows"}, ValueError, "mask_type must be one of 'block'"),
    ({"momentum": 1.5}, ValueError, r"momentum must be in \[0"),
    ({"temperature": 0.0}, ValueError, r"temperature must be in \(0"),
    ({"queue_length": 0}, ValueError, "queue_length must be at least 1"),
    ({"features": "class"}, ValueError, "features must be one of 'patches'"),
])
def test_wrong_settings_are_refused_in_fit_and_leave_nothing(settings, error, message, X):
    pre = PointBERTPretrainer(**SMALL | settings)

    with pytest.raises(error, match=message):
        pre.fit(X)

    assert not hasattr(pre, "module_")


def test_a_tokenizer_of_other_patches_is_refused(X, words):
    with pytest.raises(ValueError, match="the tokenizer has n_groups=6 and here it is 7"):
        PointBERTPretrainer(**SMALL | {"tokenizer": words, "n_groups": 7}).fit(X)
    with pytest.raises(ValueError, match="n_channels=3 and here it is 6"):
        PointBERTPretrainer(**SMALL | {"tokenizer": words}).fit(np.concatenate([X, X], axis=2))
