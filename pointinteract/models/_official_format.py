"""The parts from which a format of checkpoints is made; how, is told in ``_official.py``."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from pointinteract.exceptions import CheckpointError
from pointinteract.models._checkpoint_file import list_some

__all__ = [
    "Layout",
    "OfficialFormat",
    "OfficialSizes",
    "OfficialState",
    "after_prefix",
    "unit_axes",
]


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


def after_prefix(
    prefix: str, renames: Iterable[tuple[str, str]]
) -> tuple[tuple[str, str], ...]:
    """Let renames that are bound to the start of a name hold after a prefix as well.

    `prefix` is a pattern without groups. The replacements must not refer to groups either.
    """
    return tuple(
        (f"^({prefix})?{pattern[1:]}", rf"\1{replacement}") if pattern.startswith("^")
        else (pattern, replacement)
        for pattern, replacement in renames
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

    def count(self, key: str) -> int:
        """Count the tensors `key`, with 0, 1, 2, ... in the place of its braces, up to a gap."""
        number = 0
        while key.format(number) in self:
            number += 1
        return number


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

    def unfold(self, name: str) -> None:
        """Lay the sizes that a part `name` of the configuration holds beside the others."""
        self._asked.append(name)
        self._given = {**self._given.pop(name, {}), **self._given}

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
    unread: Callable[[Mapping[str, Tensor]], dict[str, Tensor]] | None = None

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
