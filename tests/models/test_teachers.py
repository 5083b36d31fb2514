"""Teachers turn whatever they take into vectors, the same ones every time."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from torch import nn

from pointinteract.exceptions import CheckpointError, CloudError
from pointinteract.models.teachers import (
    ArrayTeacher,
    DepthDescriptorTeacher,
    ModuleTeacher,
    RenderingTeacher,
    Teacher,
    TextEncoder,
    TransformersTeacher,
    as_pictures,
    resolve_teacher,
)


def boxes_and_balls(n_clouds: int = 24, n_points: int = 96, seed: int = 0) -> np.ndarray:
    """Surfaces of boxes (even rows) and ellipsoids (odd rows) of random proportions."""
    generator = np.random.default_rng(seed)
    points = generator.normal(size=(n_clouds, n_points, 3))
    balls = points / np.linalg.norm(points, axis=2, keepdims=True)
    boxes = points / np.abs(points).max(axis=2, keepdims=True)
    clouds = np.where(np.arange(n_clouds)[:, None, None] % 2 == 0, boxes, balls)
    return (clouds * generator.uniform(0.6, 1.4, (n_clouds, 1, 3))).astype(np.float32)


# --- the depth descriptor -------------------------------------------------------------------


def test_depth_descriptor_separates_shapes_of_new_clouds():
    train, new = boxes_and_balls(), boxes_and_balls(seed=1)

    teacher = DepthDescriptorTeacher(n_components=8).fit(train)
    features = teacher.encode(new)

    # Nearest centroid of the training features, whose kinds alternate.
    kinds = np.arange(24) % 2
    known = teacher.encode(train)
    centroids = np.stack([known[kinds == k].mean(axis=0) for k in (0, 1)])
    nearest = np.linalg.norm(features[:, None] - centroids, axis=2).argmin(axis=1)
    assert features.shape == (24, 8) and features.dtype == np.float32
    assert np.mean(nearest == kinds) >= 0.9


@pytest.mark.parametrize("whiten", [0.0, 0.5, 1.0])
def test_depth_descriptor_features_have_unit_variance_on_average(whiten):
    clouds = boxes_and_balls()

    teacher = DepthDescriptorTeacher(n_components=6, whiten=whiten).fit(clouds)

    variances = teacher.encode(clouds).var(axis=0)
    assert variances.mean() == pytest.approx(1.0, rel=1e-3)
    assert np.all(np.diff(variances) <= 1e-3)
    assert np.allclose(variances, 1.0, atol=1e-3) == (whiten == 1.0)


def test_depth_descriptor_ignores_point_order_place_and_size():
    clouds = boxes_and_balls()
    moved = clouds[:, ::-1] * 3.0 + np.float32([5.0, -2.0, 1.0])
    teacher = DepthDescriptorTeacher(n_components=6).fit(clouds)

    # A point on the border of two pixels may fall into the other one after moving.
    close = np.isclose(teacher.encode(clouds), teacher.encode(moved), atol=0.3)
    assert close.mean() > 0.95
    assert np.allclose(teacher.encode(clouds), teacher.encode(clouds[:, ::-1]), atol=1e-5)


def test_depth_descriptor_encodes_each_cloud_as_if_alone():
    clouds = list(boxes_and_balls())
    clouds[1], clouds[4], clouds[5] = clouds[1][:10], clouds[4][:1], clouds[5][:50]
    teacher = DepthDescriptorTeacher(n_components=6).fit(clouds)

    together = teacher.encode(clouds)

    alone = np.concatenate([teacher.encode([cloud]) for cloud in clouds])
    assert np.isfinite(together).all()
    assert np.allclose(together, alone, atol=1e-4)


def test_depth_descriptor_of_a_y_up_cloud_is_that_of_the_z_up_one():
    clouds = boxes_and_balls()
    z_up = DepthDescriptorTeacher(n_components=6).describe(clouds)

    y_up = DepthDescriptorTeacher(n_components=6, up="y").describe(clouds[:, :, [1, 2, 0]])

    assert np.isclose(z_up, y_up, atol=1e-3).mean() > 0.98


def test_depth_descriptor_repeats_and_pickles_to_the_last_bit():
    clouds = boxes_and_balls()

    first = DepthDescriptorTeacher(n_components=6).fit(clouds)
    second = DepthDescriptorTeacher(n_components=6).fit(clouds)
    copied = pickle.loads(pickle.dumps(first))

    assert np.array_equal(first.encode(clouds), second.encode(clouds))
    assert np.array_equal(first.encode(clouds), copied.encode(clouds))


def test_depth_descriptor_has_fewer_features_than_it_has_clouds():
    clouds = boxes_and_balls(n_clouds=5)

    teacher = DepthDescriptorTeacher(n_components=64).fit(clouds)

    assert teacher.feature_dim == 4
    assert teacher.encode(clouds).shape == (5, 4)


def test_depth_descriptor_of_equal_clouds_is_finite():
    clouds = np.repeat(boxes_and_balls(n_clouds=1), 3, axis=0)

    features = DepthDescriptorTeacher().fit(clouds).encode(clouds)

    assert np.isfinite(features).all()


def test_depth_descriptor_looks_at_no_more_clouds_and_points_than_allowed():
    clouds = boxes_and_balls()
    few = DepthDescriptorTeacher(n_components=4, max_fit_clouds=6, max_points=48)

    few.fit(clouds)

    expected = DepthDescriptorTeacher(n_components=4).fit(clouds[::4, ::2])
    assert np.array_equal(few.mean_, expected.mean_)


def test_depth_descriptor_refuses_what_it_cannot_use():
    clouds = boxes_and_balls(n_clouds=4)
    broken = clouds.copy()
    broken[2, 3, 1] = np.nan

    with pytest.raises(NotFittedError, match="call fit"):
        DepthDescriptorTeacher().encode(clouds)
    with pytest.raises(CloudError, match="At least 2 clouds"):
        DepthDescriptorTeacher().fit(clouds[:1])
    with pytest.raises(CloudError, match="NaN or infinity"):
        DepthDescriptorTeacher().fit(broken)
    with pytest.raises(CloudError, match=r"\(n_points, 3\), got shape \(96, 2\)"):
        DepthDescriptorTeacher().fit(clouds[..., :2])
    with pytest.raises(ValueError, match="multiple of 4"):
        DepthDescriptorTeacher(size=30)


@pytest.mark.slow
def test_depth_descriptor_tells_real_furniture_apart(shared):
    from sklearn.model_selection import cross_val_score
    from sklearn.svm import LinearSVC

    with np.load(shared / "data" / "modelnet10_small.npz") as data:
        train = data["split"] == 0
        clouds, labels = data["points"][train] * data["quant_scale"], data["label"][train]

    features = DepthDescriptorTeacher(n_components=64).fit(clouds).encode(clouds)

    assert cross_val_score(LinearSVC(C=0.01), features, labels, cv=3).mean() > 0.85


# --- texts ----------------------------------------------------------------------------------


def test_text_encoder_puts_similar_captions_closer():
    round_table, square_table, airplane = TextEncoder().encode(
        [
            "a round table with one central leg",
            "a square table with four legs",
            "an airplane with swept wings",
        ]
    )

    assert round_table @ square_table > 2 * max(round_table @ airplane, 0.0) + 20


def test_text_encoder_sees_through_endings_case_and_punctuation():
    a, b, c, d = TextEncoder().encode(["A chair, red.", "a chair red", "red chairs", "blue lamps"])

    assert np.array_equal(a, b)
    assert a @ c > 3 * abs(a @ d)


def test_text_encoder_is_the_same_on_every_machine():
    vector = TextEncoder(16).encode(["a red chair"])[0]

    # Recorded once; a change here makes saved pre-trainings disagree with new ones.
    assert np.allclose(vector[:4], [0.83, 0.248, 0.749, 1.697], atol=1e-3)
    assert np.square(vector).mean() == pytest.approx(1.0)


def test_text_encoder_gives_zeros_for_empty_text_and_refuses_what_is_none():
    assert not TextEncoder().encode(["", " ?! "]).any()
    with pytest.raises(TypeError, match="number 1 is 3 "):
        TextEncoder().encode(["a", 3])
    with pytest.raises(TypeError, match="got one string"):
        TextEncoder().encode("a chair")


# --- what users bring -----------------------------------------------------------------------


def test_none_and_teachers_pass_through():
    teacher = TextEncoder()

    assert resolve_teacher(None) is None
    assert resolve_teacher(teacher, modality="text") is teacher


def test_built_in_names_make_built_in_teachers():
    assert isinstance(resolve_teacher("depth_descriptor"), DepthDescriptorTeacher)
    assert isinstance(resolve_teacher("hashed_ngrams", modality="text"), TextEncoder)


def test_ready_features_are_handed_back_row_by_row():
    features = np.arange(12.0).reshape(4, 3)

    teacher = resolve_teacher(features)

    assert isinstance(teacher, ArrayTeacher) and teacher.takes == "ready"
    assert teacher.feature_dim == 3
    assert np.array_equal(teacher.encode(range(4)), features.astype(np.float32))
    with pytest.raises(ValueError, match="4 rows for 5 items"):
        teacher.encode(range(5))


def test_callable_is_called_in_batches():
    sizes = []

    def count_letters(texts):
        sizes.append(len(texts))
        return [[len(text), text.count("a")] for text in texts]

    teacher = resolve_teacher(count_letters, modality="text", batch_size=2)

    assert teacher.encode(["a", "bb", "aba"]).tolist() == [[1, 1], [2, 0], [3, 2]]
    assert sizes == [2, 1]
    assert teacher.feature_dim == 2


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (np.zeros((3, 2)), "one row for each of the 2 items"),
        (np.zeros(2), "one row for each"),
        (np.array([["a"], ["b"]]), "numeric"),
        (np.full((2, 2), np.nan), "NaN"),
    ],
)
def test_wrong_answers_of_a_callable_are_named(answer, message):
    with pytest.raises(ValueError, match=message):
        resolve_teacher(lambda items: answer, modality="text").encode(["a", "b"])


def test_module_is_frozen_and_left_as_it_was():
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 5), nn.Dropout(0.9))
    module[2].eval()
    before = [m.training for m in module.modules()]
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3)).astype(np.uint8)

    teacher = resolve_teacher(module, batch_size=2)

    features = teacher.encode(images)
    assert isinstance(teacher, ModuleTeacher) and features.shape == (5, 5)
    pixels = torch.tensor(images).permute(0, 3, 1, 2).float() / 255
    assert np.allclose(features, module[:2](pixels).detach().numpy(), atol=1e-5)
    assert [m.training for m in module.modules()] == before
    assert all(p.grad is None for p in module.parameters())


def test_image_teacher_without_images_is_shown_depth_pictures():
    clouds = boxes_and_balls(n_clouds=20)
    seen = []

    def brightness(pictures):
        seen.append(pictures)
        return pictures.mean(axis=(1, 2))

    teacher = resolve_teacher(brightness, from_clouds=True)

    features = teacher.encode(list(clouds))
    assert isinstance(teacher, RenderingTeacher) and teacher.takes == "clouds"
    assert features.shape == (20, 3) and teacher.feature_dim == 3
    pictures = np.concatenate(seen)
    assert pictures.shape == (120, 112, 112, 3)
    # The mean over a cloud's own six views, in order.
    assert np.allclose(features[3], pictures[18:24].mean(axis=(0, 1, 2)), atol=1e-5)


@pytest.mark.parametrize(
    ("teacher", "modality", "error", "message"),
    [
        ("hashed_ngrams", "image", ValueError, "of modality 'text'"),
        ("depth_descriptor", "text", ValueError, "of modality 'image'"),
        (TextEncoder(), "image", ValueError, "takes texts and cannot be the image teacher"),
        (DepthDescriptorTeacher(), "text", ValueError, "takes clouds"),
        (TextEncoder, "text", TypeError, "must be an instance"),
        (3, "image", TypeError, r"got 3 \(int\)"),
        (None, "sound", ValueError, "modality must be one of"),
    ],
)
def test_unfit_teachers_are_named(teacher, modality, error, message):
    with pytest.raises(error, match=message):
        resolve_teacher(teacher, modality=modality)


def test_own_teacher_needs_only_encode():
    class Ones(Teacher):
        feature_dim = 2

        def encode(self, items):
            return np.ones((len(items), 2), dtype=np.float32)

    teacher = resolve_teacher(Ones())

    assert teacher.fit([1, 2]) is teacher
    assert teacher.encode([1, 2]).shape == (2, 2)


# --- pictures -------------------------------------------------------------------------------


def test_pictures_of_all_forms_become_one():
    gray = np.random.default_rng(0).integers(0, 256, (6, 6)).astype(np.uint8)
    color = np.repeat(gray[..., None], 3, axis=2)
    opaque = np.concatenate([color, np.full((6, 6, 1), 255, np.uint8)], axis=2)
    tensor = torch.tensor(gray / 255.0).expand(3, -1, -1)

    pictures = as_pictures([gray, color, color / 255.0, opaque, tensor, gray[..., None]])

    assert pictures.shape == (6, 3, 6, 6) and pictures.dtype == torch.float32
    assert torch.allclose(pictures, pictures[:1].expand(6, -1, -1, -1), atol=1e-6)


def test_picture_files_are_read(tmp_path):
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 256, (5, 4, 3)).astype(np.uint8)
    image.fromarray(pixels).save(tmp_path / "picture.png")

    pictures = as_pictures([tmp_path / "picture.png", str(tmp_path / "picture.png")])

    assert torch.equal(pictures[0], torch.tensor(pixels).permute(2, 0, 1).float() / 255)


def test_resizing_takes_the_middle_square_or_the_whole():
    picture = np.zeros((8, 16), np.float32)
    picture[:, 4:12] = 1.0

    assert as_pictures([picture], 4).shape == (1, 3, 4, 4)
    assert as_pictures([picture], 4).mean() > 0.95
    assert as_pictures([picture], (4, 4)).mean() == pytest.approx(0.5, abs=0.02)


def test_bad_pictures_are_named():
    with pytest.raises(ValueError, match="number 1 has shape"):
        as_pictures([np.zeros((4, 4)), np.zeros(4)])
    with pytest.raises(ValueError, match="goes from 0 to 255"):
        as_pictures([np.array([[0.0, 255.0]])])
    with pytest.raises(ValueError, match="of one size"):
        as_pictures([np.zeros((4, 4)), np.zeros((5, 5))])


# --- transformers ---------------------------------------------------------------------------


def make_vit(folder, *, pooling: bool) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=16,
        patch_size=8,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.ViTModel(config, add_pooling_layer=pooling).eval()
    model.save_pretrained(folder)
    return model


def test_clip_image_features_are_the_projected_embeddings(clip_folder):
    from transformers import CLIPModel

    images = np.random.default_rng(0).random((5, 16, 16, 3)).astype(np.float32)

    teacher = resolve_teacher(str(clip_folder), batch_size=2)
    features = teacher.encode(images)

    model = CLIPModel.from_pretrained(clip_folder).eval()
    pixels = (torch.tensor(images).permute(0, 3, 1, 2) - 0.5) / 0.25
    with torch.no_grad():
        pooled = model.vision_model(pixel_values=pixels).pooler_output
        expected = model.visual_projection(pooled).numpy()
    assert isinstance(teacher, TransformersTeacher) and teacher.feature_dim == 10
    assert np.allclose(features, expected, atol=1e-5)


def test_clip_text_features_do_not_depend_on_the_batch(clip_folder):
    from transformers import AutoTokenizer, CLIPModel

    texts = ["a chair", "lamp", "a very long caption that does not fit into the context"]

    features = resolve_teacher(clip_folder, modality="text").encode(texts)

    model = CLIPModel.from_pretrained(clip_folder).eval()
    tokens = AutoTokenizer.from_pretrained(clip_folder)("a chair", return_tensors="pt")
    with torch.no_grad():
        pooled = model.text_model(input_ids=tokens["input_ids"]).pooler_output
        expected = model.text_projection(pooled).numpy()
    assert features.shape == (3, 10)
    assert np.allclose(features[:1], expected, atol=1e-5)
    assert not np.allclose(features[0], features[1], atol=1e-3)


def test_one_string_is_not_read_letter_by_letter(clip_folder):
    teacher = resolve_teacher(str(clip_folder), modality="text")

    with pytest.raises(TypeError, match="expected a list of texts, got one string"):
        teacher.encode("chair")


def test_clip_is_shown_pictures_of_clouds_and_pickles_without_weights(clip_folder):
    clouds = boxes_and_balls(n_clouds=3)
    teacher = resolve_teacher(clip_folder, from_clouds=True)

    features = teacher.encode(clouds)

    pickled = pickle.dumps(teacher)
    assert features.shape == (3, 10)
    assert len(pickled) < 5000
    assert np.array_equal(pickle.loads(pickled).encode(clouds), features)


def test_vit_feature_is_pooled_if_it_can_be_and_else_the_class_token(tmp_path):
    image = np.random.default_rng(0).random((1, 16, 16, 3)).astype(np.float32)
    pixels = (torch.tensor(image).permute(0, 3, 1, 2) - 0.5) / 0.5

    for pooling in (True, False):
        folder = tmp_path / str(pooling)
        model = make_vit(folder, pooling=pooling)
        with torch.no_grad():
            output = model(pixel_values=pixels)
        expected = output.pooler_output if pooling else output.last_hidden_state[:, 0]

        features = resolve_teacher(folder).encode(image)

        assert np.allclose(features, expected.numpy(), atol=1e-5)


def test_pickled_weights_are_never_opened(tmp_path):
    make_vit(tmp_path, pooling=True)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")

    with pytest.raises(CheckpointError, match="pickled weights are never opened"):
        resolve_teacher(tmp_path).encode(np.zeros((1, 16, 16, 3)))


def test_partly_random_model_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    make_vit(tmp_path, pooling=True)
    state = load_file(tmp_path / "model.safetensors")
    removed = next(name for name in state if name.endswith("layernorm.weight"))
    del state[removed]
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(CheckpointError, match="lacks 1 weights"):
        resolve_teacher(tmp_path).encode(np.zeros((1, 16, 16, 3)))


def test_missing_folder_is_not_looked_for_on_the_network(tmp_path):
    pytest.importorskip("transformers")

    with pytest.raises(FileNotFoundError, match="nowhere"):
        resolve_teacher(tmp_path / "nowhere").encode(np.zeros((1, 16, 16, 3)))
