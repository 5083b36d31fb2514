"""The package as it is installed: requirements, extras, files, and what its sources never do."""

import ast
import configparser
import os
import re
import shutil
import subprocess
from importlib.metadata import requires, version
from pathlib import Path

import pytest

import pointinteract

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "pointinteract").rglob("*.py"))
USER_EXTRAS = {"io", "plot", "progress", "teachers", "share", "shapiq", "fast", "export"}
CORE = {"torch", "scikit-learn", "numpy", "scipy", "joblib", "pandas"}
FROM_TERMINAL = ROOT / "pointinteract" / "cli"


def setup_cfg():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def requirements_of(extra):
    """Names required by an extra, with the extras that it names followed."""
    names = set()
    for line in setup_cfg()["options.extras_require"][extra].split("\n"):
        if match := re.match(r"pointinteract\[([\w,]+)\]", line):
            names.update(*(requirements_of(other) for other in match[1].split(",")))
        elif line.strip():
            names.add(re.match(r"[\w.-]+", line.strip())[0])
    return names


def test_version_is_one_literal():
    assert pointinteract.__version__ == version("pointinteract")


def test_core_requirements_are_few():
    lines = setup_cfg()["options"]["install_requires"].split()

    assert {re.match(r"[\w-]+", line)[0] for line in lines} == CORE


def test_all_takes_every_extra_of_users():
    extras = set(setup_cfg()["options.extras_require"])

    assert requirements_of("all") == set().union(*map(requirements_of, USER_EXTRAS))
    assert extras == USER_EXTRAS | {"demo", "all", "test", "doc"}
    assert requirements_of("all") <= requirements_of("test")
    assert requirements_of("all") <= requirements_of("doc")


def test_extras_of_extras_reached_the_metadata():
    installed = requires("pointinteract") or []

    assert any(line.startswith("h5py") and "io" in line for line in installed)
    assert not [line for line in installed if "%(" in line]


def test_requirements_have_lower_bounds_only():
    parser = setup_cfg()
    texts = [parser["options"]["install_requires"], *parser["options.extras_require"].values()]

    lines = [line for text in texts for line in text.split() if "pointinteract[" not in line]

    assert not [line for line in lines if not re.fullmatch(r"[\w.-]+>=[\d.]+", line)]


def test_constraints_pin_torch():
    assert re.search(r"^torch==[\d.]+$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)


def test_every_folder_with_modules_is_a_package():
    missing = {path.parent for path in SOURCES if not (path.parent / "__init__.py").exists()}

    assert not missing
    assert (ROOT / "pointinteract" / "py.typed").exists()


def test_ci_script_is_sound():
    script = ROOT / ".ci" / "run"
    text = script.read_text(encoding="utf-8")

    assert os.access(script, os.X_OK)
    assert 'pip install --quiet -c constraints.txt -e ".[test]"' in text
    assert "python -m pytest\n" in text
    assert "://" not in text
    if bash := shutil.which("bash"):
        subprocess.run([bash, "-n", str(script)], check=True)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_source_keeps_house_rules(path):
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    calls = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    lines = len(text.splitlines())

    assert ast.get_docstring(tree), "the first line of a module says what it is for"
    assert lines <= 400, f"{lines} lines; split by idea past 400"
    assert "np.random.seed" not in calls
    assert "torch.set_default_device" not in calls
    assert "torch.use_deterministic_algorithms" not in calls
    assert not {"pickle.load", "pickle.loads"} & set(calls) or "testing" in path.parts
    assert FROM_TERMINAL in path.parents or "print" not in calls
    assert not re.search(r"(^|[\s\"'=])/(work|tmp|root|home)/", text), "a path of one machine"
