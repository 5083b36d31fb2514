"""Which engines there are, and which can serve a model: a new one is one entry here."""

from importlib import import_module
from typing import TYPE_CHECKING

from pointinteract.explanation._engines._base import Engine

if TYPE_CHECKING:
    from pointinteract.explanation._models import CloudModel

# In the order of preference; what serves everything comes last. Modules are imported on demand,
# since games know engines and some engines know games.
_PLACES = {
    "set_pool": ("_set_pool", "SetPoolEngine"),
    "weighted": ("_weighted", "WeightedEngine"),
    "patches": ("_patches", "PatchEngine"),
    "abstraction": ("_abstraction", "AbstractionEngine"),
    "frozen_centroids": ("_abstraction", "FrozenCentroidsEngine"),
    "generic": ("_generic", "GenericEngine"),
}
ENGINES = tuple(_PLACES)


def find_engine(name: str) -> type[Engine]:
    """Return the class of an engine."""
    module, attribute = _PLACES[name]
    found: type[Engine] = getattr(
        import_module(f"pointinteract.explanation._engines.{module}"), attribute
    )
    return found


def choose_engines(engine: str, model: "CloudModel", absence: str, players: str) -> list[Engine]:
    """Make the engines to try on a model, the first to be preferred.

    Parameters
    ----------
    engine : str
        "auto" for every engine that can serve the model; a name for that one, with plain
        forwards behind it to fall back on.

    Raises
    ------
    ValueError
        If the named engine, or any engine at all, cannot serve the model.
    """
    able = [name for name in ENGINES if find_engine(name).supports(model, absence, players)]
    if engine != "auto":
        if engine not in able:
            raise ValueError(
                f"engine={engine!r} cannot serve {model.name} with absence={absence!r} and "
                f"players={players!r}; {_what_is_declared(model)} Engines that can: "
                f"{', '.join(able) or 'none'}."
            )
        # Plain forwards cannot stand in for an engine that answers another question.
        stands_in = "" if _by_name_only(engine) else "generic"
        able = [engine] + [name for name in able if name == stands_in != engine]
    else:
        able = [name for name in able if not _by_name_only(name)]
    if not able:
        raise ValueError(
            f"no engine can serve {model.name} with absence={absence!r} and "
            f"players={players!r}; {_what_is_declared(model)}"
        )
    return [find_engine(name)(model) for name in able]


def _by_name_only(name: str) -> bool:
    return bool(getattr(find_engine(name), "by_name_only", False))


def _what_is_declared(model: "CloudModel") -> str:
    if not model.structures:
        return "its network declares no structure (see pointinteract.nn.structure)."
    names = ", ".join(type(structure).__name__ for structure in model.structures)
    return f"its network declares {names}."
