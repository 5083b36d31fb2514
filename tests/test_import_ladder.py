"""Who may import whom: lower never imports higher, whatever the route of the import."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "pointinteract"
FOLDER = Path(__file__).resolve().parent.parent / PACKAGE

LEVELS = {
    "exceptions": 0,
    "utils": 0,
    "_version": 0,
    "ops": 1,
    "io": 1,
    "games": 1,
    "metrics": 1,
    "base": 2,
    "nn": 2,
    "datasets": 2,
    "models": 3,
    "losses": 3,
    "preprocessing": 3,
    "training": 4,
    "pretraining": 5,
    "classification": 5,
    "segmentation": 5,
    "explanation": 5,
    "protocols": 6,
    "plotting": 6,
    "persistence": 6,
    "testing": 6,
    "cli": 7,
    "__init__": 7,
    "__main__": 7,
}
# What a part may import at most, where that is not simply "every level below its own". Level 0
# is one family, and the entry points see everything.
HIGHEST = {"explanation": 2, "exceptions": 0, "utils": 0, "cli": 7, "__init__": 7, "__main__": 7}
# Reached upward all the same, but only from inside functions: part, and who may.
INSIDE_FUNCTIONS = {
    # From the methods that draw, so that nobody loads it who does not draw.
    "plotting": {part for part, level in LEVELS.items() if 4 <= level < 7},
    # From where a parameter may name a saved file instead of a fitted estimator.
    "persistence": {"training", "classification", "segmentation"},
}


def imported_modules(tree: ast.AST, module: str, is_package: bool) -> Iterator[tuple[str, bool]]:
    """Yield (module of ours that is imported, whether inside a function)."""

    def visit(node: ast.AST, inside: bool) -> Iterator[tuple[str, bool]]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, inside
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                parts = parts[: len(parts) - node.level + (1 if is_package else 0)]
                base = ".".join([*parts, base] if base else parts)
            for alias in node.names:
                # `from pointinteract import ops` names a part only in the second half.
                yield f"{base}.{alias.name}", inside
        inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        # What only type checkers read does not run at import either.
        inside = inside or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test))
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inside)

    for name, inside in visit(tree, False):
        if name.split(".")[0] == PACKAGE:
            yield name, inside


def part_of(module: str) -> str:
    """The second word of a dotted name: the part of the package that the table knows."""
    words = module.split(".")
    return words[1] if len(words) > 1 else "__init__"


def violations(source: str, module: str, *, is_package: bool = False) -> list[str]:
    """Say what is wrong with the imports of one module."""
    importer = part_of(module)
    if importer not in LEVELS:
        return [f"{module}: the part {importer!r} has no level in the table"]
    highest = HIGHEST.get(importer, LEVELS[importer] - 1)
    found = []
    for name, inside in imported_modules(ast.parse(source), module, is_package):
        imported = part_of(name)
        if imported == importer:
            continue
        if imported not in LEVELS:
            # A public name taken from the top of the package: only the entry points may.
            imported = "__init__"
        if importer in INSIDE_FUNCTIONS.get(imported, ()):
            if not inside:
                found.append(f"{module}: imports {name} at module top, not inside a function")
            continue
        if LEVELS[imported] > highest:
            found.append(
                f"{module} (level {LEVELS[importer]}, may see up to {highest}): "
                f"imports {name} (level {LEVELS[imported]})"
            )
        if importer == "training" and imported == "models":
            file = name.split(".")[2] if name.count(".") >= 2 else ""
            if not (file.startswith("_") or file in ("list_models", "create_model")):
                found.append(f"{module}: builds the particular architecture {name}")
    return found


def modules() -> list[tuple[str, Path]]:
    named = []
    for path in sorted(FOLDER.rglob("*.py")):
        words = [PACKAGE, *path.relative_to(FOLDER).with_suffix("").parts]
        named.append((".".join(words[:-1] if words[-1] == "__init__" else words), path))
    return named


@pytest.mark.parametrize(("module", "path"), modules(), ids=[name for name, _ in modules()])
def test_module_imports_only_below_itself(module, path):
    source = path.read_text(encoding="utf-8")

    found = violations(source, module, is_package=path.name == "__init__.py")

    assert not found, "\n".join(found)


def test_every_module_is_looked_at():
    names = [name for name, _ in modules()]

    assert PACKAGE in names
    assert "pointinteract.utils._random" in names


@pytest.mark.parametrize(
    ("module", "source", "word"),
    [
        ("pointinteract.ops.neighbors", "from pointinteract.nn.mlp import MLP", "level 2"),
        ("pointinteract.ops.neighbors", "import pointinteract.io", "level 1"),
        ("pointinteract.ops.neighbors", "from pointinteract import base", "level 2"),
        ("pointinteract.ops.neighbors", "from ..nn import mlp", "level 2"),
        ("pointinteract.ops.neighbors", "def f():\n    import pointinteract.nn", "level 2"),
        ("pointinteract.utils._a", "import pointinteract.ops", "level 1"),
        ("pointinteract.models.dgcnn", "from pointinteract.losses import x", "level 3"),
        ("pointinteract.losses.a", "from pointinteract.preprocessing import x", "level 3"),
        ("pointinteract.models.dgcnn", "import pointinteract.training.loop", "level 4"),
        ("pointinteract.explanation._game", "from pointinteract.models import x", "level 3"),
        ("pointinteract.explanation._game", "import pointinteract.classification", "level 5"),
        ("pointinteract.classification._a", "import pointinteract.pretraining", "level 5"),
        ("pointinteract.classification._a", "from pointinteract import PointNet", "level 7"),
        ("pointinteract.classification._a", "import pointinteract.plotting", "module top"),
        ("pointinteract.classification._a", "import pointinteract.persistence", "module top"),
        ("pointinteract.ops.a", "def f():\n    import pointinteract.plotting", "level 6"),
        ("pointinteract.training.loop", "from pointinteract.models.dgcnn import x", "particular"),
        ("pointinteract.novelty", "import numpy", "no level"),
    ],
)
def test_checker_catches_an_upward_arrow(module, source, word):
    found = violations(source, module)

    assert len(found) == 1
    assert word in found[0]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("pointinteract.nn.mlp", "import torch\nfrom pointinteract.ops.neighbors import knn"),
        ("pointinteract.nn.mlp", "from pointinteract.nn import pooling"),
        ("pointinteract.utils._a", "from pointinteract.exceptions import CloudError"),
        ("pointinteract.explanation._a", "def f():\n    from pointinteract.plotting import g"),
        (
            "pointinteract.explanation._a",
            "if TYPE_CHECKING:\n    from pointinteract.plotting import g",
        ),
        ("pointinteract.training.loop", "from pointinteract.models._registry import create_model"),
        ("pointinteract.cli", "from pointinteract import PointClassifier"),
    ],
)
def test_checker_lets_a_downward_arrow_pass(module, source):
    assert violations(source, module) == []
