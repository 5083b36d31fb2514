"""Few-shot episodes that somebody else drew: records of row numbers, as a splitter."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, overload

import numpy as np

from pointinteract.exceptions import FileFormatError
from pointinteract.utils._params import check_int

__all__ = ["FewShotEpisode", "FewShotEpisodes", "read_few_shot_episodes"]


@dataclass(frozen=True)
class FewShotEpisode:
    """One episode: which clouds to learn from, and which to be asked about.

    Attributes
    ----------
    n_way, n_shot : int
        Classes, and clouds of each in the support.
    fold : int
        Number of the episode among those of equal way and shot.
    classes : tuple
        The classes drawn, as the file says them; the labels themselves come with the clouds.
    support, query : int64 arrays
        Row numbers.
    """

    n_way: int
    n_shot: int
    fold: int
    classes: tuple[Any, ...]
    support: np.ndarray
    query: np.ndarray


class FewShotEpisodes(Sequence[FewShotEpisode]):
    """Episodes drawn before, usable wherever scikit-learn takes a splitter.

    Parameters
    ----------
    episodes : sequence of FewShotEpisode
        Of one way and one shot, if their mean score is to mean something.

    Examples
    --------
    >>> import numpy as np
    >>> from pointinteract.protocols import FewShotEpisode, FewShotEpisodes
    >>> one = FewShotEpisode(2, 1, 0, ("bed", "sofa"), np.array([0, 4]), np.array([1, 5]))
    >>> [(support.tolist(), query.tolist()) for support, query in FewShotEpisodes([one]).split()]
    [([0, 4], [1, 5])]
    """

    def __init__(self, episodes: Sequence[FewShotEpisode]):
        self.episodes = tuple(episodes)

    @overload
    def __getitem__(self, place: int) -> FewShotEpisode: ...

    @overload
    def __getitem__(self, place: slice) -> "FewShotEpisodes": ...

    def __getitem__(self, place: int | slice) -> "FewShotEpisode | FewShotEpisodes":
        if isinstance(place, slice):
            return FewShotEpisodes(self.episodes[place])
        return self.episodes[place]

    def __len__(self) -> int:
        return len(self.episodes)

    def __repr__(self) -> str:
        kinds = sorted({(each.n_way, each.n_shot) for each in self.episodes})
        listed = ", ".join(f"{way}-way {shot}-shot" for way, shot in kinds)
        return f"<{len(self)} few-shot episodes: {listed or 'none'}>"

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of episodes; the arguments are ignored."""
        return len(self.episodes)

    def split(
        self, X: Any = None, y: Any = None, groups: Any = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (support, query), the rows of every episode; y and groups are ignored."""
        n_rows = None if X is None else len(X)
        for episode in self.episodes:
            highest = max(episode.support.max(initial=-1), episode.query.max(initial=-1))
            if n_rows is not None and highest >= n_rows:
                raise ValueError(
                    f"episode {episode.fold} names row {highest}, and X has {n_rows} clouds: "
                    "the episodes belong to another data set, or to the whole of this one."
                )
            yield episode.support, episode.query


def read_few_shot_episodes(
    path: str | PathLike[str], *, n_way: int, n_shot: int
) -> FewShotEpisodes:
    """Read episodes from a JSON file of row numbers.

    The file holds ``episodes``, a list of records with ``way``, ``shot``, ``fold``, ``classes``
    (labels of the data set) and, one list for each class, ``support`` and ``query``, row
    numbers of the data set's clouds.

    Parameters
    ----------
    path : str or path
    n_way, n_shot : int
        Which of the episodes to read.

    Returns
    -------
    episodes : FewShotEpisodes
        In the order of their folds.

    Raises
    ------
    FileFormatError
        If the file is no JSON, or a record lacks something or contradicts itself.
    ValueError
        If there are no such episodes; says which there are.

    Examples
    --------
    >>> import json, pathlib, tempfile
    >>> from pointinteract.protocols import read_few_shot_episodes
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "episodes.json"
    >>> record = {"way": 2, "shot": 1, "fold": 0, "classes": [3, 5],
    ...           "support": [[10], [20]], "query": [[11, 12], [21, 22]]}
    >>> _ = path.write_text(json.dumps({"episodes": [record]}))
    >>> read_few_shot_episodes(path, n_way=2, n_shot=1)[0].query
    array([11, 12, 21, 22])
    """
    check_int("n_way", n_way, minimum=2)
    check_int("n_shot", n_shot)
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{path} is not a JSON file of episodes: {error}.") from error
    records = content.get("episodes") if isinstance(content, dict) else None
    if not isinstance(records, list):
        raise FileFormatError(f"{path} has no list 'episodes'.")
    episodes = [_read_record(path, place, record) for place, record in enumerate(records)]
    chosen = [each for each in episodes if (each.n_way, each.n_shot) == (n_way, n_shot)]
    if not chosen:
        kinds = sorted({(each.n_way, each.n_shot) for each in episodes})
        raise ValueError(
            f"{path} has no {n_way}-way {n_shot}-shot episodes; it has (way, shot) {kinds}."
        )
    return FewShotEpisodes(sorted(chosen, key=lambda each: each.fold))


def _read_record(path: Any, place: int, record: Any) -> FewShotEpisode:
    def wrong(what: str) -> FileFormatError:
        return FileFormatError(f"{path}: episode {place} {what}.")

    needed = ("way", "shot", "fold", "classes", "support", "query")
    if not isinstance(record, dict) or any(name not in record for name in needed):
        raise wrong(f"is no record of {', '.join(needed)}")
    numbers = [record[name] for name in needed[:3]]
    if not all(isinstance(n, int) and not isinstance(n, bool) for n in numbers):
        raise wrong(f"has a way, shot or fold that is no whole number: {numbers}")
    way, shot, fold = numbers
    rows = {}
    for name in ("support", "query"):
        lists = record[name]
        if not isinstance(lists, list) or len(lists) != way:
            raise wrong(f"has a {name} that is no list of {way} lists, one for each class")
        for rows_of_class in lists:
            if not isinstance(rows_of_class, list) or not all(
                isinstance(row, int) and not isinstance(row, bool) and 0 <= row < 2**62
                for row in rows_of_class
            ):
                raise wrong(f"has a {name} with something else than row numbers")
        rows[name] = np.array([row for lists_ in lists for row in lists_], dtype=np.int64)
    if any(len(lists) != shot for lists in record["support"]):
        raise wrong(f"has a support that is not {shot} rows for each class")
    if len(set(rows["support"].tolist())) < way * shot or not len(rows["query"]):
        raise wrong("names a row of its support twice, or has no query")
    if set(rows["support"].tolist()) & set(rows["query"].tolist()):
        raise wrong("has rows that are both support and query")
    if not isinstance(record["classes"], list) or len(record["classes"]) != way:
        raise wrong(f"does not name {way} classes")
    return FewShotEpisode(
        way, shot, fold, tuple(record["classes"]), rows["support"], rows["query"]
    )
