"""ShapeNet55 as cross-modal pre-training reads it: clouds, pictures and texts from a folder."""

import json
import os
import re
from pathlib import Path

import numpy as np
from sklearn.utils import Bunch

from pointinteract.datasets._base import make_bunch, stack_clouds
from pointinteract.datasets._h5lists import PointChoice, check_choice, read_lines
from pointinteract.datasets._progress import progress_bar
from pointinteract.datasets._remote import Record
from pointinteract.io._arrays import read_npy
from pointinteract.io._errors import bad_file, check_exists, check_points
from pointinteract.utils._optional import import_optional
from pointinteract.utils._params import check_option, check_real

SHAPENET55 = Record(
    name="ShapeNet55",
    folder="shapenet55",
    content="ShapeNet55-34",
    url="https://shapenet.org",
    checksum=None,
    licence=(
        "Terms of use of ShapeNet (https://shapenet.org/terms), accepted on registration: "
        "research and education that are not commercial."
    ),
    citation=(
        'A. X. Chang et al., "ShapeNet: an information-rich 3D model repository", '
        'arXiv:1512.03012, 2015. Clouds and split: X. Yu et al., "PoinTr", ICCV 2021. Pictures '
        'and texts: Z. Qi et al., "Contrast with reconstruct", ICML 2023.'
    ),
    gated=True,
)
ENTRY = re.compile(r"(\d{8})-[\w-]+\.npy")
IMAGES = ("paths", "arrays", None)


def read_shapenet55(
    folder: str | os.PathLike[str],
    *,
    subset: str = "train",
    ratio: float = 1.0,
    n_points: int | None = 1024,
    sampling: str = "random",
    images: str | None = "paths",
    random_state: int | np.random.RandomState | None = 0,
    return_X_y: bool = False,
    verbose: bool = True,
) -> Bunch | tuple[np.ndarray | list[np.ndarray], np.ndarray]:
    """Read ShapeNet55, the clouds, pictures and texts of cross-modal pre-training.

    ShapeNet is handed out to those who register and accept its terms, at https://shapenet.org;
    the clouds, with the lists of their split, come with the code of PoinTr and Point-BERT, the
    pictures with that of ReCon. Nothing is downloaded here. In one folder lie

    - ``ShapeNet-55/train.txt`` and ``test.txt``, or the two without that folder: one
      ``synset-model.npy`` a line;
    - ``shapenet_pc/synset-model.npy``, arrays (8192, 3);
    - ``shapenet_img/synset-model.png``, one view of each (not needed with ``images=None``);
    - ``shapenet55.json``, records of ``catalogue``, the synset as a number, and ``describe``,
      the text of the category. Texts are of categories, not of single shapes.

    Parameters
    ----------
    folder : path-like
        The folder around these.
    subset : {"train", "test", "all"}, default="train"
        Which list; 41,952 and 10,518 clouds.
    ratio : float, default=1.0
        The leading share of the list to read, as experiments on the amount of data take it.
    n_points : int, default=1024
        Points of each cloud. None keeps all 8192: 5 GB for the training list.
    sampling : {"random", "first"}, default="random"
        Which points, if not all.
    images : {"paths", "arrays"} or None, default="paths"
        Names of the picture files, or the pictures themselves (needs Pillow, and memory), or
        no pictures.
    random_state : int, RandomState instance or None, default=0
        Decides the random choice of points.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.
    verbose : bool, default=True
        Whether to show progress on the error stream, if rich is installed.

    Returns
    -------
    clouds : :class:`~sklearn.utils.Bunch`
        With the fields

        * ``data``, float32 of shape (n_clouds, n_points, 3), as stored; a list of arrays if
          the clouds differ in their number of points;
        * ``images``, list of str, or list of uint8 arrays (height, width, 3) in the order red,
          green, blue, or None;
        * ``texts``, list of str, one for each cloud;
        * ``target``, int64 of shape (n_clouds,), the category, an index into ``target_names``,
          its texts in the order of the synsets;
        * ``split``, str of shape (n_clouds,), ``"train"`` or ``"test"``;
        * ``synsets``, list of str, one for each category; ``filenames``; ``DESCR``.

    Raises
    ------
    OSError
        If a file of the layout is missing; it says which, and how to obtain the data.
    FileFormatError
        If a file is damaged or does not fit the others.

    References
    ----------
    .. [1] Z. Qi et al., "Contrast with reconstruct: contrastive 3D representation learning
       guided by generative pretraining", ICML 2023.

    Examples
    --------
    >>> import json, pathlib, tempfile
    >>> import numpy as np
    >>> from pointinteract.datasets import read_shapenet55
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "train.txt").write_text("02691156-a.npy\\n02747177-b.npy\\n")
    >>> (folder / "shapenet_pc").mkdir()
    >>> for name in ("02691156-a", "02747177-b"):
    ...     np.save(folder / "shapenet_pc" / f"{name}.npy", np.ones((50, 3)))
    >>> texts = [{"catalogue": 2691156, "describe": "airplane"},
    ...          {"catalogue": 2747177, "describe": "trash bin"}]
    >>> _ = (folder / "shapenet55.json").write_text(json.dumps(texts))
    >>> clouds = read_shapenet55(folder, n_points=32, images=None, verbose=False)
    >>> clouds.data.shape, clouds.texts
    ((2, 32, 3), ['airplane', 'trash bin'])
    """
    splits = check_choice(subset, n_points, sampling)
    check_real("ratio", ratio, maximum=1.0, open_minimum=True)
    check_option("images", images, IMAGES)
    folder = Path(folder)
    by_synset = _read_texts(_find(folder, "shapenet55.json"))
    synsets = sorted(by_synset)
    entries: list[tuple[str, str]] = []
    which: list[str] = []
    for split in ("train", "test"):
        if split in splits:
            found = _read_list(_find(folder, f"{split}.txt"), by_synset, ratio)
            entries += found
            which += [split] * len(found)
    choose = PointChoice(n_points, sampling, random_state)
    points_of = _find(folder, "shapenet_pc")
    files = [points_of / f"{stem}.npy" for _, stem in entries]
    pictures = None
    if images is not None:
        pictures_of = _find(folder, "shapenet_img")
        pictures = [pictures_of / f"{stem}.png" for _, stem in entries]
    _check_all_there([*files, *(pictures or [])])

    clouds: list[np.ndarray] = []
    with progress_bar("ShapeNet55", len(files), verbose=verbose) as told:
        for path in files:
            clouds.append(choose(path, check_points(path, read_npy(path))[:, :3]))
            told(1)
    shown: list[str] | list[np.ndarray] | None = None
    if pictures is not None:
        shown = [str(path) for path in pictures]
        if images == "arrays":
            shown = [_read_picture(path) for path in pictures]
    names = [by_synset[synset] for synset in synsets]
    return make_bunch(
        stack_clouds(clouds),
        np.array([synsets.index(synset) for synset, _ in entries], np.int64),
        names,
        description=SHAPENET55.describe(
            f"{len(clouds)} clouds: subset {subset!r}, leading share {ratio:g} of the list."
        ),
        extra={
            "images": shown,
            "texts": [by_synset[synset] for synset, _ in entries],
            "split": np.array(which),
            "synsets": synsets,
            "filenames": [str(path) for path in files],
        },
        return_X_y=return_X_y,
    )


