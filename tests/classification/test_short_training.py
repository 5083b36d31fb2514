"""After a few steps a network answers as well as it did in training."""

import torch

from pointinteract.classification import PointClassifier
from pointinteract.datasets import make_shapes


def test_a_short_training_is_worth_in_queries_what_it_was_in_training():
    X, y = make_shapes(64, n_points=64, classes=["bed", "mug"], return_X_y=True, random_state=0)
    settings = {"max_epochs": 4, "batch_size": 8, "random_state": 0}

    whole = PointClassifier("transformer_nano", **settings).fit(X[:32], y[:32])
    in_parts = PointClassifier("transformer_nano", **settings)
    for _ in range(4):
        in_parts.partial_fit(X[:32], y[:32])

    # The weights are the same; what BatchNorm remembers is another matter.
    pairs = zip(whole.module_.parameters(), in_parts.module_.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert whole.score(X[32:], y[32:]) > 0.9 > in_parts.score(X[32:], y[32:])
