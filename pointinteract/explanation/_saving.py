"""Explanations in files: a JSON document and plain arrays, never pickle."""

import os
from typing import Any

import numpy as np

from pointinteract.exceptions import FileFormatError
from pointinteract.explanation._sampled import read_plan
from pointinteract.games.coalitions import n_players_of
from pointinteract.games.fourier import MAX_ORDER, SparseFourier
from pointinteract.utils._archive import read_archive, write_archive

FORMAT = "pointinteract explanation"
FORMAT_NUMBER = 2
# Layout 1 had no answers and no sampled explanations; what it had is the same.
READABLE = (1, 2)
# Arrays that every file holds, then those that may be absent, then those of the Fourier terms
# of a sampled explanation, of all clouds one after the other.
REQUIRED = ("values", "points", "regions", "lengths")
OPTIONAL = ("targets", "predicted", "labels", "classes")
SINCE_2 = ("answers", "coalitions", "r2", "noise_by_order")
SURROGATES = ("term_members", "term_coefficients", "term_lengths", "term_errors")


def write_fields(path: str | os.PathLike[str], fields: Any) -> None:
    """Write anything that has the attributes of an explanation."""
    arrays = {
        "values": fields.values,
        "points": np.concatenate(fields.points),
        "regions": np.concatenate(fields.regions),
        "lengths": np.array([len(cloud) for cloud in fields.points]),
    }
    for name in (*OPTIONAL, *SINCE_2):
        array = getattr(fields, name)
        if array is not None:
            # Labels read from tables are often text in an array of objects.
            arrays[name] = array.astype(str) if array.dtype == object else array
    if fields.surrogates is not None:
        arrays |= _surrogate_arrays(fields.surrogates)
    document = {
        "format": FORMAT,
        "format_number": FORMAT_NUMBER,
        "arrays": list(arrays),
        "region_names": fields.region_names,
        "meta": fields.meta,
    }
    write_archive(path, document, list(arrays.values()))


