"""The few-shot episodes that were published as pickles: converted once, then read as arrays."""

import hashlib
import re
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils import Bunch

from pointinteract.exceptions import FileFormatError
from pointinteract.protocols._episodes import FewShotEpisode, FewShotEpisodes
from pointinteract.utils._archive import read_archive, write_archive
from pointinteract.utils._params import check_int
from pointinteract.utils._restricted_pickle import check_unfolded, load_arrays_pickle

__all__ = ["convert_few_shot_pickles", "load_few_shot"]

_FOLDER = re.compile(r"(\d{1,4})way_?(\d{1,4})shot")
_KIND = "few-shot episode"
_PARTS = ("train", "test")

DESCRIPTION = """\
Few-shot episodes
-----------------
{n_folds} episodes, {n_way}-way {n_shot}-shot, from {folder}: {n_clouds} different clouds of
{n_classes} classes. Support clouds come from the training split, queries from the test split.
The usual files were drawn by the authors of Yu et al., "Point-BERT",
CVPR 2022.
"""


def convert_few_shot_pickles(
    folder: str | PathLike[str], target: str | PathLike[str], *, n_channels: int = 3
) -> list[Path]:
    """Convert published few-shot episodes from pickles to files of plain arrays.

    The published layout is ``{w}way_{s}shot/{fold}.pkl`` (some copies write ``{w}way{s}shot``),
    each a dictionary of ``train`` and ``test``, lists of triples: a cloud, its label within the
    episode, its original class. Nothing that a pickle names is run: see Raises.

    Parameters
    ----------
    folder : path
        With the folders ``5way_10shot`` and so on.
    target : path
        Where the same folders are made, with one ``{fold}.npz`` for each pickle that
        :func:`load_few_shot` reads (and ``numpy.load``, without pickle). Files that are there
        already stay, so that an interrupted conversion goes on.
    n_channels : int, default=3
        Channels of a point to keep; the published clouds have normals behind the coordinates.

    Returns
    -------
    paths : list of Path
        The files of `target`, in the order of way, shot and fold.

    Raises
    ------
    FileFormatError
        If a pickle asks for anything but numeric arrays (it is named, and not called), is
        truncated, does not hold such an episode, or repeats clouds so often that the episode is
        many times its size.
    FileNotFoundError
        If there are no such folders.

    Examples
    --------
    >>> import pathlib, pickle, tempfile
    >>> import numpy as np
    >>> from pointinteract.protocols import convert_few_shot_pickles, load_few_shot
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> (folder / "2way_1shot").mkdir()
    >>> clouds = np.random.default_rng(0).normal(size=(4, 16, 6))
    >>> episode = {"train": [(clouds[0], 0, 7), (clouds[1], 1, 9)],
    ...            "test": [(clouds[2], 0, 7), (clouds[3], 1, 9)]}
    >>> _ = (folder / "2way_1shot" / "0.pkl").write_bytes(pickle.dumps(episode))
    >>> [path.name for path in convert_few_shot_pickles(folder, folder / "converted")]
    ['0.npz']
    >>> few = load_few_shot(folder / "converted", n_way=2, n_shot=1)
    >>> few.data.shape, few.target.tolist()
    ((4, 16, 3), [7, 9, 7, 9])
    """
    check_int("n_channels", n_channels, minimum=3)
    found = _find_files(folder, ".pkl")
    if not found:
        raise FileNotFoundError(
            f"{folder} has no folder such as 5way_10shot with files 0.pkl, 1.pkl, ..."
        )
    written = []
    for (way, shot, fold), path in sorted(found.items()):
        into = Path(target) / f"{way}way_{shot}shot" / f"{fold}.npz"
        if not into.is_file():
            document, arrays = _read_episode(path, way, shot, n_channels)
            into.parent.mkdir(parents=True, exist_ok=True)
            write_archive(into, document, arrays)
        written.append(into)
    return written


