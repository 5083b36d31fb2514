"""Every example runs as a user would run it, without data of ours, and draws something."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).resolve().parent.parent / "examples").glob("plot_*.py"))

COUNT_FIGURES = """
import runpy, sys
import matplotlib
matplotlib.use("Agg")
runpy.run_path(sys.argv[1])
import matplotlib.pyplot as plt
print("figures:", len(plt.get_fignums()))
"""


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs_and_draws(path, tmp_path):
    environment = os.environ | {"POINTINTERACT_SHARED": str(tmp_path)}

    done = subprocess.run(
        [sys.executable, "-c", COUNT_FIGURES, str(path)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.rsplit("figures:", 1)[1]) >= 1
