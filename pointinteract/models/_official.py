"""Read checkpoints of the original systems into our modules, and write them back.

The originals name their tensors differently and use 1x1 convolutions where we use linear
layers. An architecture that has a published original registers, at the bottom of its own
file, one `OfficialFormat`; nothing else needs to know about it. The format says

* ``build``: how to make our module from what the checkpoint holds and the sizes the caller
  gave. Read what can be read from tensor shapes and hold it against the caller's word:
  ``sizes.check("output_channels", state.shape("linear3.weight")[0])``. Ask for what shapes
  do not tell: ``sizes.get("k", 20)``. Names are those of the original configuration. A name
  that `build` never asks for is refused afterwards, with a list of those it does ask for.
  One system may build several modules (a pre-training and a fine-tuning one, say): decide by
  ``key in state``.
* ``renames``: ordered ``(pattern, replacement)`` pairs for `re.sub`, applied one after the
  other to *our* tensor name; what comes out is the official name. One direction is enough,
  because reading looks up the official name of each of our tensors. A name that comes out
  empty has no official counterpart and is left as built.
* ``layouts``: ordered ``(pattern, Layout)`` pairs; the first whose pattern is found in the
  *official* name converts the tensor. ``unit_axes(2)`` is the 1x1 convolution.
* ``aliases``: ``(pattern, replacement)`` pairs on official names: the original keeps the
  tensor under a second name too. Written again by `to_official`, compared when read.
* ``ignored``: patterns of official names that we have no use for (frozen teachers).

A module answers to `to_official` when its class (or instance) has ``official_system``, the
name of its system, so modules from `create_model` can be written as well.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any

from torch import Tensor, nn

from pointinteract.exceptions import CheckpointError
from pointinteract.models._checkpoint_file import list_some, read_tensors
from pointinteract.utils._random import forked_seed


@dataclass(frozen=True)
class Layout:
    """How one tensor is stored by the original (`to_official`) and by us (`to_ours`)."""

    to_official: Callable[[Tensor], Tensor]
    to_ours: Callable[[Tensor], Tensor]


def unit_axes(n_axes: int) -> Layout:
    """Make the layout of a pointwise convolution: (out, in, 1, ...) there, (out, in) here."""

    return Layout(
        lambda tensor: tensor.reshape(*tensor.shape, *(1,) * n_axes),
        lambda tensor: tensor.reshape(tensor.shape[:-n_axes]),
    )


class OfficialState(Mapping[str, Tensor]):
    """The tensors of a checkpoint by official name; a missing one is a CheckpointError."""

    def __init__(self, system: str, tensors: dict[str, Tensor]):
        self.system = system
        self._tensors = tensors

    def __getitem__(self, key: str) -> Tensor:
        if key not in self._tensors:
            raise CheckpointError(
                f"This is not a checkpoint of {self.system!r}: it has no tensor {key!r}. "
                f"Its {len(self._tensors)} tensors are {list_some(self._tensors)}."
            )
        return self._tensors[key]

    def __contains__(self, key: object) -> bool:
        return key in self._tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def shape(self, key: str, n_axes: int | None = None) -> tuple[int, ...]:
        """Return the shape of tensor `key`, which must have `n_axes` axes if that is given."""
        shape = tuple(self[key].shape)
        if n_axes is not None and len(shape) != n_axes:
            raise CheckpointError(
                f"Tensor {key!r} of a checkpoint of {self.system!r} must have {n_axes} axes, "
                f"got shape {shape}."
            )
        return shape


class OfficialSizes:
    """The sizes a caller gave, under the names of the original configuration."""

    def __init__(self, system: str, given: Mapping[str, Any]):
        self.system = system
        self._given = dict(given)
        self._asked: list[str] = []

    def __contains__(self, name: str) -> bool:
        return name in self._given

    def get(self, name: str, default: Any) -> Any:
        """Return the size called `name`, or `default`: for what tensor shapes do not tell."""
        self._asked.append(name)
        return self._given.get(name, default)

    def check(self, name: str, found: Any) -> Any:
        """Return `found`, read from the checkpoint, unless the caller said otherwise."""
        given = self.get(name, found)
        if given != found:
            raise CheckpointError(
                f"{name}={given!r} does not fit this checkpoint of {self.system!r}: its "
                f"tensors say {name}={found!r}."
            )
        return found

    def refuse_unknown(self) -> None:
        """Raise if the caller gave a size that nobody asked for."""
        unknown = [name for name in self._given if name not in self._asked]
        if unknown:
            known = ", ".join(dict.fromkeys(self._asked)) or "none"
            raise CheckpointError(
                f"{self.system!r} has no size {', '.join(map(repr, unknown))}; "
                f"the sizes it takes are: {known}."
            )


@dataclass(frozen=True)
class OfficialFormat:
    """What is needed to read and write checkpoints of one system; see the module's text."""

    system: str
    build: Callable[[OfficialState, OfficialSizes], nn.Module]
    renames: tuple[tuple[str, str], ...] = ()
    layouts: tuple[tuple[str, Layout], ...] = ()
    aliases: tuple[tuple[str, str], ...] = ()
    ignored: tuple[str, ...] = ()

    def official_name(self, name: str) -> str:
        """Translate our tensor name; empty if the original has no such tensor."""
        for pattern, replacement in self.renames:
            name = re.sub(pattern, replacement, name)
        return name

    def alias_names(self, official: str) -> list[str]:
        """Return the further names under which the original keeps the tensor."""
        return [
            re.sub(pattern, replacement, official)
            for pattern, replacement in self.aliases
            if re.search(pattern, official)
        ]

    def layout(self, official: str) -> Layout | None:
        """Return how the tensor is stored, or None if as we do."""
        for pattern, layout in self.layouts:
            if re.search(pattern, official):
                return layout
        return None


