"""Episodes: drawn by FewShotSplit, or read from files of row numbers."""

import json

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from pointinteract.exceptions import FileFormatError
from pointinteract.protocols import (
    FewShotEpisode,
    FewShotEpisodes,
    FewShotSplit,
    read_few_shot_episodes,
)

Y = np.repeat([f"class {i}" for i in range(8)], 12)
SPLIT = np.tile([0, 0, 1], 32)


def draw(n_way=3, n_shot=2, n_query=3, n_folds=4, *, groups=SPLIT, y=Y, random_state=0):
    folds = FewShotSplit(n_way, n_shot, n_query, n_folds, random_state=random_state)
    return list(folds.split(y, y, groups))


def test_every_episode_has_as_many_classes_and_clouds_as_asked():
    for support, query in draw():
        classes, counts = np.unique(Y[support], return_counts=True)

        assert counts.tolist() == [2, 2, 2]
        assert np.unique(Y[query], return_counts=True)[1].tolist() == [3, 3, 3]
        assert set(Y[query]) == set(classes)
        assert len(set(support) | set(query)) == 15


@pytest.mark.parametrize("groups", [SPLIT, SPLIT == 1, np.array(["train", "test"])[SPLIT]])
def test_groups_say_which_clouds_may_be_support_and_which_queries(groups):
    for support, query in draw(groups=groups):
        assert not SPLIT[support].any()
        assert SPLIT[query].all()


def test_without_groups_no_cloud_is_both():
    for support, query in draw(n_shot=6, n_query=6, groups=None):
        assert not set(support) & set(query)


def test_folds_differ_and_the_same_seed_gives_them_again():
    once, again = draw(n_folds=6), draw(n_folds=6)

    assert all(np.array_equal(a, b) for one, two in zip(once, again, strict=True)
               for a, b in zip(one, two, strict=True))  # fmt: skip
    assert len({tuple(support) for support, _ in once}) == 6
    assert not np.array_equal(once[0][0], draw(random_state=1)[0][0])


def test_folds_of_equal_classes_draw_other_clouds():
    folds = draw(n_way=8)

    assert len({frozenset(support) for support, _ in folds}) == len(folds)
    assert len({frozenset(query) for _, query in folds}) == len(folds)


def test_a_fold_does_not_depend_on_those_before_it():
    folds = FewShotSplit(3, 2, 3, 5, random_state=0)
    interrupted = folds.split(Y, Y, SPLIT)
    next(interrupted)

    fewer, more = draw(n_folds=2), list(folds.split(Y, Y, SPLIT))

    assert all(np.array_equal(a, b) for a, b in zip(fewer[1], more[1], strict=True))
    assert np.array_equal(next(interrupted)[0], more[1][0])


@pytest.mark.parametrize("groups", [SPLIT, None])
def test_more_shots_add_to_the_same_support_and_leave_the_queries(groups):
    for (few, query), (many, same) in zip(
        draw(n_shot=2, groups=groups), draw(n_shot=5, groups=groups), strict=True
    ):
        assert set(few) < set(many)
        assert np.array_equal(query, same)


def test_all_classes_are_drawn_sooner_or_later():
    drawn = {label for support, _ in draw(n_folds=30) for label in Y[support]}

    assert drawn == set(Y)


def test_labels_stay_what_they_are_in_cross_validation():
    X = np.array([int(label[-1]) for label in Y], dtype=float)[:, None]
    folds = FewShotSplit(3, 2, 3, 4, random_state=0)

    scores = cross_val_score(KNeighborsClassifier(1), X, Y, groups=SPLIT, cv=folds)

    assert scores.tolist() == [1.0] * 4
    search = GridSearchCV(KNeighborsClassifier(), {"n_neighbors": [1, 2]}, cv=folds)
    assert search.fit(X, Y, groups=SPLIT).n_splits_ == 4


def test_clones_and_says_what_it_is():
    folds = FewShotSplit(3, 2, random_state=0)

    assert "n_way=3" in repr(folds)
    assert folds.get_n_splits() == 10
    assert clone(folds, safe=False).n_shot == 2


def test_error_names_the_classes_with_too_few_clouds():
    y, groups = np.append(Y, ["rare", "rare"]), np.append(SPLIT, [0, 1])

    with pytest.raises(ValueError, match=r"2 clouds for support \(n_shot=2\), but 'rare' has 1"):
        draw(y=y, groups=groups)
    with pytest.raises(ValueError, match=r"5 clouds for queries.*'class 0' has 4.* 3 more"):
        draw(n_query=5)
    with pytest.raises(ValueError, match=r"13 clouds for support and queries together"):
        draw(n_shot=10, groups=None)


