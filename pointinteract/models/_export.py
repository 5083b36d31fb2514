"""Networks for use elsewhere: as a program of `torch.export` and as an ONNX file."""

import copy
import importlib.util
import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from pointinteract.utils._archive import atomic_write
from pointinteract.utils._optional import import_optional
from pointinteract.utils._params import check_int, check_real

__all__ = ["OnnxFile", "export_onnx", "export_program"]

_INPUT, _OUTPUT = "points", "scores"
# Other numbers than these would be taken for constants (0 and 1 are special to torch).
_N_CLOUDS = 2


class OnnxFile(NamedTuple):
    """What `export_onnx` wrote.

    Parameters
    ----------
    path : Path
    n_bytes : int
        Size of the file.
    largest_difference : float or None
        Between scores by onnxruntime and by torch, over random clouds; None where onnxruntime
        is not installed, so that nothing was compared.
    """

    path: Path
    n_bytes: int
    largest_difference: float | None


def export_program(
    model: Any, *, n_points: int = 1024, n_channels: int | None = None
) -> torch.export.ExportedProgram:
    """Record a network in evaluation mode as a program for any batch and number of points.

    Parameters
    ----------
    model : torch.nn.Module or fitted estimator
        A network of this package, or what has one as `module_`. It is left as it is.
    n_points : int, default=1024
        Points of the clouds it is recorded with, at least 2. Where a network treats small
        clouds differently (one that samples 512 points cannot in a cloud of fewer), the program
        is for clouds on the same side as this one, and says so when it is given others.
    n_channels : int, default=None
        Channels of a point; by default what the model was made for.

    Returns
    -------
    program : torch.export.ExportedProgram
        On the CPU, from points (B, N, n_channels) to scores (B, n_classes), before any
        softmax. Searches among points are operators of this package (``pointinteract::knn``
        and others), so `pointinteract.models` must be imported where a saved program is loaded.

    Raises
    ------
    TypeError
        If there is no network in `model`.

    Examples
    --------
    >>> import torch
    >>> from pointinteract.models import create_model, export_program
    >>> program = export_program(create_model("pointnet_basic", n_classes=5), n_points=64)
    >>> program.module()(torch.rand(3, 100, 3)).shape
    torch.Size([3, 5])
    """
    module = _network(model)
    points = _clouds(_N_CLOUDS, n_points, _channels(model, module, n_channels))
    dynamic = torch.export.Dim.DYNAMIC
    with torch.no_grad():
        return torch.export.export(module, (points,), dynamic_shapes=({0: dynamic, 1: dynamic},))


def export_onnx(
    model: Any,
    path: str | os.PathLike[str],
    *,
    n_points: int = 1024,
    n_channels: int | None = None,
    classes: Sequence[Any] | None = None,
    tolerance: float = 1e-3,
) -> OnnxFile:
    """Write a network in evaluation mode as an ONNX file of standard operators (opset 18).

    Parameters
    ----------
    model, n_points, n_channels
        See `export_program`. The file cannot say when it is given clouds too small for it.
    path : str or path
        Where to write; a file there is replaced once the new one is complete and checked.
    classes : sequence, default=None
        Names or numbers of the classes, in the order of the scores; by default `classes_` of
        an estimator.
    tolerance : float, default=1e-3
        How far scores by onnxruntime may be from those by torch, in parts of the largest.

    Returns
    -------
    written : OnnxFile
        Path, size, and the largest difference found.

    Raises
    ------
    ImportError
        Without onnx and onnxscript, which the extra ``export`` installs.
    RuntimeError
        If onnxruntime is installed and finds other scores. Nothing is written then.

    Notes
    -----
    The input is called ``points``, float32 (n_clouds, n_points, n_channels), the output
    ``scores``, (n_clouds, n_classes), before any softmax. What an estimator does to clouds
    before its network is not in the file. The classes are in its metadata, as JSON
    under ``classes``.

    ONNX has no searches in compiled loops: neighbors are found among all pairs at once, which
    takes memory in proportion to n_clouds times n_points squared.
    """
    for name in ("onnx", "onnxscript"):
        import_optional(name, extra="export", purpose="writing ONNX files")
    check_real("tolerance", tolerance, open_minimum=True)
    program = export_program(model, n_points=n_points, n_channels=n_channels)
    module = _network(model)
    if classes is None:
        classes = getattr(model, "classes_", None)
    names = None if classes is None else np.asarray(classes).tolist()
    if any(tensor.dtype != torch.float32 for tensor in module.parameters()):
        raise TypeError("the network must be in single precision (float32); call .float() on it.")

    from pointinteract.models import _onnx_nodes

    with _quiet():
        written = torch.onnx.export(
            program,
            input_names=[_INPUT],
            output_names=[_OUTPUT],
            opset_version=_onnx_nodes.OPSET,
            dynamo=True,
            verbose=False,
            custom_translation_table=_onnx_nodes.translations(),
        )
    assert written is not None  # as it is when no path is given
    _name_axes(written.model)
    written.model.metadata_props["n_points"] = str(n_points)
    if names is not None:
        written.model.metadata_props["classes"] = json.dumps(names)
    path = Path(path)
    with atomic_write(path) as temporary:
        written.save(str(temporary), external_data=False)
        difference = _largest_difference(program, module, temporary, tolerance)
    return OnnxFile(path, path.stat().st_size, difference)


