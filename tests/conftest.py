"""Options and fixtures that every test may use."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

SHARED_VARIABLE = "POINTINTERACT_SHARED"
ROOT = Path(__file__).resolve().parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("pointinteract")
    group.addoption("--device", default="cpu", help="device of the tests that move: cpu or cuda")
    group.addoption("--slow", action="store_true", help="also run the tests marked slow")
    group.addoption(
        "--update-public-surface",
        action="store_true",
        help="write the current public names and signatures to tests/public_surface.txt",
    )


def pytest_configure(config: pytest.Config) -> None:
    # Threads that fight for a core cost more than they bring on shapes as small as ours, and
    # an outer runner (pytest-xdist) already fills the cores.
    threads = 1 if "PYTEST_XDIST_WORKER" in os.environ else min(2, os.cpu_count() or 1)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", threads)))
    # Drawing happens into files, never on a screen. The variable, and not matplotlib.use, so
    # that nothing is imported which a test may want to see absent.
    os.environ.setdefault("MPLBACKEND", "Agg")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    skip_slow = pytest.mark.skip(reason="marked slow; run with --slow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip_slow)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with specifications, golden numbers and data that lies beside the repository."""
    folder = Path(os.environ.get(SHARED_VARIABLE, ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no folder {folder}; name it in the variable {SHARED_VARIABLE}")
    return folder


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> torch.device:
    """The device named by --device; its tests are skipped where the machine has none."""
    device = torch.device(request.config.getoption("--device"))
    if device.type == "cuda" and not torch.cuda.is_available():
        pytest.skip("--device cuda was asked for, and this machine has no CUDA device")
    return device


@pytest.fixture
def clouds() -> np.ndarray:
    """8 clouds of 64 points in two kinds, flat and ball-shaped: (8, 64, 3), float32."""
    generator = np.random.default_rng(0)
    points = generator.normal(size=(8, 64, 3))
    points[::2, :, 2] *= 0.1
    return points.astype(np.float32)


@pytest.fixture
def labels() -> np.ndarray:
    """The kind of each of `clouds`, as the strings that users have: (8,)."""
    return np.array(["flat", "ball"] * 4)


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory):
    """A tiny CLIP with random weights, a tokenizer of letters and its preprocessing."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("clip")
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    words = letters + [f"{x}</w>" for x in letters] + ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: i for i, word in enumerate(words)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "CLIPTokenizer", "model_max_length": 12})
    )
    (folder / "preprocessor_config.json").write_text(
        json.dumps(
            {"size": {"shortest_edge": 16}, "image_mean": [0.5] * 3, "image_std": [0.25] * 3}
        )
    )
    layers = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    layers["num_attention_heads"] = 2
    config = transformers.CLIPConfig(
        text_config={
            **layers,
            "vocab_size": len(words),
            "max_position_embeddings": 12,
            "bos_token_id": vocabulary["<|startoftext|>"],
            "eos_token_id": vocabulary["<|endoftext|>"],
            "pad_token_id": vocabulary["<|endoftext|>"],
        },
        vision_config={**layers, "image_size": 16, "patch_size": 8},
        projection_dim=10,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.CLIPModel(config).save_pretrained(folder)
    return folder