def test_error_says_what_came():
    with pytest.raises(ValueError, match=r"n_way=9.*only 8.*'class 0'"):
        draw(n_way=9)
    with pytest.raises(ValueError, match=r"0 or 'train'.*got \[2\]"):
        draw(groups=SPLIT * 2)
    with pytest.raises(ValueError, match=r"got \['val'\]"):
        draw(groups=np.where(SPLIT == 1, "val", "train"))
    with pytest.raises(ValueError, match="n_way must be at least 2, got 1"):
        draw(n_way=1)
    with pytest.raises(ValueError, match="needs y"):
        next(FewShotSplit(2, 1).split(Y))


RECORD = {"way": 2, "shot": 2, "fold": 1, "classes": [4, 0],
          "support": [[1, 2], [5, 6]], "query": [[3], [7]]}  # fmt: skip


def write(path, *records):
    path.write_text(json.dumps({"episodes": records}))
    return path


def test_episodes_are_read_in_the_order_of_their_folds(tmp_path):
    other = RECORD | {"fold": 0, "support": [[8, 9], [10, 11]]}
    path = write(tmp_path / "few.json", RECORD, RECORD | {"shot": 1, "support": [[1], [2]]}, other)

    episodes = read_few_shot_episodes(path, n_way=2, n_shot=2)

    assert [each.fold for each in episodes] == [0, 1]
    assert episodes[1].support.tolist() == [1, 2, 5, 6]
    assert episodes[1].query.tolist() == [3, 7]
    assert episodes[1].classes == (4, 0)
    assert repr(episodes) == "<2 few-shot episodes: 2-way 2-shot>"
    assert len(episodes[:1]) == episodes[:1].get_n_splits() == 1
    with pytest.raises(ValueError, match=r"no 5-way 2-shot episodes.*\[\(2, 1\), \(2, 2\)\]"):
        read_few_shot_episodes(path, n_way=5, n_shot=2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"support": [[1, 2]]}, "no list of 2 lists"),
        ({"support": [[1], [5]]}, "not 2 rows for each class"),
        ({"support": [[1, 1], [5, 6]]}, "twice"),
        ({"support": [[1, 3], [5, 6]]}, "both support and query"),
        ({"support": [[1, -2], [5, 6]]}, "else than row numbers"),
        ({"query": [[1.5], [7]]}, "else than row numbers"),
        ({"fold": "1"}, "no whole number"),
        ({"classes": [4]}, "does not name 2 classes"),
    ],
)
def test_records_that_contradict_themselves_are_refused(tmp_path, change, words):
    path = write(tmp_path / "few.json", RECORD | change)

    with pytest.raises(FileFormatError, match=words):
        read_few_shot_episodes(path, n_way=2, n_shot=2)


def test_files_of_other_content_are_refused(tmp_path):
    path = tmp_path / "few.json"
    for content in ('{"episodes": [{}]}', "[]", "no json", '{"episodes": 3}'):
        path.write_text(content)
        with pytest.raises(FileFormatError, match=r"few\.json"):
            read_few_shot_episodes(path, n_way=2, n_shot=2)


def test_episodes_serve_cross_validation_and_know_when_the_data_are_too_short():
    one = FewShotEpisode(2, 1, 0, ("class 0", "class 1"), np.array([0, 12]), np.array([1, 13]))
    episodes = FewShotEpisodes([one])
    X = np.arange(96.0)[:, None]

    assert cross_val_score(KNeighborsClassifier(1), X, Y, cv=episodes).tolist() == [1.0]
    with pytest.raises(ValueError, match="names row 13, and X has 5 clouds"):
        next(episodes.split(X[:5]))


def test_shared_episodes_take_support_from_the_training_split(shared):
    path = shared / "data" / "modelnet10_fewshot.json"
    data = shared / "data" / "modelnet10.npz"
    if not (path.is_file() and data.is_file()):
        pytest.skip(f"no {path.name} or {data.name} in {path.parent}")
    with np.load(data, allow_pickle=False) as archive:
        label, split = archive["label"], archive["split"]

    episodes = read_few_shot_episodes(path, n_way=10, n_shot=20)

    assert len(episodes) == 10
    for episode in episodes:
        assert not split[episode.support].any()
        assert split[episode.query].all()
        assert label[episode.support].tolist() == np.repeat(episode.classes, 20).tolist()
