"""A cached teacher is asked once for each object, and answers as if asked each time."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from pointinteract.models.teachers import (
    CachedTeacher,
    CallableTeacher,
    DepthDescriptorTeacher,
    ModuleTeacher,
    Teacher,
    TextEncoder,
    resolve_teacher,
)


class Counting(Teacher):
    """Says where clouds are, how many it has seen, and what it depends on."""

    takes = "clouds"

    def __init__(self, factor=1.0):
        self.factor = factor
        self.n_asked = 0

    def identity(self):
        return ("counting", self.factor)

    def encode(self, items):
        self.n_asked += len(items)
        return self._checked(self.factor * np.stack([np.mean(i, axis=0) for i in items]),
                             len(items))


def clouds(n_clouds=6, seed=0):
    return np.random.default_rng(seed).normal(size=(n_clouds, 5, 3)).astype(np.float32)


def test_each_object_is_encoded_once_whatever_the_call(tmp_path):
    X, teacher = clouds(), Counting()

    first = CachedTeacher(teacher, tmp_path).encode(X)
    again = CachedTeacher(teacher, tmp_path).encode(X[::-1])
    more = CachedTeacher(teacher, tmp_path).encode(np.concatenate([clouds(2, seed=1), X]))

    assert teacher.n_asked == 8
    assert np.array_equal(first, Counting().encode(X))
    assert np.array_equal(again, first[::-1]) and np.array_equal(more[2:], first)


def test_equal_items_are_encoded_once(tmp_path):
    asked = []
    teacher = CallableTeacher(
        lambda texts: asked.extend(texts) or [[len(t)] for t in texts], takes="texts"
    )

    features = CachedTeacher(teacher, tmp_path, name="length").encode(["ab", "c", "ab", "ab"])

    assert asked == ["ab", "c"] and features[:, 0].tolist() == [2, 1, 2, 2]


def test_another_teacher_in_the_same_folder_is_asked_itself(tmp_path):
    X = clouds()

    ones, twos = (CachedTeacher(Counting(f), tmp_path).encode(X) for f in (1.0, 2.0))

    assert np.array_equal(2 * ones, twos)


def test_items_of_equal_bytes_and_other_shape_or_type_are_other_items(tmp_path):
    teacher = Counting()
    cached = CachedTeacher(teacher, tmp_path)
    flat = np.arange(6, dtype=np.float32)

    cached.encode([flat.reshape(2, 3)])
    cached.encode([flat.reshape(1, 6)[:, :3]])
    cached.encode([flat.reshape(2, 3).astype(np.float64)])

    assert teacher.n_asked == 3


@pytest.mark.parametrize("damage", [
    lambda data: data[: len(data) // 2],
    lambda data: b"",
    lambda data: data[:-300] + bytes([data[-300] ^ 1]) + data[-299:],
    lambda data: data.replace(b'"keys"', b'"kees"'),
])  # fmt: skip
def test_damaged_files_are_made_anew(tmp_path, damage):
    X, teacher = clouds(), Counting()
    expected = CachedTeacher(teacher, tmp_path).encode(X)
    (path,) = tmp_path.rglob("*.npz")
    path.write_bytes(damage(path.read_bytes()))

    found = CachedTeacher(teacher, tmp_path).encode(X)

    assert np.array_equal(found, expected) and teacher.n_asked == 12
    CachedTeacher(teacher, tmp_path).encode(X)
    assert teacher.n_asked == 12


def test_a_single_wrong_bit_in_the_numbers_is_seen(tmp_path):
    X, teacher = clouds(), Counting()
    expected = CachedTeacher(teacher, tmp_path).encode(X)
    (path,) = tmp_path.rglob("*.npz")
    data, numbers = path.read_bytes(), expected.tobytes()
    place = data.index(numbers) + 5

    path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])

    assert np.array_equal(CachedTeacher(teacher, tmp_path).encode(X), expected)
    assert teacher.n_asked == 12


def test_what_was_reached_before_an_interruption_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("pointinteract.models._teacher_cache.CHUNK", 2)
    X, teacher = clouds(), Counting()
    answer = Counting.encode

    def interrupted(self, items):
        if self.n_asked >= 4:
            raise KeyboardInterrupt
        return answer(self, items)

    monkeypatch.setattr(Counting, "encode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        CachedTeacher(teacher, tmp_path).encode(X)
    monkeypatch.setattr(Counting, "encode", answer)
    CachedTeacher(teacher, tmp_path).encode(X)

    assert teacher.n_asked == 6
    assert not list(tmp_path.rglob("*.part"))


def test_a_teacher_fitted_to_other_clouds_is_another_teacher(tmp_path):
    X, other = clouds(8), clouds(8, seed=1)
    given = DepthDescriptorTeacher(n_components=3)
    cached = CachedTeacher(given, tmp_path)

    first = copy.copy(cached).fit(X).encode(X)
    second = copy.copy(cached).fit(other).encode(X)

    assert not hasattr(given, "mean_")  # the teacher that the user gave stays as it was
    assert np.array_equal(first, DepthDescriptorTeacher(n_components=3).fit(X).encode(X))
    assert not np.array_equal(first, second)
    assert len(list(tmp_path.iterdir())) == 2


def test_other_weights_make_another_teacher(tmp_path):
    images = np.random.default_rng(0).random((3, 4, 4, 3)).astype(np.float32)
    module = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    teacher = ModuleTeacher(module, takes="images")

    before = CachedTeacher(teacher, tmp_path).encode(images)
    with torch.no_grad():
        module[1].bias += 1
    after = CachedTeacher(teacher, tmp_path).encode(images)

    np.testing.assert_allclose(after, before + 1, atol=1e-6)


def test_resolving_with_a_folder_caches_teachers_of_every_kind(tmp_path, clip_folder):
    X = clouds(3)

    text = resolve_teacher("hashed_ngrams", modality="text", cache=tmp_path)
    shown = resolve_teacher(clip_folder, from_clouds=True, cache=tmp_path)
    ready = resolve_teacher(np.ones((3, 2)), cache=tmp_path)

    assert isinstance(text, CachedTeacher) and isinstance(shown, CachedTeacher)
    assert not isinstance(ready, CachedTeacher)
    assert np.array_equal(text.encode(["a", "b"]), TextEncoder().encode(["a", "b"]))
    features = shown.encode(X)
    assert shown.takes == "clouds" and features.shape == (3, 10)
    # Another object, another process: the same folder, the same numbers.
    fresh = pickle.loads(pickle.dumps(resolve_teacher(clip_folder, from_clouds=True,
                                                      cache=tmp_path)))
    fresh.teacher.teacher.encode = None  # not asked again
    assert np.array_equal(fresh.encode(X), features)


def test_files_of_pictures_count_by_what_is_in_them(tmp_path):
    image = pytest.importorskip("PIL.Image")
    pixels = np.zeros((4, 4, 3), np.uint8)
    path = tmp_path / "picture.png"
    teacher = ModuleTeacher(nn.Flatten(), takes="images")
    cached = CachedTeacher(teacher, tmp_path / "cache")

    image.fromarray(pixels).save(path)
    dark = cached.encode([str(path)])
    image.fromarray(pixels + 255).save(path)

    assert dark.max() == 0 and cached.encode([path]).min() == 1


def test_teachers_that_cannot_say_what_they_depend_on_are_refused(tmp_path):
    function = CallableTeacher(lambda texts: [[0.0]] * len(texts), takes="texts")

    with pytest.raises(TypeError, match="identity"):
        CachedTeacher(function, tmp_path).encode(["a"])
    with pytest.raises(ValueError, match="nothing to cache"):
        CachedTeacher(resolve_teacher(np.ones((2, 2))), tmp_path)
    with pytest.raises(ValueError, match="at least one item"):
        CachedTeacher(function, tmp_path, name="zeros").encode([])