_FORMATS: dict[str, OfficialFormat] = {}


def register_official(official: OfficialFormat) -> OfficialFormat:
    """Make a format known to `load_official` and `to_official`."""
    if official.system in _FORMATS:
        raise ValueError(f"An official format of {official.system!r} is registered already.")
    _FORMATS[official.system] = official
    return official


def list_official() -> list[str]:
    """List the systems whose checkpoints can be read."""
    return sorted(_FORMATS)


def load_official(
    system: str,
    checkpoint: str | PathLike[str] | Mapping[str, Any],
    **sizes: Any,
) -> nn.Module:
    """Read a checkpoint of an original system into our module, ready for evaluation.

    Parameters
    ----------
    system : str
        Name of the system, for example ``"dgcnn"``; see `list_official`.
    checkpoint : path or mapping
        A file written by ``torch.save`` (read without unpickling objects), an npz or
        safetensors file, or a state dict of tensors or arrays. Prefixes ``module.`` are
        dropped; dictionaries that wrap the state dict, as training scripts save them, are
        opened.
    **sizes : int, float, bool or str
        Numbers of the original configuration under their original names, for example
        ``k=20, emb_dims=1024``. Those that tensor shapes tell are only compared with them;
        the rest (a number of neighbors, a dropout rate) have the published defaults.

    Returns
    -------
    module : torch.nn.Module
        In evaluation mode, on the CPU, in the floating-point type of the checkpoint.

    Raises
    ------
    CheckpointError
        If the system is unknown, or the checkpoint or the sizes do not fit it. The message
        names the tensors that are missing, unexpected or of another shape.

    See Also
    --------
    to_official : The inverse.
    """
    official = _find_format(system)
    state = OfficialState(system, read_tensors(checkpoint))
    given = OfficialSizes(system, sizes)
    with forked_seed(0):  # what is drawn at random here is overwritten
        module = official.build(state, given)
    given.refuse_unknown()

    loaded, omitted = _translate(official, state, module)
    # Assigning keeps the checkpoint's own types, so that nothing is lost on the way back.
    module.load_state_dict(loaded, strict=False, assign=True)
    # Not module.x = ...: to the type checker, modules hold tensors and modules only.
    vars(module).update(official_system=system, official_omitted=omitted)
    return module.eval()