def _find(folder: Path, name: str) -> Path:
    """A file or folder of the layout, in the folder or one step further in."""
    for place in (folder, folder / "ShapeNet-55", folder / SHAPENET55.content,
                  folder / SHAPENET55.content / "ShapeNet-55"):  # fmt: skip
        if (place / name).exists():
            return place / name
    raise OSError(
        f"{name} is not in {folder}. ShapeNet is handed out on registration at {SHAPENET55.url}; "
        "the clouds and lists come with the code of PoinTr and Point-BERT, the pictures and "
        "shapenet55.json with that of ReCon."
    )


def _read_texts(path: Path) -> dict[str, str]:
    """Synset numbers of eight digits to texts."""
    right = "records with 'catalogue', a synset as a number, and 'describe', a text"
    try:
        records = json.loads(check_exists(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise bad_file(path, f"it is no valid JSON ({error})", right) from error
    if isinstance(records, dict) and {"catalogue", "describe"} <= set(records):
        # A table is also written column by column.
        columns = [records[name] for name in ("catalogue", "describe")]
        if not all(isinstance(column, dict) for column in columns):
            raise bad_file(path, "its columns are no objects", right)
        numbers, texts = columns
        records = [{"catalogue": numbers[k], "describe": texts.get(k)} for k in numbers]
    by_synset = {}
    for record in records if isinstance(records, list) else [None]:
        number = record.get("catalogue") if isinstance(record, dict) else None
        text = record.get("describe") if isinstance(record, dict) else None
        digits = str(number).zfill(8) if isinstance(number, int | str) else ""
        if not (re.fullmatch(r"\d{8}", digits) and isinstance(text, str)):
            raise bad_file(path, f"it has the record {record!r:.80}", right)
        by_synset[digits] = text
    return by_synset


def _read_list(path: Path, known: dict[str, str], ratio: float) -> list[tuple[str, str]]:
    """Synset and name without suffix of the leading share of the entries."""
    lines = read_lines(path)
    entries = []
    for line in lines[: max(1, int(len(lines) * ratio))]:
        match = ENTRY.fullmatch(line)
        if match is None:
            raise bad_file(path, f"it has the line {line!r:.80}", "'synset-model.npy' a line")
        if match[1] not in known:
            raise bad_file(path, f"{line!r:.80} is of no category", f"one of {len(known)} synsets")
        entries.append((match[1], line.removesuffix(".npy")))
    return entries


def _check_all_there(paths: list[Path]) -> None:
    """Say at once what is missing, before thousands of files are read."""
    there = {path.parent: set(os.listdir(path.parent)) for path in paths}
    missing = [path for path in paths if path.name not in there[path.parent]]
    if missing:
        raise OSError(
            f"{len(missing)} of {len(paths)} files are missing, the first {missing[0]}. The lists "
            "must be those that came with the files: some shapes have no picture, and the lists "
            "of ReCon leave them out."
        )


def _read_picture(path: Path) -> np.ndarray:
    pillow = import_optional("PIL.Image", extra="plot", purpose="reading picture files")
    try:
        with pillow.open(path) as picture:
            return np.array(picture.convert("RGB"))
    except (OSError, ValueError, SyntaxError, pillow.DecompressionBombError) as error:
        raise bad_file(path, f"it is no readable picture ({error})", "a png file") from error
