"""What users may rely on is a stored file; changing it is a deliberate act."""

import difflib
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import pointinteract

STORED = Path(__file__).with_name("public_surface.txt")
API_PAGES = Path(__file__).resolve().parent.parent / "doc" / "api"
HOW = "If the change is meant, run: python -m pytest {} --update-public-surface, and say it in {}"

# Public callables that take **keywords, and the callee that documents them.
KEYWORDS_ALLOWED = {
    "create_model": "the named model's own numbers",
    "create_segmentation_model": "the named model's own numbers",
    "segmentation_model_for": "the numbers of the head",
    "load_official": "the numbers of the official configuration",
}


def public_modules():
    """The package and its public parts that say what they offer."""
    yield pointinteract
    for found in pkgutil.iter_modules(pointinteract.__path__):
        if not found.name.startswith("_"):
            module = importlib.import_module(f"pointinteract.{found.name}")
            if hasattr(module, "__all__"):
                yield module


def public_objects():
    for module in public_modules():
        for name in sorted(module.__all__):
            yield f"{module.__name__}.{name}", getattr(module, name)


def is_ours(thing):
    return str(getattr(thing, "__module__", "")).split(".")[0] == "pointinteract"


def signature_of(thing):
    """Names, order, kinds and defaults; hints may change without breaking anybody."""
    try:
        signature = inspect.signature(thing)
    except (TypeError, ValueError):
        return "(...)"
    bare = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in signature.parameters.values()
    ]
    text = str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))
    return re.sub(r" at 0x[0-9a-f]+", "", text)


def members_of(owner):
    """Public methods and properties of a class that are written in this package."""
    for name, member in sorted(inspect.getmembers_static(owner)):
        if name.startswith("_"):
            continue
        plain = member.__func__ if isinstance(member, classmethod | staticmethod) else member
        if isinstance(member, property) and is_ours(member.fget):
            yield f"    .{name}"
        elif inspect.isfunction(plain) and is_ours(plain):
            yield f"    .{name}{signature_of(plain)}"


def surface():
    lines = []
    for path, thing in public_objects():
        if inspect.isclass(thing):
            lines += [f"class {path}{signature_of(thing)}", *members_of(thing)]
        elif callable(thing):
            lines.append(f"{path}{signature_of(thing)}")
        else:
            lines.append(f"{path}: {type(thing).__name__}")
    return lines


def test_public_surface_is_the_stored_one(request):
    current = surface()
    if request.config.getoption("--update-public-surface"):
        STORED.write_text("\n".join(current) + "\n", encoding="utf-8")

    stored = STORED.read_text(encoding="utf-8").splitlines()

    difference = list(difflib.unified_diff(stored, current, "stored", "now", lineterm="", n=0))
    how = HOW.format("tests/test_public_surface.py", "doc/whats_new.rst")
    assert not difference, "\n".join([*difference, how])


@pytest.mark.parametrize("module", list(public_modules()), ids=lambda module: module.__name__)
def test_names_offered_exist_once(module):
    names = list(module.__all__)

    assert len(names) == len(set(names))
    assert not [name for name in names if not hasattr(module, name)]
    assert not [name for name in names if name.startswith("_") and name != "__version__"]


def test_names_of_the_top_are_those_of_its_parts():
    parts = {}
    for path, thing in public_objects():
        parts.setdefault(path.split(".")[-1], []).append(thing)

    for name in pointinteract.__all__:
        thing = getattr(pointinteract, name)
        if not (inspect.ismodule(thing) or name == "__version__"):
            assert all(thing is other for other in parts[name]), name


def test_public_signatures_take_no_unnamed_keywords():
    found = []
    for path, thing in public_objects():
        protocol = getattr(thing, "_is_protocol", False)
        if not callable(thing) or protocol or path.split(".")[-1] in KEYWORDS_ALLOWED:
            continue
        try:
            parameters = inspect.signature(thing).parameters.values()
        except (TypeError, ValueError):
            continue
        if is_ours(thing) and any(p.kind is p.VAR_KEYWORD for p in parameters):
            found.append(path)

    assert not found


def test_everything_public_is_documented():
    found = [path for path, thing in public_objects() if callable(thing) and not thing.__doc__]

    assert not found


def test_every_public_name_is_in_the_api_pages():
    listed = set()
    for page in API_PAGES.glob("*.rst"):
        module = ""
        for line in page.read_text(encoding="utf-8").splitlines():
            if match := re.match(r"\.\. currentmodule:: (\S+)", line):
                module = match[1]
            elif match := re.match(r"\s+~?([A-Za-z_][\w.]*)$", line):
                listed.add(f"{module}.{match[1]}")

    # The top of the package offers again what its parts offer; it is listed with the parts.
    wanted = {
        path
        for path, thing in public_objects()
        if path.count(".") > 1 and not inspect.ismodule(thing)
    }
    missing = sorted(wanted - listed)

    assert not missing, f"add to doc/api: {missing}"
