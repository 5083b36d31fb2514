"""A short training, after which queries must be as good as the training batches were."""

import numpy as np
import pytest
import torch

from pointinteract.datasets import make_parts
from pointinteract.segmentation import PointSegmenter
from tests.segmentation.test_segmenter import Tiny


def test_statistics_are_those_of_the_clouds_by_the_final_weights(halves):
    X, y, _ = halves

    segmenter = PointSegmenter(
        Tiny, max_epochs=3, batch_size=4, learning_rate=0.1, augmentation=None, random_state=0
    ).fit(X, y)

    trunk = segmenter.module_.encoder
    with torch.no_grad():
        rows = trunk.layer(torch.from_numpy(segmenter._normalized(X))).flatten(0, 1)
    torch.testing.assert_close(trunk.norm.running_mean, rows.mean(0), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(trunk.norm.running_var, rows.var(0), atol=0, rtol=0.1)


def test_fit_of_no_epochs_leaves_the_statistics_as_they_came(halves):
    segmenter = PointSegmenter(Tiny, max_epochs=0, random_state=0).fit(*halves[:2])

    assert not segmenter.module_.encoder.norm.running_mean.any()


def test_file_of_a_finished_training_gives_the_same_network(halves, tmp_path):
    settings = dict(model=Tiny, max_epochs=2, batch_size=4, checkpoint=tmp_path / "training.npz")

    first = PointSegmenter(**settings, random_state=0).fit(*halves)
    again = PointSegmenter(**settings, random_state=0).fit(*halves)

    theirs = first.module_.state_dict()
    ours = again.module_.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("name", ["point_mae_nano", "recon_nano"])
def test_two_dozen_steps_are_enough_to_answer_as_in_training(name):
    things = make_parts(8, n_points=128, classes=["lamp", "mug"], random_state=0)
    segmenter = PointSegmenter(
        name, model_options={"n_groups": 16}, max_epochs=12, batch_size=4, random_state=0
    ).fit(things.data, things.parts, things.target)

    answers = segmenter.predict(things.data, things.target, restrict=False)

    # The record is a mean over the last epoch, in which weights still moved and units dropped.
    assert np.mean(answers == things.parts) > segmenter.history_.accuracy.iloc[-1] - 0.05
