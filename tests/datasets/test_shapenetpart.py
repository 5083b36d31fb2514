"""ShapeNetPart, from a server on this machine."""

import dataclasses
import io
import json
import zipfile

import numpy as np
import pytest

from pointinteract.datasets import _shapenetpart, fetch_shapenetpart
from pointinteract.exceptions import FileFormatError
from tests.datasets._server import serve

QUIET = {"n_retries": 0, "delay": 0.0, "verbose": False}
NAME = "shapenetcore_partanno_segmentation_benchmark_v0_normal"
SYNSETS = {"Airplane": "02691156", "Chair": "03001627", "Table": "04379243"}
# split, category, model, number of points, parts in turn
MODELS = [
    ("train", "Chair", "c1", 10, [12, 13]),
    ("train", "Airplane", "a1", 8, [0, 3]),
    ("val", "Table", "t1", 6, [49]),
    ("test", "Chair", "c2", 12, [15]),
]


def layout():
    files = {"synsetoffset2category.txt": "\n".join(f"{k}\t{v}" for k, v in SYNSETS.items())}
    for split in ("train", "val", "test"):
        listed = [
            f"shape_data/{SYNSETS[category]}/{model}"
            for where, category, model, *_ in MODELS
            if where == split
        ]
        files[f"train_test_split/shuffled_{split}_file_list.json"] = json.dumps(listed)
    for _, category, model, count, parts in MODELS:
        rows = [f"{k}.0 {len(model)} 0.5 0 0 1 {parts[k % len(parts)]:.6f}" for k in range(count)]
        files[f"{SYNSETS[category]}/{model}.txt"] = "\n".join(rows) + "\n"
    return files


@pytest.fixture
def site(monkeypatch):
    with serve() as site:
        record = dataclasses.replace(
            _shapenetpart.SHAPENETPART, url=f"{site.url}/{NAME}.zip", max_bytes=10**6
        )
        monkeypatch.setattr(_shapenetpart, "SHAPENETPART", record)
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, content in layout().items():
                archive.writestr(f"{NAME}/{name}", content)
        site.files[f"/{NAME}.zip"] = buffer.getvalue()
        yield site


@pytest.fixture
def folder(tmp_path):
    home = tmp_path / "shapenetpart" / NAME
    for name, content in layout().items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(content)
    return home


def test_all_splits_are_downloaded_and_read(site, tmp_path):
    site.cut_after = [900]

    clouds = fetch_shapenetpart(data_home=tmp_path, **(QUIET | {"n_retries": 1}))

    assert [asked for _, asked in site.asked] == [None, "bytes=900-"]
    assert [len(cloud) for cloud in clouds.data] == [10, 8, 6, 12]
    assert clouds.split.tolist() == ["train", "train", "val", "test"]
    assert [clouds.target_names[label] for label in clouds.target] == [
        "Chair", "Airplane", "Table", "Chair",
    ]  # fmt: skip
    assert clouds.parts[0].tolist() == [12, 13] * 5 and clouds.parts[3].tolist() == [15] * 12
    assert clouds.parts[0].dtype == np.int64 and clouds.data[0].dtype == np.float32
    assert clouds.data[1][:, 0].tolist() == list(range(8))
    assert all((normals == [0, 0, 1]).all() for normals in clouds.normals)
    for word in ("ShapeNet", "not commercial", "Yi", site.url, "4 clouds"):
        assert word in clouds.DESCR


def test_parts_are_those_of_the_published_numbering(folder, tmp_path):
    clouds = fetch_shapenetpart(data_home=tmp_path, **QUIET)

    assert len(clouds.category_parts) == 16 and len(clouds.part_names) == 50
    assert clouds.category_parts["Airplane"] == [0, 1, 2, 3]
    assert clouds.category_parts["Earphone"] == [16, 17, 18]
    assert clouds.category_parts["Motorbike"] == [30, 31, 32, 33, 34, 35]
    assert clouds.category_parts["Rocket"] == [41, 42, 43]
    assert clouds.category_parts["Table"] == [47, 48, 49]
    assert clouds.part_names[30] == "Motorbike part 1" and clouds.part_names[49] == "Table part 3"