def _network(model: Any) -> nn.Module:
    """Find the network in `model`; a copy on the CPU, in evaluation mode."""
    module = getattr(model, "module_", model)
    if not isinstance(module, nn.Module):
        raise TypeError(
            "model must be a torch.nn.Module or a fitted estimator that has one as module_, "
            f"got {type(model).__name__}."
        )
    return copy.deepcopy(module).cpu().eval()


def _channels(model: Any, module: nn.Module, n_channels: int | None) -> int:
    if n_channels is None:
        config = getattr(module, "config", {})
        n_channels = config.get("n_channels", getattr(model, "n_features_in_", 3))
    check_int("n_channels", n_channels, minimum=3)
    return n_channels


def _clouds(n_clouds: int, n_points: int, n_channels: int) -> Tensor:
    check_int("n_points", n_points, minimum=2)
    generator = torch.Generator().manual_seed(n_points)
    return 2 * torch.rand(n_clouds, n_points, n_channels, generator=generator) - 1


def _largest_difference(
    program: torch.export.ExportedProgram, module: nn.Module, path: Path, tolerance: float
) -> float | None:
    """Compare scores for clouds of several sizes, or raise; None without onnxruntime."""
    if importlib.util.find_spec("onnxruntime") is None:
        return None
    onnxruntime = importlib.import_module("onnxruntime")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    example = program.example_inputs[0][0]
    recorded, largest = program.module(), 0.0
    for n_clouds, n_points in ((1, example.shape[1]), (3, example.shape[1] * 9 // 8 + 1)):
        points = _clouds(n_clouds, n_points, example.shape[2])
        with torch.no_grad():
            try:
                recorded(points)
            except AssertionError:  # across the border of what the program is for
                continue
            expected = module(points)
        scores = torch.from_numpy(session.run([_OUTPUT], {_INPUT: points.numpy()})[0])
        difference = float((scores - expected).abs().max())
        if not difference <= tolerance * max(1.0, float(expected.abs().max())):
            raise RuntimeError(
                f"scores of {n_clouds} clouds of {n_points} points differ by {difference:.2g} "
                f"between onnxruntime and torch, more than the tolerance {tolerance:g}; the file "
                "was not written."
            )
        largest = max(largest, difference)
    return largest


def _name_axes(model: Any) -> None:
    """Call the two free sizes of an ONNX model by names that say what they count."""
    (points,) = model.graph.inputs
    names = {str(points.shape[0]): "n_clouds", str(points.shape[1]): "n_points"}
    for value in (points, *model.graph.outputs):
        for axis, size in enumerate(value.shape):
            if str(size) in names:
                value.shape[axis] = names[str(size)]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch from reporting optional packages that no network here needs."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
