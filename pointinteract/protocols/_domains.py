"""Two labelled data sets brought to common classes, matched by name."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.utils import Bunch

from pointinteract.base import Clouds, check_clouds
from pointinteract.classification._votes import pick_clouds
from pointinteract.protocols._readout import check_labels

__all__ = [
    "Domain", "check_synonyms", "common_classes", "read_domain", "spell", "synonyms_of",
]  # fmt: skip

_RIGHT = (
    "a Bunch with data, target and target_names; a pair of such, to train and to test on; "
    "(X, y); or (X, y, X_test, y_test)"
)


@dataclass(frozen=True)
class Domain:
    """Clouds of one data set with the names of their classes, to train and to test on."""

    X: Clouds
    y: np.ndarray
    X_test: Clouds
    y_test: np.ndarray
    target_names: list[str] | None  # as given, for decoding numbers
    split_here: bool  # whether it came without a test part
    how: str  # where the two parts come from, in words
    spelled: frozenset[str]  # names of its classes before synonyms

    def only(self, classes: Sequence[str]) -> "Domain":
        """The clouds of some classes."""
        rows = np.flatnonzero(np.isin(self.y, classes))
        rows_test = np.flatnonzero(np.isin(self.y_test, classes))
        return Domain(
            pick_clouds(self.X, rows),
            self.y[rows],
            pick_clouds(self.X_test, rows_test),
            self.y_test[rows_test],
            self.target_names,
            self.split_here,
            self.how,
            self.spelled,
        )


def read_domain(
    name: str, data: Any, synonyms: Mapping[str, str], test_size: float, seed: int
) -> Domain:
    """Take apart what the user gave for one data set, and spell its classes alike."""
    parts = _parts_of(name, data)
    named = [
        (check_clouds(X, name=name), _names_of(name, X, y, names, synonyms))
        for X, y, names in parts
    ]
    given = parts[0][2]
    spelled = frozenset(
        label for X, y, names in parts for label in _names_of(name, X, y, names, {}).tolist()
    )
    if len(named) == 2:
        (X, y), (X_test, y_test) = named
        return Domain(X, y, X_test, y_test, given, False, "the split it came with", spelled)
    ((X, y),) = named
    alone = [str(label) for label, count in zip(*np.unique(y, return_counts=True), strict=True)
             if count < 2]  # fmt: skip
    if alone:
        raise ValueError(
            f"{name} must have two or more clouds of each class to be split into training and "
            f"test clouds; classes with one: {alone}."
        )
    rows, rows_test = train_test_split(
        np.arange(len(y)), test_size=test_size, random_state=seed, stratify=y
    )
    rows, rows_test = np.sort(rows), np.sort(rows_test)
    how = f"a random split by class that keeps {test_size:.0%} for the test"
    X_test, y_test = pick_clouds(X, rows_test), y[rows_test]
    return Domain(pick_clouds(X, rows), y[rows], X_test, y_test, given, True, how, spelled)


def common_classes(
    source: Domain, target: Domain, wanted: Sequence[str] | None
) -> list[str]:
    """Names that both have, to train and to test on, in order; at least two."""
    has = [
        set(domain.y.tolist()) & set(domain.y_test.tolist()) for domain in (source, target)
    ]
    common = has[0] & has[1]
    if wanted is not None:
        if len(set(wanted)) < 2:
            raise ValueError(f"classes must name two or more, got {list(wanted)}.")
        lacking = sorted(set(wanted) - common)
        if lacking:
            raise ValueError(
                f"classes {lacking} are not in both data sets; both have {sorted(common)}. Give "
                "a mapping such as {'desk': 'table'} for those called otherwise."
            )
        common = set(wanted)
    if len(common) < 2:
        raise ValueError(
            "source and target must share two or more classes; source has "
            f"{sorted(has[0])}, target {sorted(has[1])}. Give classes= a mapping such as "
            "{'desk': 'table'} for those called otherwise."
        )
    return sorted(common)


def check_synonyms(source: Domain, target: Domain, synonyms: Mapping[str, str]) -> None:
    """Raise if a name to be changed is in neither data set: a slip of the pen, most likely."""
    unknown = sorted(set(synonyms) - source.spelled - target.spelled)
    if unknown:
        raise ValueError(
            f"classes maps {unknown}, which neither data set has; source has "
            f"{sorted(source.spelled)}, target {sorted(target.spelled)}."
        )


def synonyms_of(classes: Any) -> tuple[dict[str, str], list[str] | None]:
    """What `classes` says: other names, and the classes wanted (None: all that are common)."""
    if classes is None:
        return {}, None
    if isinstance(classes, Mapping):
        return {spell(name): spell(other) for name, other in classes.items()}, None
    if isinstance(classes, str) or not isinstance(classes, Sequence | np.ndarray):
        raise TypeError(
            "classes must be None, a list of names or a mapping from names to the names that "
            f"they shall go by, got {classes!r}."
        )
    return {}, [spell(name) for name in classes]


def spell(name: Any, synonyms: Mapping[str, str] | None = None) -> str:
    """One spelling for ``"Night_stand"`` and ``"night stand"``; then its synonym, if any."""
    spelled = " ".join(re.split(r"[\s_\-]+", str(name).strip().lower()))
    return (synonyms or {}).get(spelled, spelled)


def _parts_of(name: str, data: Any) -> list[tuple[Any, Any, list[str] | None]]:
    """(clouds, labels, names) once, or twice where there is a test part."""
    if isinstance(data, Bunch):
        names = list(data.target_names) if "target_names" in data else None
        split = data.get("split")
        if split is None:
            return [(data.data, data.target, names)]
        split = np.asarray(split)
        rows = [np.flatnonzero(split == part) for part in ("train", "test")]
        if not all(len(part) for part in rows):
            return [(data.data, data.target, names)]
        target = np.asarray(data.target)
        return [(pick_clouds(data.data, part), target[part], names) for part in rows]
    if isinstance(data, tuple | list) and len(data) in (2, 4):
        if len(data) == 2 and all(isinstance(part, Bunch) for part in data):
            return [(part.data, part.target, list(part.target_names)) for part in data]
        if not any(isinstance(part, Bunch) for part in data):
            return [(data[i], data[i + 1], None) for i in range(0, len(data), 2)]
    raise TypeError(f"{name} must be {_RIGHT}; got {type(data).__name__}.")


def _names_of(
    name: str, X: Any, y: Any, names: list[str] | None, synonyms: Mapping[str, str]
) -> np.ndarray:
    labels = check_labels(f"labels of {name}", y, X)
    if labels.dtype.kind in "iubf":
        if names is None or labels.dtype.kind in "bf":
            raise ValueError(
                f"labels of {name} must be names of classes: a number means one class here and "
                "another there. Give a Bunch with target_names, or names as labels."
            )
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(names):
            raise ValueError(
                f"labels of {name} must be from 0 to {len(names) - 1}, indices into its "
                f"target_names; got {labels.min()} to {labels.max()}."
            )
        labels = np.asarray(names)[labels]
    return np.array([spell(label, synonyms) for label in labels])
