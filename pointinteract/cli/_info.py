"""``pointinteract info``: what is installed, and what is in a file."""

import os
import platform
from argparse import Namespace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from pointinteract import persistence
from pointinteract._version import __version__
from pointinteract.cli._console import Console, planned_epochs
from pointinteract.cli._data import CloudSet, read_clouds
from pointinteract.exceptions import FileFormatError
from pointinteract.explanation import Explanation
from pointinteract.utils._archive import read_archive

REQUIREMENTS = ("torch", "scikit-learn", "numpy", "scipy", "pandas", "joblib")
# What stands for each extra.
EXTRAS = {
    "io": ("h5py",),
    "plot": ("matplotlib", "plotly"),
    "progress": ("rich",),
    "teachers": ("transformers",),
    "share": ("safetensors",),
    "fast": ("numba",),
    "export": ("onnx", "onnxscript"),
}
N_NAMES = 12


def run_info(args: Namespace, console: Console) -> int:
    """``pointinteract info``."""
    rows = describe_installation() if args.file is None else describe_file(Path(args.file))
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        console.say(f"{name:<{width}}  {text}")
    return 0


def describe_installation() -> list[tuple[str, str]]:
    """Versions, device, models, official systems and extras."""
    import torch

    from pointinteract.models import list_models, list_official

    extras = [
        f"{extra} ({', '.join(f'{name} {version_of(name) or chr(45)}' for name in names)})"
        for extra, names in EXTRAS.items()
    ]
    return [
        ("pointinteract", __version__),
        ("python", f"{platform.python_version()} on {platform.platform()}"),
        *((name, version_of(name) or "not found") for name in REQUIREMENTS),
        ("device", describe_device(torch)),
        ("models", ", ".join(list_models())),
        ("official", ", ".join(list_official())),
        ("extras", "; ".join(extras)),
    ]


def describe_device(torch: Any) -> str:
    """The device that ``auto`` takes, and how many threads torch uses."""
    if torch.cuda.is_available():
        return f"cuda ({torch.cuda.get_device_name(0)})"
    return f"cpu ({torch.get_num_threads()} of {os.cpu_count()} cores used)"


def version_of(name: str) -> str | None:
    """Installed version of a distribution, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def describe_file(path: Path) -> list[tuple[str, str]]:
    """What is in a file that this package wrote, or can read."""
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist (looked from {Path.cwd()}).")
    if path.is_file():
        try:
            document, _ = read_archive(path)
        except FileFormatError:
            document = {}
        if "explanation" in str(document.get("format")):
            return describe_explanation(Explanation.load(path))
        if document:
            return describe_estimator(persistence.load(path), document)
    return describe_clouds(read_clouds(str(path), labeled=False))


def describe_estimator(estimator: Any, document: dict[str, Any]) -> list[tuple[str, str]]:
    """Kind, sizes, training and parameters that differ from the defaults."""
    rows = [("holds", type(estimator).__name__)]
    versions = document.get("versions")
    if isinstance(versions, dict):
        rows.append(("saved by", ", ".join(f"{name} {text}" for name, text in versions.items())))
    if not hasattr(estimator, "module_"):
        return [*rows, ("fitted", "no")]
    n_numbers = sum(p.numel() for p in estimator.module_.parameters())
    rows.append(("network", f"{type(estimator.module_).__name__}, {n_numbers:,} parameters"))
    rows.append(("trained", f"{estimator.n_epochs_} of {planned_epochs(estimator)} epochs"))
    if hasattr(estimator, "history_"):
        last = estimator.history_.iloc[-1]
        shown = [f"{name} {last[name]:.4g}" for name in last.index]
        rows.append(("last epoch", ", ".join(shown)))
    if hasattr(estimator, "classes_"):
        rows.append(("classes", list_names(estimator.classes_)))
    default = type(estimator)().get_params(deep=False)
    changed = {
        name: value
        for name, value in estimator.get_params(deep=False).items()
        if not isinstance(value, np.ndarray) and repr(value) != repr(default[name])
    }
    text = ", ".join(f"{name}={value!r:.60}" for name, value in changed.items())
    return [*rows, ("parameters", text or "all as by default")]


def describe_explanation(explanation: Explanation) -> list[tuple[str, str]]:
    """Clouds, regions, score, and how many answers were right."""
    rows = [
        ("holds", repr(explanation)),
        ("clouds", str(explanation.n_clouds)),
        ("regions", f"{explanation.n_regions}, so {2**explanation.n_regions} masked clouds each"),
    ]
    if explanation.correct is not None:
        right = int(explanation.correct.sum())
        rows.append(("model right", f"on {right} of {explanation.n_clouds} clouds"))
    return rows


def describe_clouds(data: CloudSet) -> list[tuple[str, str]]:
    """Number and size of clouds, classes and splits."""
    lengths = np.array([len(cloud) for cloud in data.clouds])
    points = f"{lengths.min()}" if lengths.min() == lengths.max() else (
        f"{lengths.min()} to {lengths.max()}, median {int(np.median(lengths))}"
    )
    spans = np.array([np.ptp(cloud[:, :3], axis=0).max() for cloud in data.clouds])
    rows = [
        ("holds", f"{len(data)} clouds"),
        ("points", points),
        ("extent", f"{spans.min():.3g} to {spans.max():.3g} (longest side of a cloud)"),
    ]
    if data.labels is None:
        return [*rows, ("labels", "none")]
    names, counts = np.unique(data.labels, return_counts=True)
    rows.append((f"{len(names)} classes", list_names(
        [f"{name} ({count})" for name, count in zip(names, counts, strict=True)]
    )))
    if data.split is not None:
        split, counts = np.unique(data.split, return_counts=True)
        text = ", ".join(f"{name} ({count})" for name, count in zip(split, counts, strict=True))
        rows.append(("splits", text))
    return rows


def list_names(names: Any) -> str:
    """Names in a row, the first dozen if there are more."""
    texts = [str(name) for name in names]
    more = f", ... {len(texts) - N_NAMES} more" if len(texts) > N_NAMES else ""
    return ", ".join(texts[:N_NAMES]) + more