def load_few_shot(
    folder: str | PathLike[str],
    *,
    n_way: int,
    n_shot: int,
    folds: Sequence[int] | None = None,
) -> Bunch:
    """Load few-shot episodes converted by :func:`convert_few_shot_pickles`.

    Parameters
    ----------
    folder : path
        With folders such as ``5way_10shot`` or ``5way10shot``.
    n_way, n_shot : int
        Which of them.
    folds : sequence of int or None, default=None
        Which episodes; None: all.

    Returns
    -------
    few : Bunch
        ``data``, float32 (n_clouds, n_points, n_channels), or a list of clouds that differ in
        size: every cloud once, however many episodes it is in. ``target``, int64, the original
        classes. ``split``, ``"train"`` or ``"test"``. ``episodes``, :class:`FewShotEpisodes`
        of rows of ``data``; ready for ``few_shot(..., split=few.episodes)``. ``DESCR``.
    """
    check_int("n_way", n_way, minimum=2)
    check_int("n_shot", n_shot)
    found = _find_files(folder, ".npz")
    paths = {key[2]: path for key, path in sorted(found.items()) if key[:2] == (n_way, n_shot)}
    wanted = list(paths) if folds is None else [int(fold) for fold in folds]
    missing = sorted(set(wanted) - set(paths))
    if missing or not wanted:
        kinds = sorted({key[:2] for key in found})
        hint = ""
        if not found and _find_files(folder, ".pkl"):
            hint = " It holds pickles: convert them once with convert_few_shot_pickles."
        what = f"fold {missing[0]} of" if missing else "episodes for"
        raise FileNotFoundError(
            f"{folder} has no {what} {n_way}-way {n_shot}-shot; it has (way, shot) {kinds}.{hint}"
        )
    clouds: list[np.ndarray] = []
    target: list[int] = []
    split: list[str] = []
    rows: dict[bytes, int] = {}
    episodes = []
    for fold in wanted:
        members: dict[str, list[int]] = {part: [] for part in _PARTS}
        classes: dict[int, int] = {}
        for cloud, label, original, part in _read_converted(paths[fold]):
            name = f"{original} {part} {cloud.shape}".encode()
            key = hashlib.blake2b(cloud.tobytes(), digest_size=16, key=name[:64]).digest()
            if key not in rows:
                rows[key] = len(clouds)
                clouds.append(cloud)
                target.append(original)
                split.append(part)
            members[part].append(rows[key])
            classes[label] = original
        episodes.append(
            FewShotEpisode(
                n_way, n_shot, fold, tuple(classes[label] for label in sorted(classes)),
                *(np.array(members[part], dtype=np.int64) for part in _PARTS),
            )
        )
    same = len({cloud.shape for cloud in clouds}) == 1
    return Bunch(
        data=np.stack(clouds) if same else clouds,
        target=np.array(target, dtype=np.int64),
        split=np.array(split),
        episodes=FewShotEpisodes(episodes),
        DESCR=DESCRIPTION.format(
            n_folds=len(episodes), n_way=n_way, n_shot=n_shot, folder=Path(folder).name,
            n_clouds=len(clouds), n_classes=len(set(target)),
        ),
    )


def _find_files(
    folder: str | PathLike[str], suffix: str
) -> dict[tuple[int, int, int], Path]:
    """Files of episodes by (way, shot, fold)."""
    root = Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder.")
    found = {}
    for inner in sorted(root.iterdir()):
        named = _FOLDER.fullmatch(inner.name)
        if named is None or not inner.is_dir():
            continue
        for path in sorted(inner.iterdir()):
            if path.suffix == suffix and path.stem.isdecimal() and path.is_file():
                found[int(named[1]), int(named[2]), int(path.stem)] = path
    return found


