import math

import pytest
import torch
import torch.nn.functional as F

from pointinteract.losses import patch_chamfer_loss, self_contrast_loss, smoothed_cross_entropy


def test_smoothing_spreads_over_the_other_classes_only():
    logits, target = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])

    ours = smoothed_cross_entropy(logits, target, smoothing=0.3)

    wanted = torch.full((6, 4), 0.1).scatter_(1, target.unsqueeze(1), 0.7)
    torch.testing.assert_close(ours, -(wanted * logits.log_softmax(1)).sum(1).mean())


def test_without_smoothing_it_is_the_usual_weighted_cross_entropy():
    logits, target = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 0, 1])
    weight = torch.tensor([1.0, 2.0, 5.0])

    ours = smoothed_cross_entropy(logits, target, weight=weight)

    torch.testing.assert_close(ours, F.cross_entropy(logits, target, weight=weight))


def test_self_contrast_follows_the_definition():
    embeddings, labels = torch.randn(5, 8), torch.tensor([0, 1, 0, 2, 1])

    ours = self_contrast_loss(embeddings, labels, temperature=0.2)

    unit = embeddings / embeddings.norm(dim=1, keepdim=True)
    terms = []
    for i in range(5):
        similar = [float(unit[i] @ unit[j]) for j in range(5)]
        positives = [s for s, label in zip(similar, labels, strict=True) if label == labels[i]]
        negatives = [s for s, label in zip(similar, labels, strict=True) if label != labels[i]]
        first = sum(positives) / len(positives) / 0.2
        others = sum(math.exp(s / 0.2) for s in negatives)
        terms.append(-first + math.log(math.exp(first) + others))
    assert float(ours) == pytest.approx(sum(terms) / 5, rel=1e-5)


def test_self_contrast_pulls_equal_labels_together():
    labels = torch.tensor([0, 0, 1, 1])
    together = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    apart = together[[0, 2, 1, 3]]

    assert self_contrast_loss(together, labels) < self_contrast_loss(apart, labels)


def test_nothing_hidden_is_refused_with_the_cure():
    empty = torch.zeros(2, 0, 4, 3)

    with pytest.raises(ValueError, match="raise mask_ratio"):
        patch_chamfer_loss(empty, empty)


def test_wrong_shapes_and_kinds_are_refused():
    patches = torch.zeros(1, 2, 4, 3)

    with pytest.raises(ValueError, match="kind must be one of"):
        patch_chamfer_loss(patches, patches, kind="emd")
    with pytest.raises(ValueError, match=r"embeddings must be \(B, D\)"):
        self_contrast_loss(torch.zeros(3, 2), torch.zeros(2))
