"""Importing the package, and touching every public name of it, loads no extra."""

import json
import subprocess
import sys

EXTRAS = {
    "trimesh",
    "h5py",
    "matplotlib",
    "plotly",
    "rich",
    "transformers",
    "lightning_fabric",
    "dask",
    "onnx",
    "numba",
    "skops",
    "safetensors",
}

SCRIPT = """
import json, sys
import pointinteract
light = sorted(sys.modules)
for name in pointinteract.__all__:
    getattr(pointinteract, name)
print(json.dumps([light, sorted(sys.modules)]))
"""


def loaded_modules() -> tuple[set[str], set[str]]:
    """The modules after `import pointinteract`, and after touching its public names."""
    # A fresh process: this one has long since imported what other tests need.
    answer = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=300
    )
    first, second = json.loads(answer.stdout.splitlines()[-1])
    return set(first), set(second)


def test_import_and_public_names_load_no_extra():
    first, second = loaded_modules()

    assert "pointinteract" in first
    assert not EXTRAS & first
    assert not EXTRAS & second
    assert not {name for name in second if name.startswith("pointinteract.plotting")}


def test_plain_import_does_not_wait_for_torch():
    first, _ = loaded_modules()

    assert "torch" not in first
