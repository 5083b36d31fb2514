"""ShapeNet55: clouds, pictures and texts that belong together."""

import json

import numpy as np
import pytest

from pointinteract.datasets import read_shapenet55
from pointinteract.exceptions import FileFormatError

TEXTS = {"02691156": "airplane", "02747177": "trash bin", "03001627": "chair"}
TRAIN = ["03001627-c1", "02691156-a1", "03001627-c2", "02747177-b1"]
TEST = ["02691156-a2"]


@pytest.fixture
def folder(tmp_path):
    """Each cloud's and picture's numbers are its place in the list."""
    pictures = pytest.importorskip("PIL.Image")
    for name in ("shapenet_pc", "shapenet_img", "ShapeNet-55"):
        (tmp_path / name).mkdir()
    for name, stems in (("train", TRAIN), ("test", TEST)):
        listed = "".join(f"{stem}.npy\n" for stem in stems)
        (tmp_path / "ShapeNet-55" / f"{name}.txt").write_text(listed)
    for number, stem in enumerate(TRAIN + TEST):
        cloud = np.full((20, 3), number, np.float32)
        cloud[:, 0] = np.arange(20)
        np.save(tmp_path / "shapenet_pc" / f"{stem}.npy", cloud)
        color = np.full((4, 6, 3), [number, 0, 200], np.uint8)
        pictures.fromarray(color).save(tmp_path / "shapenet_img" / f"{stem}.png")
    records = [{"catalogue": int(key), "describe": text} for key, text in TEXTS.items()]
    (tmp_path / "shapenet55.json").write_text(json.dumps(records))
    return tmp_path


def read(folder, **options):
    return read_shapenet55(folder, **({"n_points": 8, "verbose": False} | options))


def test_clouds_pictures_and_texts_belong_together(folder):
    clouds = read(folder, subset="all", images="arrays")

    assert clouds.data.shape == (5, 8, 3) and clouds.data.dtype == np.float32
    assert clouds.data[:, 0, 1].tolist() == [0, 1, 2, 3, 4]
    assert [picture[0, 0].tolist() for picture in clouds.images] == [
        [number, 0, 200] for number in range(5)
    ]
    assert clouds.images[0].shape == (4, 6, 3) and clouds.images[0].dtype == np.uint8
    assert clouds.texts == ["chair", "airplane", "chair", "trash bin", "airplane"]
    assert [clouds.target_names[label] for label in clouds.target] == clouds.texts
    assert clouds.target_names == list(TEXTS.values()) and clouds.synsets == list(TEXTS)
    assert clouds.split.tolist() == ["train", "train", "train", "train", "test"]
    for word in ("not commercial", "Chang", "5 clouds"):
        assert word in clouds.DESCR


def test_pictures_are_named_or_left_out(folder):
    named = read(folder)
    for path in (folder / "shapenet_img").iterdir():
        path.unlink()

    assert [path.rsplit("/", 1)[-1] for path in named.images] == [f"{s}.png" for s in TRAIN]
    assert read(folder, images=None).images is None
    with pytest.raises(OSError, match="4 of 8 files are missing, the first .*c1.png"):
        read(folder)


def test_ratio_takes_the_leading_share(folder):
    half = read(folder, ratio=0.5)

    assert half.texts == ["chair", "airplane"] and len(read(folder, ratio=0.01).data) == 1
    for ratio in (0, 1.1):
        with pytest.raises(ValueError, match="ratio must be in"):
            read(folder, ratio=ratio)


def test_points_are_a_repeatable_choice_the_first_or_all(folder):
    some, again = read(folder, random_state=3), read(folder, random_state=3)
    first, whole = read(folder, sampling="first"), read(folder, n_points=None)

    np.testing.assert_array_equal(some.data, again.data)
    assert (some.data[0] != some.data[1]).any() and len(set(some.data[0, :, 0])) == 8
    assert first.data[0, :, 0].tolist() == list(range(8)) and whole.data.shape == (4, 20, 3)
    X, y = read(folder, return_X_y=True)
    np.testing.assert_array_equal(X, read(folder).data)
    assert y.tolist() == [2, 0, 2, 1]


def test_clouds_of_differing_size_make_a_list(folder):
    np.save(folder / "shapenet_pc" / "03001627-c1.npy", np.ones((9, 3)))

    assert [len(cloud) for cloud in read(folder, n_points=None).data] == [9, 20, 20, 20]
    with pytest.raises(ValueError, match="n_points=12 is more than the 9 points of .*c1.npy"):
        read(folder, n_points=12)


def test_lists_and_texts_in_other_places_and_forms(folder):
    for name in ("train.txt", "test.txt"):
        (folder / "ShapeNet-55" / name).rename(folder / name)
    columns = {
        "catalogue": {str(i): int(key) for i, key in enumerate(TEXTS)},
        "describe": {str(i): text for i, text in enumerate(TEXTS.values())},
    }
    (folder / "shapenet55.json").write_text(json.dumps(columns))

    assert read(folder).texts == ["chair", "airplane", "chair", "trash bin"]


def test_absence_says_how_to_obtain(tmp_path):
    with pytest.raises(OSError, match="shapenet55.json is not in .*registration at https://shap"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("ShapeNet-55/train.txt", b"../../etc/passwd\n", "it has the line"),
        ("ShapeNet-55/train.txt", b"03001627-../x.npy\n", "it has the line"),
        ("ShapeNet-55/train.txt", b"09999999-x.npy\n", "is of no category"),
        ("ShapeNet-55/train.txt", b"\xff\xfe", "not text"),
        ("shapenet55.json", b"[", "no valid JSON"),
        ("shapenet55.json", b"7", "it has the record None"),
        ("shapenet55.json", b'[{"catalogue": "x", "describe": "y"}]', "it has the record"),
        ("shapenet55.json", b'{"catalogue": 1, "describe": 2}', "columns are no objects"),
        ("shapenet_pc/03001627-c1.npy", b"\x93NUMPY\x01\x00", "no valid npy header"),
        ("shapenet_pc/03001627-c1.npy", b"\x80\x04]", "never loaded"),
        ("shapenet_img/03001627-c1.png", b"\x89PNG", "no readable picture"),
    ],
)
def test_wrong_content_is_named(folder, name, content, word):
    (folder / name).write_bytes(content)

    with pytest.raises(FileFormatError, match=word):
        read(folder, images="arrays")


def test_a_cloud_of_the_wrong_shape_is_named(folder):
    np.save(folder / "shapenet_pc" / "02691156-a1.npy", np.ones((20, 2)))

    with pytest.raises(FileFormatError, match=r"a1.npy: points have shape \(20, 2\)"):
        read(folder)