def to_official(module: nn.Module) -> dict[str, Tensor]:
    """Write a module as a state dict with the names and shapes of the original system.

    Parameters
    ----------
    module : torch.nn.Module
        A model of ours that has a published original: from `load_official` or
        `create_model`, trained further or not.

    Returns
    -------
    state : dict of str to Tensor
        Copies of the tensors on the CPU; ``load_official(system, state)`` reads them back,
        and so does the original.

    Raises
    ------
    CheckpointError
        If the module has no published original.
    """
    system = getattr(module, "official_system", None)
    if not isinstance(system, str):
        raise CheckpointError(
            f"{type(module).__name__} has no published original to be written as. "
            f"Models of these systems have one: {', '.join(list_official())}."
        )
    official = _find_format(system)
    # Keys that the checkpoint we came from did without; see _translate.
    omitted: frozenset[str] = getattr(module, "official_omitted", frozenset())
    state = {}
    for name, tensor in module.state_dict().items():
        key = official.official_name(name)
        if not key:
            continue
        layout = official.layout(key)
        tensor = tensor.detach().cpu()
        tensor = (layout.to_official(tensor) if layout else tensor).clone()
        for each in (key, *official.alias_names(key)):
            if each not in omitted:
                state[each] = tensor
    return dict(sorted(state.items()))


def _find_format(system: str) -> OfficialFormat:
    if system not in _FORMATS:
        raise CheckpointError(
            f"Unknown system {system!r}. Checkpoints can be read of: {', '.join(list_official())}."
        )
    return _FORMATS[system]


def _translate(
    official: OfficialFormat, state: OfficialState, module: nn.Module
) -> tuple[dict[str, Tensor], frozenset[str]]:
    """Pick our tensors out of `state`, or raise naming everything that does not fit.

    Also returns the official names that the checkpoint does without: second names, and the
    batch counters that files from before torch 0.4.1 do not have.
    """
    loaded: dict[str, Tensor] = {}
    used: set[str] = set()
    omitted: set[str] = set()
    missing: list[str] = []
    wrong: list[str] = []
    for name, ours in module.state_dict().items():
        key = official.official_name(name)
        if not key:
            continue
        if key not in state:
            if not key.endswith("num_batches_tracked"):
                missing.append(key)
            omitted.update(k for k in (key, *official.alias_names(key)) if k not in state)
            continue
        used.add(key)
        layout = official.layout(key)
        expected = (layout.to_official(ours) if layout else ours).shape
        if state[key].shape == expected:
            tensor = layout.to_ours(state[key]) if layout else state[key]
            loaded[name] = tensor.clone()
        else:
            wrong.append(f"{key} is {tuple(state[key].shape)} and should be {tuple(expected)}")
        for alias in official.alias_names(key):
            if alias not in state:
                omitted.add(alias)
                continue
            used.add(alias)
            if not _same(state[alias], state[key]):
                wrong.append(f"{alias} differs from {key}, of which it is a second name")
    unexpected = [
        key for key in state if key not in used and not _matches(key, official.ignored)
    ]
    problems = [
        f"{len(keys)} {what} ({list_some(keys)})"
        for what, keys in (("missing", missing), ("unexpected", unexpected), ("unfit", wrong))
        if keys
    ]
    if problems:
        raise CheckpointError(
            f"The checkpoint does not fit {official.system!r} at the sizes "
            f"asked for or found: tensors {'; '.join(problems)}."
        )
    return loaded, frozenset(omitted)


def _same(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors hold the same numbers, NaN included."""
    if first.shape != second.shape:
        return False
    return bool(((first == second) | ((first != first) & (second != second))).all())


def _matches(key: str, patterns: Iterable[str]) -> bool:
    return any(re.search(pattern, key) for pattern in patterns)
