"""Work that is interrupted goes on where it was; the file of other work is refused."""

import numpy as np
import pytest
import torch
from torch import nn

from pointinteract.exceptions import CheckpointError, FileFormatError
from pointinteract.explanation import InteractionExplainer, _checkpoint
from pointinteract.explanation._models import as_cloud_model
from pointinteract.explanation._running import Run

N_REGIONS = 5


class Interrupted(Exception):
    pass


class CountingNet(nn.Module):
    """Counts the clouds it saw, and stops after `limit`, as a power cut would."""

    def __init__(self, limit=None, seed=0):
        super().__init__()
        self.n_seen, self.limit = 0, limit
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.points, self.head = nn.Linear(3, 16), nn.Linear(16, 3)

    def forward(self, points):
        if self.limit is not None and self.n_seen >= self.limit:
            raise Interrupted
        self.n_seen += len(points)
        return self.head(self.points(points).relu().amax(dim=1))


@pytest.fixture(autouse=True)
def write_at_once(monkeypatch):
    monkeypatch.setattr(_checkpoint, "SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr(_checkpoint, "TIMES_LAST_WRITE", 0.0)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "work.npz"


@pytest.fixture
def make(path):
    def explainer(**changes):
        parameters = {"resume": path, "batch_size": 4} | changes
        return InteractionExplainer(N_REGIONS, **parameters)

    return explainer


def seen_in_full(X):
    network = CountingNet()
    InteractionExplainer(N_REGIONS, batch_size=4).explain(network, X)
    return network.n_seen


@pytest.mark.parametrize("limit", [30, 50, 75, 100])
def test_second_call_goes_on_in_the_middle(make, path, clouds, limit):
    X, y = clouds[:3], [0, 1, 2]
    with pytest.raises(Interrupted):
        make().explain(CountingNet(limit), X, y)
    assert path.exists()

    network = CountingNet()
    explanation = make().explain(network, X, y)

    reference = make(resume=None).explain(CountingNet(), X, y)
    np.testing.assert_array_equal(explanation.values, reference.values)
    np.testing.assert_array_equal(explanation.targets, y)
    np.testing.assert_array_equal(explanation.predicted, reference.predicted)
    # What was done counts, but for the questions before and one block of calls.
    assert network.n_seen <= seen_in_full(X) - limit + 13 + 16


def test_interruption_by_hand_loses_no_finished_cloud(make, clouds, monkeypatch):
    monkeypatch.setattr(_checkpoint, "SECONDS_BETWEEN", 1e9)

    def stop(done, total):
        if done > 70:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(progress=stop, keep_answers=True).explain(CountingNet(), clouds[:3])
    calls = []
    explanation = make(progress=lambda done, total: calls.append(done), keep_answers=True).explain(
        CountingNet(), clouds[:3]
    )

    reference = make(resume=None, keep_answers=True).explain(CountingNet(), clouds[:3])
    assert calls[0] == 64
    np.testing.assert_array_equal(explanation.values, reference.values)
    np.testing.assert_array_equal(explanation.answers, reference.answers)


def test_failure_before_any_cloud_leaves_no_file(make, path, clouds):
    with pytest.raises(Interrupted):
        make(batch_size=64).explain(CountingNet(limit=12), clouds[:1])

    assert not path.exists()


def test_progress_starts_where_the_work_does(make, clouds):
    with pytest.raises(Interrupted):
        make().explain(CountingNet(60), clouds[:3])
    calls = []

    make(progress=lambda done, total: calls.append((done, total))).explain(
        CountingNet(), clouds[:3]
    )

    assert calls[0][0] >= 32 and calls[-1] == (96, 96)


def test_finished_file_answers_at_once(make, clouds):
    first = make().explain(CountingNet(), clouds[:2])
    network = CountingNet()

    again = make().explain(network, clouds[:2])

    np.testing.assert_array_equal(again.values, first.values)
    assert network.n_seen < 32


def test_interruption_between_writes_leaves_a_whole_file(make, path, clouds, monkeypatch):
    with pytest.raises(Interrupted):
        make().explain(CountingNet(60), clouds[:3])
    before = path.read_bytes()

    def fail(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(np.lib.format, "write_array", fail)
    with pytest.raises(KeyboardInterrupt):
        make().explain(CountingNet(), clouds[:3])

    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"score": "logit"}, "another score: there 'log_odds', now 'logit'"),
        ({"absence": "region"}, "another absence"),
        ({"target": 1}, "another target"),
        ({"start": "far"}, "another regions"),
    ],
)
def test_other_settings_are_refused(make, clouds, changes, what):
    make().explain(CountingNet(), clouds[:2])

    with pytest.raises(CheckpointError, match=f"begun with {what}"):
        make(**changes).explain(CountingNet(), clouds[:2])


def test_other_clouds_and_labels_are_refused(make, clouds):
    make().explain(CountingNet(), clouds[:2])

    with pytest.raises(CheckpointError, match="another clouds, regions"):
        make().explain(CountingNet(), clouds[2:4])
    with pytest.raises(CheckpointError, match="another labels"):
        make().explain(CountingNet(), clouds[:2], [0, 0])


def test_another_model_is_refused(make, clouds):
    make().explain(CountingNet(), clouds[:2])

    with pytest.raises(CheckpointError, match="another model: this one answers"):
        make().explain(CountingNet(seed=1), clouds[:2])


def test_file_of_something_else_is_refused(make, path, clouds):
    path.write_text("my notes")
    with pytest.raises(FileFormatError, match="not a complete file"):
        make().explain(CountingNet(), clouds[:2])
    assert path.read_text() == "my notes"

    InteractionExplainer(3).explain(CountingNet(), clouds[:2]).save(path)
    with pytest.raises(CheckpointError, match="not an unfinished explanation"):
        make().explain(CountingNet(), clouds[:2])


def test_folder_that_is_not_there_is_named(make, tmp_path, clouds):
    with pytest.raises(CheckpointError, match="folder that is not there"):
        make(resume=tmp_path / "no" / "work.npz").explain(CountingNet(), clouds[:2])


def test_both_halves_of_the_noise_control_resume(make, clouds):
    make(random_state=0).noise_control(CountingNet(), clouds[:2])
    network = CountingNet()

    make(random_state=0).noise_control(network, clouds[:2])

    assert network.n_seen < 64


def test_answers_are_kept_over_an_interruption(make, path, clouds):
    with pytest.raises(Interrupted):
        make(keep_answers=True).explain(CountingNet(60), clouds[:3])
    explainer = make(keep_answers=True)

    outcome = outcome_of(explainer, CountingNet(), clouds[:3])

    reference = outcome_of(make(keep_answers=True, resume=None), CountingNet(), clouds[:3])
    assert outcome.answers.shape == (3, 32, 3) and outcome.answers.dtype == np.float32
    np.testing.assert_array_equal(outcome.answers, reference.answers)


def outcome_of(explainer, network, X):
    """What the run gave, before it becomes an explanation."""
    from pointinteract.explanation._planning import cut_for, make_plan

    model = as_cloud_model(network)
    X = tuple(X)
    return Run(make_plan(explainer, X), model, X, cut_for(explainer, model, X), None).outcome()


def test_random_work_resumes_only_with_a_seed(make, clouds):
    with pytest.raises(ValueError, match="random_state must be an integer; got None"):
        make(absence="resample").explain(CountingNet(), clouds[:2])
    explainer = make(absence="resample", random_state=0)
    first = explainer.explain(CountingNet(), clouds[:2])
    network = CountingNet()

    np.testing.assert_array_equal(explainer.explain(network, clouds[:2]).values, first.values)
    assert network.n_seen < 32
