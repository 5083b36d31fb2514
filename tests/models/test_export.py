"""Networks outside of Python: torch.compile, torch.export and ONNX, by the contract alone."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pointinteract.models import create_model, export_onnx, export_program, list_models
from pointinteract.ops import ball_query, farthest_point_sample, knn

# Recording takes long. All searches that networks do are tested at once, below.
QUICK = {"pcn"}
# Scores may differ by more where a point moves to another pixel by rounding.
LOOSE = {"mvtn": 5e-3}
# One table for what cannot be, with the reason: (network, way) to why.
IMPOSSIBLE: dict[tuple[str, str], str] = {}
# Beyond these numbers of points every size inside a network is a fixed one.
N_POINTS = 600


def sweep(way):
    for name in list_models():
        marks = [] if name in QUICK else [pytest.mark.slow]
        if reason := IMPOSSIBLE.get((name, way)):
            marks.append(pytest.mark.skip(reason=reason))
        yield pytest.param(name, marks=marks, id=name)


def make(name):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return create_model(name, n_classes=5).eval()


def clouds(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", list(sweep("compile")))
def test_compiles_without_a_break(name):
    module, points = make(name), clouds(2, 96, 3)
    torch._dynamo.reset()

    with torch.no_grad():
        compiled = torch.compile(module, backend="eager", fullgraph=True)(points)

        torch.testing.assert_close(compiled, module(points), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", list(sweep("export")))
def test_program_takes_other_batches_and_numbers_of_points(name):
    module = make(name)

    program = export_program(module, n_points=N_POINTS).module()

    for shape in ((2, N_POINTS), (3, N_POINTS + 37), (1, N_POINTS + 1)):
        points = clouds(*shape, 3)
        with torch.no_grad():
            torch.testing.assert_close(program(points), module(points), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", list(sweep("onnx")))
def test_onnx_file_gives_the_same_scores(name, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    module, points = make(name), clouds(3, N_POINTS + 37, 3)
    limit = LOOSE.get(name, 1e-4)

    written = export_onnx(module, tmp_path / "network.onnx", n_points=N_POINTS, tolerance=limit)

    assert written.largest_difference is not None and written.largest_difference < limit
    assert written.n_bytes == written.path.stat().st_size
    session = onnxruntime.InferenceSession(str(written.path))
    scores = session.run(["scores"], {"points": points.numpy()})[0]
    with torch.no_grad():
        np.testing.assert_allclose(scores, module(points).numpy(), rtol=1e-3, atol=limit)


def test_table_of_the_impossible_names_networks():
    assert {name for name, _ in IMPOSSIBLE} <= set(list_models())
    assert {way for _, way in IMPOSSIBLE} <= {"compile", "export", "onnx"}
    assert set(list_models()) >= QUICK


class Searches(torch.nn.Module):
    """Every search, with ties, in few and many channels, with fewer points than places."""

    def forward(self, points):
        few = points[..., :3]
        n_points = points.shape[1]
        return (
            farthest_point_sample(few, min(9, n_points), start="far"),
            farthest_point_sample(few, min(5, n_points), skip_near_origin=True),
            knn(few, few, min(6, n_points)),
            knn(points, points, min(6, n_points)),
            ball_query(few, few, 0.7, 40),
        )


def grid(n_clouds, n_points):
    """Few different numbers, so that many distances are equal."""
    generator = torch.Generator().manual_seed(n_points)
    return torch.randint(-2, 3, (n_clouds, n_points, 6), generator=generator) / 4


@pytest.fixture(scope="module")
def searches():
    dynamic = torch.export.Dim.DYNAMIC
    shapes = ({0: dynamic, 1: dynamic},)
    return torch.export.export(Searches(), (grid(2, 50),), dynamic_shapes=shapes)


@pytest.mark.parametrize("shape", [(2, 50), (3, 33), (1, 70), (2, 12)])
def test_recorded_searches_are_the_searches(searches, shape):
    points = grid(*shape)

    for recorded, direct in zip(searches.module()(points), Searches()(points), strict=True):
        assert torch.equal(recorded, direct)


def test_a_search_is_one_node(searches):
    nodes = [str(node.target) for node in searches.graph.nodes]

    assert sum(node.startswith("pointinteract.") for node in nodes) == 5
    assert len(nodes) < 100


def test_onnx_searches_are_the_searches(searches, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from pointinteract.models._onnx_nodes import translations

    program = torch.onnx.export(
        searches, dynamo=True, verbose=False, custom_translation_table=translations()
    )
    program.save(str(tmp_path / "searches.onnx"))
    session = onnxruntime.InferenceSession(str(tmp_path / "searches.onnx"))

    for shape in ((2, 50), (3, 33), (1, 70), (2, 12), (2, 2)):
        points = grid(*shape)
        found = session.run(None, {session.get_inputs()[0].name: points.numpy()})
        for written, direct in zip(found, Searches()(points), strict=True):
            np.testing.assert_array_equal(written, direct.numpy())


def test_onnx_file_says_what_it_is(tmp_path):
    onnx = pytest.importorskip("onnx")
    estimator = SimpleNamespace(
        module_=make("pointnet_basic").train(), classes_=np.array(list("abcde"))
    )

    written = export_onnx(estimator, tmp_path / "network.onnx", n_points=40)

    model = onnx.load(written.path)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    shapes = [
        [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    ]
    assert [value.name for value in model.graph.input] == ["points"]
    assert [value.name for value in model.graph.output] == ["scores"]
    assert shapes == [["n_clouds", "n_points", 3], ["n_clouds", 5]]
    assert json.loads(metadata["classes"]) == list("abcde")
    assert metadata["n_points"] == "40"
    assert estimator.module_.training  # left as it was


def test_wrong_scores_leave_the_old_file(tmp_path, monkeypatch):
    onnxruntime = pytest.importorskip("onnxruntime")
    path = tmp_path / "network.onnx"
    path.write_bytes(b"old")
    monkeypatch.setattr(
        onnxruntime.InferenceSession, "run", lambda *_: [np.full((1, 5), 9.0, dtype="float32")]
    )

    with pytest.raises(RuntimeError, match="1 clouds of 40 points differ by 9.* was not written"):
        export_onnx(make("pointnet_basic"), path, n_points=40)

    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["onnx", "onnxscript"])
def test_says_which_extra_is_missing(name, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)

    with pytest.raises(ImportError, match=rf"{name} is needed.*pointinteract\[export\]"):
        export_onnx(make("pointnet_basic"), tmp_path / "network.onnx")


def test_refuses_what_holds_no_network(tmp_path):
    with pytest.raises(TypeError, match="fitted estimator that has one as module_, got str"):
        export_program("pointnet")
    with pytest.raises(ValueError, match="n_points"):
        export_program(make("pointnet_basic"), n_points=1)
    with pytest.raises(TypeError, match="single precision"):
        export_onnx(make("pointnet_basic").half(), tmp_path / "network.onnx", n_points=8)
