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
* ``unread``: from the state written so far, tensors that the original keeps and never reads;
  `to_official` adds them, because the original refuses a file without them.

A module answers to `to_official` when its class (or instance) has ``official_system``, the
name of its system, so modules from `create_model` can be written as well.
"""

import re
from collections.abc import Iterable, Mapping
from os import PathLike
from typing import Any

import torch
from torch import Tensor, nn

from pointinteract.exceptions import CheckpointError
from pointinteract.models._checkpoint_file import list_some, read_tensors
from pointinteract.models._hub import fetch_weights, is_hub_reference
from pointinteract.models._official_format import (
    Layout,
    OfficialFormat,
    OfficialSizes,
    OfficialState,
    after_prefix,
    unit_axes,
)
from pointinteract.models._torch_pointcloud import is_torch_pointcloud, to_official_names
from pointinteract.utils._random import forked_seed

# The parts of a format stand here too: whoever registers one needs a single import.
__all__ = [
    "Layout",
    "OfficialFormat",
    "OfficialSizes",
    "OfficialState",
    "after_prefix",
    "list_official",
    "load_official",
    "register_official",
    "to_official",
    "unit_axes",
]

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
    system: str | None,
    checkpoint: str | PathLike[str] | Mapping[str, Any],
    *,
    ema: bool = False,
    **sizes: Any,
) -> nn.Module:
    """Read a checkpoint of an original system into our module, ready for evaluation.

    Parameters
    ----------
    system : str or None
        Name of the system, for example ``"dgcnn"``; see `list_official`. None: the one that
        the checkpoint fits. Of systems that share a network it is the one that the network
        is from, with its numbers where tensors do not tell them (neighbors, say).
    checkpoint : path, str or mapping
        A file written by ``torch.save`` (read without unpickling objects), an npz or
        safetensors file, or a state dict of tensors or arrays. Prefixes ``module.`` are
        dropped; dictionaries that wrap the state dict, as training scripts save them, are
        opened. Or ``"hf:organisation/name"``, with ``"@revision"`` after it if you like: weights
        from the Hugging Face hub, such as those of the organisation ``torch-pointcloud``,
        whose names for tensors are understood.
    ema : bool, default=False
        Read the running average of the weights that some training scripts keep in the same
        file, as ``"model_ema"``, say, and often report results of. By default the weights
        themselves are read.
    **sizes : int, float, bool or str
        Numbers of the original configuration under their original names, for example
        ``k=20, emb_dims=1024``. Those that tensor shapes tell are only compared with them;
        the rest (a number of neighbors, a dropout rate) have the published defaults.

    Returns
    -------
    module : torch.nn.Module
        In evaluation mode, on the CPU, in the floating-point type of the checkpoint. Its
        ``official_source`` says where it came from, with commit and licence, if from the hub.

    Raises
    ------
    CheckpointError
        If the system is unknown, the checkpoint or the sizes do not fit it, or it holds no
        average and `ema` asks for it. The message names the tensors that are missing,
        unexpected or of another shape.

    See Also
    --------
    to_official : The inverse.
    """
    if system is not None:
        _find_format(system)  # before anything is downloaded
    source = None
    if is_hub_reference(checkpoint):
        found = fetch_weights(str(checkpoint))
        source, checkpoint = found.describe(), found.path
        system, sizes = system or found.system, found.sizes | sizes
    tensors = read_tensors(checkpoint, ema=ema)
    module = _detect(tensors, sizes) if system is None else _load(system, tensors, sizes)
    # Not module.x = ...: to the type checker, modules hold tensors and modules only.
    vars(module).update(official_source=source)
    return module


def _load(system: str, tensors: dict[str, Tensor], sizes: dict[str, Any]) -> nn.Module:
    official = _find_format(system)
    if is_torch_pointcloud(tensors):
        renamed = to_official_names(system, tensors)
        # Theirs are linear layers where the original has convolutions over single points.
        tensors = {
            key: layout.to_official(tensor)
            if tensor.ndim <= 2 and (layout := official.layout(key)) else tensor
            for key, tensor in renamed.items()
        }
    state = OfficialState(system, tensors)
    given = OfficialSizes(system, sizes)
    with forked_seed(0):  # what is drawn at random here is overwritten
        module = official.build(state, given)
    given.refuse_unknown()

    loaded, omitted = _translate(official, state, module)
    # Assigning keeps the checkpoint's own types, so that nothing is lost on the way back.
    module.load_state_dict(loaded, strict=False, assign=True)
    # What it does not hold, such as a fresh token or a fixed grid, was made in another type.
    types = {tensor.dtype for tensor in loaded.values() if tensor.is_floating_point()}
    if len(types) == 1 and types != {torch.get_default_dtype()}:
        module.to(types.pop())
    vars(module).update(official_system=system, official_omitted=omitted)
    return module.eval()


def _detect(tensors: dict[str, Tensor], sizes: dict[str, Any]) -> nn.Module:
    """Load tensors as the system that they fit."""
    fitting: dict[str, nn.Module] = {}
    for system in list_official():
        try:
            fitting[system] = _load(system, tensors, sizes)
        except CheckpointError:
            continue
    # An encoder alone may fit a whole network's file too; what reads most of it is meant.
    most = max((len(module.state_dict()) for module in fitting.values()), default=0)
    fitting = {name: each for name, each in fitting.items() if len(each.state_dict()) == most}
    own = {getattr(type(each), "official_system", None) for each in fitting.values()}
    if len(fitting) > 1 and len(own) == 1 and own <= set(fitting):
        fitting = {name: each for name, each in fitting.items() if name in own}
    made = {(type(module), str(getattr(module, "config", None))) for module in fitting.values()}
    if len(made) != 1:
        several = f"several systems: {', '.join(fitting)}"
        what = several if fitting else "none of the systems known"
        raise CheckpointError(
            f"The checkpoint fits {what}. Say which it is of, by load_official(system, "
            f"checkpoint) with one of {', '.join(fitting or list_official())}, to read it or to "
            f"learn what does not fit. Its {len(tensors)} tensors are {list_some(tensors)}."
        )
    return next(iter(fitting.values()))


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
    if official.unread is not None:
        state |= official.unread(state)
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