def _read_episode(
    path: Path, way: int, shot: int, n_channels: int
) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Check the content of a pickle, and bring it to arrays."""
    content = load_arrays_pickle(path)
    if not isinstance(content, dict) or any(
        not isinstance(content.get(part), (list, tuple)) for part in _PARTS
    ):
        raise FileFormatError(f"{path} holds no dictionary of lists 'train' and 'test'.")
    clouds, numbers = [], []
    for is_test, part in enumerate(_PARTS):
        for place, item in enumerate(content[part]):
            where = f"{path}: item {place} of {part!r}"
            if not isinstance(item, (list, tuple)) or len(item) != 3:
                raise FileFormatError(f"{where} is no triple of a cloud and two labels.")
            clouds.append(_check_cloud(item[0], where, n_channels))
            numbers.append((_whole(item[1], where), _whole(item[2], where), is_test))
    table = np.array(numbers, dtype=np.int64).reshape(-1, 3)
    _check_labels(path, table, way, shot)
    # Before the first copy: one array may stand in for a million clouds.
    itemsize = np.dtype(np.float32).itemsize
    check_unfolded(path, sum(len(cloud) * n_channels * itemsize for cloud in clouds))
    points = [
        np.ascontiguousarray(cloud[:, :n_channels], dtype=np.float32) for cloud in clouds
    ]
    for row, cloud in enumerate(points):
        if not np.isfinite(cloud).all():
            part, place = _PARTS[table[row, 2]], row - len(content[_PARTS[0]]) * table[row, 2]
            raise FileFormatError(
                f"{path}: item {place} of {part!r} has points that are not finite."
            )
    document = {"kind": _KIND, "n_way": way, "n_shot": shot, "fold": int(path.stem),
                "arrays": ["points", "sizes", "labels"], "labels": ["episode", "class", "test"]}
    sizes = np.array([len(cloud) for cloud in points], dtype=np.int64)
    return document, [np.concatenate(points), sizes, table]


def _check_cloud(cloud: Any, where: str, n_channels: int) -> np.ndarray:
    if not isinstance(cloud, np.ndarray) or cloud.ndim != 2 or not len(cloud):
        came = f"shape {cloud.shape}" if isinstance(cloud, np.ndarray) else type(cloud).__name__
        raise FileFormatError(f"{where} has no cloud (n_points, n_channels) but {came}.")
    if cloud.shape[1] < n_channels:
        raise FileFormatError(
            f"{where} has points of {cloud.shape[1]} channels; {n_channels} are asked for."
        )
    if cloud.dtype.kind not in "iuf":
        raise FileFormatError(f"{where} has points of dtype {cloud.dtype}, not real numbers.")
    return cloud


def _whole(value: Any, where: str) -> int:
    # A number, or an array of one, as ModelNet's labels are stored. Nothing else is looked into:
    # lists in lists could take for ever.
    plain = isinstance(value, int | float | np.number | np.ndarray)
    array = np.asarray(value) if plain else np.empty(0)
    if array.size == 1 and array.dtype.kind in "iuf":
        number = array.reshape(-1)[0]
        if abs(number) < 2**31 and number == int(number):
            return int(number)
    came = f"{value!r:.60}" if array.size and array.dtype.kind in "iuf" else type(value).__name__
    raise FileFormatError(f"{where} has a label that is no whole number below 2^31: {came}.")


def _check_labels(path: Path, table: np.ndarray, way: int, shot: int) -> None:
    """Raise unless labels are those of a `way`-way `shot`-shot episode."""
    train, test = table[table[:, 2] == 0], table[table[:, 2] == 1]
    counts = np.bincount(np.clip(train[:, 0], 0, way), minlength=way)
    if counts.tolist() != [shot] * way or train[:, 0].min(initial=0) < 0:
        raise FileFormatError(
            f"{path} should hold {shot} training clouds for each label from 0 to {way - 1}; its "
            f"labels are {sorted(set(train[:, 0].tolist()))[:20]} on {len(train)} clouds."
        )
    pairs = {(label, original) for label, original, _ in table.tolist()}
    if len(pairs) != way or len({original for _, original in pairs}) != way or not len(test):
        raise FileFormatError(
            f"{path} should have {way} classes, each with one label in training and test; its "
            f"(label, class) pairs are {sorted(pairs)[:20]}, on {len(test)} test clouds."
        )


def _read_converted(path: Path) -> list[tuple[np.ndarray, int, int, str]]:
    """Read (cloud, label, original class, part) of a converted episode."""
    document, arrays = read_archive(path)
    if document.get("kind") != _KIND or len(arrays) != 3:
        raise FileFormatError(f"{path} holds no few-shot episode.")
    points, sizes, table = arrays
    fits = (
        points.ndim == 2 and points.dtype == np.float32 and sizes.ndim == 1
        and sizes.dtype == table.dtype == np.int64 and table.shape == (len(sizes), 3)
        and (sizes > 0).all() and sizes.sum() == len(points) and np.isin(table[:, 2], (0, 1)).all()
    )  # fmt: skip
    if not fits:
        raise FileFormatError(f"{path}: sizes, labels and points do not belong together.")
    clouds = np.split(points, np.cumsum(sizes)[:-1])
    return [
        (cloud, label, original, _PARTS[is_test])
        for cloud, (label, original, is_test) in zip(clouds, table.tolist(), strict=True)
    ]