def test_subsets_categories_and_pair(folder, tmp_path):
    both = fetch_shapenetpart(data_home=tmp_path, subset="trainval", **QUIET)
    chairs = fetch_shapenetpart(data_home=tmp_path, categories=["Chair"], **QUIET)
    X, y = fetch_shapenetpart(data_home=tmp_path, subset="val", return_X_y=True, **QUIET)

    assert both.split.tolist() == ["train", "train", "val"]
    assert chairs.split.tolist() == ["train", "test"] and set(chairs.target) == {4}
    assert len(X) == 1 and X[0].shape == (6, 3) and y[0].tolist() == [49] * 6
    for wrong in ("Chair", []):
        with pytest.raises(ValueError, match="None or a list of one or more names, got"):
            fetch_shapenetpart(data_home=tmp_path, categories=wrong, **QUIET)
    with pytest.raises(ValueError, match=r"categories \['Dog'\] are not in ShapeNetPart"):
        fetch_shapenetpart(data_home=tmp_path, categories=["Dog"], **QUIET)


def test_a_number_of_points_is_drawn_without_repeating_if_there_are_enough(folder, tmp_path):
    clouds = fetch_shapenetpart(data_home=tmp_path, n_points=7, **QUIET)
    again = fetch_shapenetpart(data_home=tmp_path, n_points=7, **QUIET)

    assert [cloud.shape for cloud in clouds.data] == [(7, 3)] * 4
    assert [len(set(cloud[:, 0])) for cloud in clouds.data] == [7, 7, 6, 7]
    for points, parts, same in zip(clouds.data, clouds.parts, again.data, strict=True):
        np.testing.assert_array_equal(points, same)
        assert len(parts) == 7
    rows = clouds.data[0][:, 0].astype(int)
    np.testing.assert_array_equal(clouds.parts[0], 12 + rows % 2)


def test_absence_says_where_it_looked(site, tmp_path):
    with pytest.raises(OSError, match=f"Looked for the folder {tmp_path}/shapenetpart/{NAME}"):
        fetch_shapenetpart(data_home=tmp_path, download_if_missing=False)
    assert site.asked == []


TEST_LIST = "train_test_split/shuffled_test_file_list.json"


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("03001627/c2.txt", "0 0 0 0 0 1 16\n", "of part 16. Expected parts .12, 13, 14, 15"),
        ("03001627/c2.txt", "0 0 0 0 0 1 12.5\n", "of part 12.5"),
        ("03001627/c2.txt", "0 0 0 12\n", "4 columns"),
        ("03001627/c2.txt", "0 0 0 0 0 1 nan\n", "NaN"),
        ("03001627/c2.txt", "", "empty"),
        (TEST_LIST, '["shape_data/03001627/../../../etc"]', "it has the entry"),
        (TEST_LIST, '["shape_data/09999999/c2"]', "it has the entry"),
        (TEST_LIST, '["shape_data/03001627/c2"', "no valid JSON"),
        (TEST_LIST, '{"a": 1}', "holds a dict"),
        ("synsetoffset2category.txt", "Dog 03001627\n", "it has the line 'Dog"),
        ("synsetoffset2category.txt", "Chair ../up\n", "it has the line 'Chair"),
    ],
)
def test_wrong_content_is_named(folder, tmp_path, name, content, word):
    (folder / name).write_text(content)

    with pytest.raises(FileFormatError, match=word):
        fetch_shapenetpart(data_home=tmp_path, subset="test", **QUIET)


def test_a_listed_file_that_is_missing_is_named(folder, tmp_path):
    (folder / "03001627" / "c2.txt").unlink()

    with pytest.raises(FileNotFoundError, match="c2.txt does not exist"):
        fetch_shapenetpart(data_home=tmp_path, subset="test", **QUIET)
