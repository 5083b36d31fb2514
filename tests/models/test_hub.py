"""Weights by one string: a hub served from here, with files of the layout that it holds."""

import hashlib
import http.server
import re
import threading

import pytest
import torch
from torch import nn

from pointinteract.classification import PointClassifier
from pointinteract.datasets import make_shapes
from pointinteract.exceptions import CheckpointError
from pointinteract.models import PointTransformer, create_model, load_official, to_official
from pointinteract.models._hub import fetch_weights, system_of
from pointinteract.models._torch_pointcloud import to_official_names

safetensors = pytest.importorskip("safetensors.torch")
pytest.importorskip("huggingface_hub")

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = "point-mae-base.modelnet40.yatian-pang"
REFERENCE = f"hf:torch-pointcloud/{NAME}"
CARD = b"---\nlibrary_name: torch-pointcloud\nlicense: mit\n---\n# Model card\n"
SMALL = {"width": 12, "depth": 2, "n_heads": 2, "patch_hidden": (4, 6, 8)}


class _Hub(http.server.BaseHTTPRequestHandler):
    """As much of the hub as a download asks for."""

    files: dict[str, bytes] = {}
    asked: list[str] = []

    def do_HEAD(self):
        self._answer(with_body=False)

    def do_GET(self):
        self._answer(with_body=True)

    def _answer(self, *, with_body):
        found = re.fullmatch(r"/([\w.-]+/[\w.-]+)/resolve/([\w.-]+)/(.+)", self.path)
        self.asked.append(self.path)
        if not found or found[3] not in self.files:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = self.files[found[3]]
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if with_body:
            self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub with a model card; its files are put into ``hub.files``."""

    class Fresh(_Hub):
        files = {"README.md": CARD}
        asked = []

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Fresh)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    yield Fresh
    server.shutdown()
    server.server_close()


def as_copy_of_point_mae(state):
    """Name the tensors of an original as the copies do, written down apart from our renames."""
    mlp = {"0": "lins.0", "1": "norms.0.module", "3": "lins.1"}
    head = {"0": "lins.0", "1": "norms.0.module", "4": "lins.1", "5": "norms.1.module",
            "8": "lins.2"}  # fmt: skip
    copied = {}
    for name, tensor in state.items():
        parts = name.split(".")
        if parts[0] == "encoder":
            side = {"first_conv": "local_mlp", "second_conv": "global_mlp"}[parts[1]]
            parts = ["encoder", side, mlp[parts[2]], parts[3]]
        elif parts[0] == "pos_embed":
            parts = ["pos_embed", {"0": "lins.0", "2": "lins.1"}[parts[1]], parts[2]]
        elif parts[0] == "cls_head_finetune":
            parts = ["head", head[parts[1]], parts[2]]
        elif "mlp" in parts:
            parts[-2] = {"fc1": "lins.0", "fc2": "lins.1"}[parts[-2]]
        elif parts[0] == "norm":
            parts[0] = "norm_f"
        while tensor.ndim > 2 and tensor.shape[-1] == 1 and parts[0] == "encoder":
            tensor = tensor[..., 0]
        copied[".".join(parts)] = tensor.contiguous()
    return copied


@pytest.fixture
def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = PointTransformer(n_classes=5, n_groups=64, **SMALL).eval()
        for layer in made.modules():
            if isinstance(layer, nn.LayerNorm):
                nn.init.uniform_(layer.weight, 0.5, 1.5)
    return made


@pytest.fixture
def served(hub, network):
    hub.files["model.safetensors"] = safetensors.save(as_copy_of_point_mae(to_official(network)))
    return network


def test_weights_of_the_hub_give_the_network_that_was_copied(hub, served):
    points = torch.rand(2, 90, 3, generator=torch.Generator().manual_seed(1))
    loaded = load_official(None, REFERENCE, num_heads=2)
    torch.testing.assert_close(loaded(points), served(points), rtol=0, atol=0)
    assert COMMIT in loaded.official_source
    assert "licence: mit" in loaded.official_source


def test_what_a_copy_does_not_hold_has_its_type_too(hub, served):
    state = {name: tensor.double() for name, tensor in as_copy_of_point_mae(
        to_official(served)).items() if not name.startswith("head.")}  # fmt: skip
    loaded = load_official("point_mae", state, num_heads=2)
    assert {each.dtype for each in loaded.state_dict().values() if each.is_floating_point()} == {
        torch.float64
    }


def test_known_repositories_are_read_at_a_known_commit(hub, served):
    load_official("point_mae", REFERENCE, num_heads=2)
    asked = {path.split("/resolve/")[1].split("/")[0] for path in hub.asked}
    assert "main" not in asked
    assert all(re.fullmatch("[0-9a-f]{40}", revision) for revision in asked)


def test_revision_of_the_caller_wins(hub, served):
    load_official(None, f"{REFERENCE}@v2", num_heads=2)
    assert any("/resolve/v2/model.safetensors" in path for path in hub.asked)


def test_unknown_repository_says_how_to_pin_it(hub, served, caplog):
    load_official("point_mae", "hf:somebody/some-model", num_heads=2)
    assert f"hf:somebody/some-model@{COMMIT}" in caplog.text


def test_numbers_that_tensors_do_not_tell_come_with_the_name(hub, served):
    loaded = load_official(
        None, "hf:torch-pointcloud/point-mae-base.modelnet40-8k.yatian-pang", num_heads=2
    )
    assert loaded.n_groups == 512


def test_second_time_comes_from_the_cache(hub, served, monkeypatch):
    load_official(None, REFERENCE, num_heads=2)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    revision = fetch_weights(f"{REFERENCE}@{COMMIT}").revision
    assert revision == COMMIT


def test_classifier_starts_from_the_hub(hub, served):
    X, y = make_shapes(6, n_points=70, return_X_y=True, random_state=0)
    clf = PointClassifier(pretrained=REFERENCE, max_epochs=1, learning_rate=1e-9, weight_decay=0.0)
    clf.fit(X, y % 2)
    ours = clf.module_.patch_embedding.linear1.weight
    torch.testing.assert_close(ours.detach(), served.patch_embedding.linear1.weight.detach())


@pytest.mark.parametrize("reference", ["hf:", "hf:no-organisation", "hf:a/b/c", "hf:a/b@"])
def test_misspelt_reference(reference):
    with pytest.raises(CheckpointError, match="hf:organisation/name"):
        load_official(None, reference)


def test_missing_repository_is_named(hub):
    with pytest.raises(CheckpointError, match="point-mae-base.*could not be had"):
        load_official(None, REFERENCE)


def test_truncated_file_is_refused(hub, served):
    hub.files["model.safetensors"] = hub.files["model.safetensors"][:-50]
    with pytest.raises(CheckpointError, match="truncated"):
        load_official(None, REFERENCE, num_heads=2)


def test_model_card_without_a_licence(hub, served):
    hub.files["README.md"] = b"# nothing\n"
    assert "not stated" in load_official(None, REFERENCE, num_heads=2).official_source


def test_unknown_system_is_refused_before_a_download(hub, served):
    with pytest.raises(CheckpointError, match="Unknown system"):
        load_official("point_may", REFERENCE)
    assert not hub.asked


def test_copies_of_other_systems_are_refused_with_a_hint():
    with pytest.raises(CheckpointError, match="point_mae"):
        to_official_names("pct", {"proj.lins.0.weight": torch.zeros(2, 2)})


def test_bias_before_a_normalization_goes_into_its_mean():
    generator = torch.Generator().manual_seed(0)
    linear, norm = nn.Linear(6, 5), nn.BatchNorm1d(5).eval()
    for name, tensor in [*linear.state_dict().items(), *norm.state_dict().items()]:
        if name != "num_batches_tracked":
            tensor.uniform_(0.5, 1.5, generator=generator)
    copy = {f"proj.lins.0.{name}": tensor for name, tensor in linear.state_dict().items()}
    copy |= {f"proj.norms.0.module.{name}": each for name, each in norm.state_dict().items()}
    rows = torch.rand(4, 6, generator=generator)
    expected = norm(linear(rows)).detach()

    read = to_official_names("dgcnn", copy)

    assert "conv5.0.bias" not in read
    norm.load_state_dict({key.removeprefix("conv5.1."): value for key, value in read.items()
                          if key.startswith("conv5.1.")})  # fmt: skip
    torch.testing.assert_close(norm(rows @ read["conv5.0.weight"].T), expected)


def test_columns_are_ordered_as_ours():
    weight = torch.arange(6.0).view(1, 6)
    of_edges = to_official_names("dgcnn", {"encoder.blocks.0.conv.nn.lins.0.weight": weight})
    of_balls = to_official_names(
        "pointnet2_ssg", {"encoder.sa_blocks.1.convs.0.local_nn.lins.0.weight": weight[:, :5]}
    )
    of_all = to_official_names("pointnet2_msg", {"aggr.lins.0.weight": weight[:, :5]})

    assert of_edges["conv1.0.weight"].tolist() == [[3, 4, 5, 0, 1, 2]]
    assert of_balls["sa2.mlp_convs.0.weight"].tolist() == [[2, 3, 4, 0, 1]]
    assert of_all["sa3.mlp_convs.0.weight"].tolist() == [[2, 3, 4, 0, 1]]


@pytest.mark.parametrize(
    ("name", "system"),
    [
        ("dgcnn.modelnet40-2048.an-tao", "dgcnn"),
        ("dgcnn.s3dis-area5.an-tao", None),
        ("pointnet2-ssg.modelnet40.xu-yan", "pointnet2_ssg"),
        ("pointnet2.modelnet40.openpoints", None),
        ("pointnext-sm-c64.modelnet40.openpoints", "pointnext_s_c64"),
        ("pointnext-sm.scanobjectnn-hardest.openpoints", "pointnext_s"),
        ("pointnext-sm-c64.shapenetpart.openpoints", None),
        ("recon-base.modelnet40.somebody", "recon"),
    ],
)
def test_name_of_a_copy_says_its_system(name, system):
    assert system_of(name) == system


class TestDetection:
    """Which system a file is of, without being told."""

    @pytest.mark.parametrize("name", ["dgcnn", "pointnet", "recon_nano", "pointmlp_elite"])
    def test_a_file_is_known_by_its_tensors(self, name, tmp_path):
        state = to_official(create_model(name, n_classes=3))
        torch.save({"base_model": {f"module.{key}": value for key, value in state.items()}},
                   tmp_path / "file.pth")  # fmt: skip
        loaded = load_official(None, tmp_path / "file.pth")
        assert type(loaded) is type(create_model(name))

    def test_what_fits_nothing_is_refused(self):
        with pytest.raises(CheckpointError, match="none of the systems"):
            load_official(None, {"layer.weight": torch.zeros(3, 3)})