def read_fields(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what :func:`write_fields` wrote, believing nothing of it.

    Returns
    -------
    fields : dict
        Those of an explanation, by name.
    """
    document, arrays = read_archive(path)
    if document.get("format") != FORMAT:
        raise FileFormatError(
            f"{path} holds {document.get('format')!r}, not a {FORMAT!r} written by "
            "Explanation.save."
        )
    number = document.get("format_number")
    if isinstance(number, bool) or number not in READABLE:
        raise FileFormatError(
            f"{path} has layout {number!r}; this version reads layouts up to {FORMAT_NUMBER}. "
            "Upgrade pointinteract."
        )
    try:
        return _check(document, arrays)
    except FileFormatError as error:
        raise FileFormatError(f"{path} cannot be read as an explanation: {error}") from error
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        # What a mangled document does to the lines below is not worth telling apart.
        raise FileFormatError(f"{path} is damaged ({error!r}).") from error


def _check(document: dict[str, Any], arrays: list[np.ndarray]) -> dict[str, Any]:
    names = document["arrays"]
    known = {*REQUIRED, *OPTIONAL}
    if document["format_number"] > 1:
        known |= {*SINCE_2, *SURROGATES}
    if len(set(names)) != len(arrays) or not set(REQUIRED) <= set(names) <= known:
        raise FileFormatError(f"it names the arrays {names!r} and holds {len(arrays)}.")
    found = dict(zip(names, arrays, strict=True))
    values, points, lengths = found["values"], found["points"], found["lengths"]
    if values.ndim != 2 or values.dtype != np.float64:
        raise FileFormatError(f"values are {values.dtype} of shape {values.shape}.")
    n_clouds, n_regions = len(values), _n_regions(found)
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
    if "noise_by_order" in found:
        _expect(found, "noise_by_order", (n_regions,), "f")
    if "answers" in found:
        _expect(found, "answers", (*values.shape, *found["answers"].shape[2:3]), "f")
    region_names = document["region_names"]
    if region_names is not None:
        region_names = tuple(tuple(str(name) for name in row) for row in region_names)
        if [len(row) for row in region_names] != [n_regions] * n_clouds:
            raise FileFormatError("region_names do not fit the clouds and regions.")
    if not isinstance(document["meta"], dict):
        raise FileFormatError("meta is not a table.")
    ends = np.cumsum(lengths)[:-1]
    return {
        "values": values,
        "points": tuple(np.split(points, ends)),
        "regions": tuple(np.split(regions.astype(np.int64), ends)),
        "region_names": region_names,
        "meta": document["meta"],
        "surrogates": _surrogates(found, n_clouds, n_regions),
        **{name: found.get(name) for name in (*OPTIONAL, *SINCE_2)},
    }


def _n_regions(found: dict[str, np.ndarray]) -> int:
    """Return the number of regions; what a sampled explanation needs must be there together."""
    parts = ("coalitions", "r2", *SURROGATES)
    if "coalitions" not in found:
        if set(parts) & set(found):
            raise FileFormatError(f"it holds {sorted(set(parts) & set(found))} alone.")
        return n_players_of(found["values"].shape[1])
    if not set(parts) <= set(found):
        raise FileFormatError(f"it lacks {sorted(set(parts) - set(found))}.")
    coalitions, n_clouds = found["coalitions"], len(found["values"])
    _expect(found, "coalitions", (found["values"].shape[1], *coalitions.shape[1:2]), "b")
    _expect(found, "r2", (n_clouds,), "f")
    read_plan(coalitions)
    return int(coalitions.shape[1])


def _surrogate_arrays(surrogates: tuple[SparseFourier, ...]) -> dict[str, np.ndarray]:
    width = max((one.members.shape[1] for one in surrogates), default=MAX_ORDER)
    members = [
        np.pad(one.members, ((0, 0), (0, width - one.members.shape[1])), constant_values=-1)
        for one in surrogates
    ]
    return {
        "term_members": np.concatenate(members or [np.empty((0, width), dtype=np.int16)]),
        "term_coefficients": np.concatenate([np.empty(0), *(s.coefficients for s in surrogates)]),
        "term_lengths": np.array([one.n_terms for one in surrogates], dtype=np.int64),
        "term_errors": np.array([one.error for one in surrogates], dtype=np.float64),
    }


def _surrogates(
    found: dict[str, np.ndarray], n_clouds: int, n_regions: int
) -> tuple[SparseFourier, ...] | None:
    if "coalitions" not in found:
        return None
    members, lengths = found["term_members"], found["term_lengths"]
    _expect(found, "term_members", (len(members), *members.shape[1:2]), "i")
    _expect(found, "term_coefficients", (len(members),), "f")
    _expect(found, "term_lengths", (n_clouds,), "iu")
    _expect(found, "term_errors", (n_clouds,), "f")
    if not 1 <= members.shape[1] <= MAX_ORDER:
        raise FileFormatError(f"terms are of up to {members.shape[1]} regions.")
    if (lengths < 0).any() or int(lengths.sum()) != len(members):
        raise FileFormatError(f"term_lengths add up to {lengths.sum()}, not {len(members)}.")
    # Players ascend, and after the first -1 come only others.
    here, after = members[:, :-1], members[:, 1:]
    sorted_rows = np.where(here < 0, after == -1, (after > here) | (after == -1))
    if len(members) and not (
        sorted_rows.all() and -1 <= members.min() and members.max() < n_regions
    ):
        raise FileFormatError(f"terms are not sets of regions from 0 to {n_regions - 1}.")
    ends = np.cumsum(lengths)[:-1]
    rows = np.split(members.astype(np.int16), ends)
    numbers = np.split(found["term_coefficients"], ends)
    return tuple(
        SparseFourier(n_regions, row, coefficients, float(r2), float(error))
        for row, coefficients, r2, error in zip(
            rows, numbers, found["r2"], found["term_errors"], strict=True
        )
    )


def _expect(found: dict[str, np.ndarray], name: str, shape: tuple[int, ...], kinds: str) -> None:
    array = found[name]
    if array.shape != shape or array.dtype.kind not in kinds:
        raise FileFormatError(
            f"{name} must have shape {shape}, got {array.dtype} of shape {array.shape}."
        )
