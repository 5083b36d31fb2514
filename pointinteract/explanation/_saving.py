"""Explanations in files: a JSON document and plain arrays, never pickle."""

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from pointinteract.exceptions import FileFormatError
from pointinteract.games.coalitions import n_players_of
from pointinteract.utils._archive import read_archive, write_archive

FORMAT = "pointinteract explanation"
FORMAT_NUMBER = 1
# Arrays that every file holds, then those that may be absent.
REQUIRED = ("values", "points", "regions", "lengths")
OPTIONAL = ("targets", "predicted", "labels", "classes")


@dataclass(frozen=True)
class Fields:
    """What an explanation is made of, as read from a file."""

    values: np.ndarray
    points: tuple[np.ndarray, ...]
    regions: tuple[np.ndarray, ...]
    targets: np.ndarray | None
    predicted: np.ndarray | None
    labels: np.ndarray | None
    classes: np.ndarray | None
    region_names: tuple[tuple[str, ...], ...] | None
    meta: dict[str, Any]


def write_fields(path: str | os.PathLike[str], fields: Any) -> None:
    """Write anything that has the attributes of :class:`Fields`."""
    arrays = {
        "values": fields.values,
        "points": np.concatenate(fields.points),
        "regions": np.concatenate(fields.regions),
        "lengths": np.array([len(cloud) for cloud in fields.points]),
    }
    for name in OPTIONAL:
        array = getattr(fields, name)
        if array is not None:
            # Labels read from tables are often text in an array of objects.
            arrays[name] = array.astype(str) if array.dtype == object else array
    document = {
        "format": FORMAT,
        "format_number": FORMAT_NUMBER,
        "arrays": list(arrays),
        "region_names": fields.region_names,
        "meta": fields.meta,
    }
    write_archive(path, document, list(arrays.values()))


def read_fields(path: str | os.PathLike[str]) -> Fields:
    """Read what :func:`write_fields` wrote, believing nothing of it."""
    document, arrays = read_archive(path)
    if document.get("format") != FORMAT:
        raise FileFormatError(
            f"{path} holds {document.get('format')!r}, not a {FORMAT!r} written by "
            "Explanation.save."
        )
    if document.get("format_number") != FORMAT_NUMBER:
        raise FileFormatError(
            f"{path} has layout {document.get('format_number')!r}; this version reads layout "
            f"{FORMAT_NUMBER}. Upgrade pointinteract."
        )
    try:
        return _check(document, arrays)
    except FileFormatError as error:
        raise FileFormatError(f"{path} cannot be read as an explanation: {error}") from error
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        # What a mangled document does to the lines below is not worth telling apart.
        raise FileFormatError(f"{path} is damaged ({error!r}).") from error


def _check(document: dict[str, Any], arrays: list[np.ndarray]) -> Fields:
    names = document["arrays"]
    if len(set(names)) != len(arrays) or not set(REQUIRED) <= set(names) <= {*REQUIRED, *OPTIONAL}:
        raise FileFormatError(f"it names the arrays {names!r} and holds {len(arrays)}.")
    found = dict(zip(names, arrays, strict=True))
    values, points, lengths = found["values"], found["points"], found["lengths"]
    if values.ndim != 2 or values.dtype != np.float64:
        raise FileFormatError(f"values are {values.dtype} of shape {values.shape}.")
    n_clouds, n_regions = len(values), n_players_of(values.shape[1])
    _expect(found, "lengths", (n_clouds,), "iu")
    _expect(found, "regions", (len(points),), "iu")
    if points.ndim != 2 or points.shape[1] < 3 or points.dtype.kind != "f":
        raise FileFormatError(f"points are {points.dtype} of shape {points.shape}.")
    if (lengths < 1).any() or int(lengths.sum()) != len(points):
        raise FileFormatError(f"lengths add up to {lengths.sum()}, with {len(points)} points.")
    regions = found["regions"]
    if len(regions) and not 0 <= regions.min() <= regions.max() < n_regions:
        raise FileFormatError(f"regions are not from 0 to {n_regions - 1}.")
    for name in ("targets", "predicted", "labels"):
        if name in found:
            _expect(found, name, (n_clouds,), "iu")
    if "classes" in found and found["classes"].ndim != 1:
        raise FileFormatError(f"classes have shape {found['classes'].shape}.")
    region_names = document["region_names"]
    if region_names is not None:
        region_names = tuple(tuple(str(name) for name in row) for row in region_names)
        if [len(row) for row in region_names] != [n_regions] * n_clouds:
            raise FileFormatError("region_names do not fit the clouds and regions.")
    if not isinstance(document["meta"], dict):
        raise FileFormatError("meta is not a table.")
    ends = np.cumsum(lengths)[:-1]
    return Fields(
        values=values,
        points=tuple(np.split(points, ends)),
        regions=tuple(np.split(regions.astype(np.int64), ends)),
        region_names=region_names,
        meta=document["meta"],
        **{name: found.get(name) for name in OPTIONAL},
    )


def _expect(found: dict[str, np.ndarray], name: str, shape: tuple[int, ...], kinds: str) -> None:
    array = found[name]
    if array.shape != shape or array.dtype.kind not in kinds:
        raise FileFormatError(
            f"{name} must have shape {shape}, got {array.dtype} of shape {array.shape}."
        )
