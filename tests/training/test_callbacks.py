"""Progress through scikit-learn's callbacks: an epoch is a leaf task of fit."""

import numpy as np
import pytest

from pointinteract.classification import PointClassifier
from pointinteract.pretraining import ReConPretrainer

pytest.importorskip("sklearn.callback", reason="callbacks came with scikit-learn 1.9")


class Recorder:
    """A callback that writes down what it is told."""

    def __init__(self):
        self.heard = []

    def setup(self, estimator, context):
        self.heard.append(("setup", context.max_subtasks))

    def on_fit_task_begin(self, estimator, context):
        self.heard.append(("begin", context.task_name))

    def on_fit_task_end(self, estimator, context):
        self.heard.append(("end", context.task_name))

    def teardown(self, estimator, context):
        self.heard.append(("teardown", None))


@pytest.mark.parametrize("estimator", [
    ReConPretrainer(n_groups=4, group_size=4, max_epochs=2, random_state=0),
    PointClassifier("pointnet_basic", max_epochs=2, random_state=0),
])
def test_callbacks_hear_of_every_epoch(estimator, clouds, labels):
    recorder = Recorder()
    estimator.set_callbacks(recorder)

    estimator.fit(clouds, labels)

    epoch = [("begin", "epoch"), ("end", "epoch")]
    assert recorder.heard == [
        ("setup", 2), ("begin", "fit"), *epoch, *epoch, ("end", "fit"), ("teardown", None)
    ]


def test_callbacks_are_put_away_after_an_interruption(clouds):
    recorder = Recorder()

    def interrupt(points, generator):
        raise KeyboardInterrupt

    estimator = ReConPretrainer(n_groups=4, group_size=4, max_epochs=2, augmentation=interrupt)
    estimator.set_callbacks(recorder)
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(clouds)

    assert recorder.heard[-1] == ("teardown", None)


def test_watching_changes_no_number(clouds):
    plain = ReConPretrainer(n_groups=4, group_size=4, max_epochs=2, random_state=0).fit(clouds)
    watched = ReConPretrainer(n_groups=4, group_size=4, max_epochs=2, random_state=0)
    watched.set_callbacks(Recorder())

    watched.fit(clouds)

    assert np.array_equal(plain.transform(clouds), watched.transform(clouds))
