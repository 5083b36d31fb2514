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

TOUCH_EVERYTHING = """
import json, sys
import pointinteract
light = sorted(sys.modules)
for name in pointinteract.__all__:
    getattr(pointinteract, name)
print(json.dumps([light, sorted(sys.modules)]))
"""

# What the core requirements load by themselves is not ours to prevent: scikit-learn 1.9 imports
# rich for its progress bar where it is installed.
CORE_ALONE = """
import json, sys
import joblib, pandas, scipy, torch, sklearn.pipeline
print(json.dumps(sorted(sys.modules)))
"""


def run(script):
    # A fresh process: this one has long since imported what other tests need.
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=300
    )
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout.splitlines()[-1])


def test_import_and_public_names_load_no_extra():
    first, second = run(TOUCH_EVERYTHING)

    extras = EXTRAS - set(run(CORE_ALONE))

    assert "pointinteract" in first
    assert {"matplotlib", "transformers", "trimesh", "h5py", "numba"} <= extras
    assert not EXTRAS & set(first)
    assert not extras & set(second)
    assert not [name for name in first if name.startswith("pointinteract.plotting")]


def test_plain_import_does_not_wait_for_torch():
    first, _ = run(TOUCH_EVERYTHING)

    assert "torch" not in first
