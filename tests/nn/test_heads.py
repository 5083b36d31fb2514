"""The classification head."""

import pytest
import torch

from pointinteract.nn.heads import ClassifierHead


def test_layers_follow_the_numbers():
    head = ClassifierHead(
        6, (5, 4), 3, bias=(False, True), negative_slope=0.2, dropout=(0.1, 0.2)
    )

    assert head.layers[0].linear.bias is None and head.layers[1].linear.bias is not None
    assert [d.p for d in head.dropouts] == [0.1, 0.2]
    assert head(torch.randn(8, 6)).shape == (8, 3)


def test_empty_head_is_linear_and_no_classes_is_nothing():
    features = torch.randn(4, 6)
    linear = ClassifierHead(6, (), 3)
    nothing = ClassifierHead(6, (5,), 0, bias=(False,), dropout=(0.5,))

    torch.testing.assert_close(linear(features), linear.out(features))
    assert nothing(features) is features
    assert not list(nothing.parameters())


@pytest.mark.parametrize("where", ["dropout", "inner_dropout"])
def test_dropout_is_off_in_evaluation(where):
    head = ClassifierHead(6, (5,), 3, **{where: (0.5,)})
    features = torch.randn(16, 6)

    assert not torch.equal(head(features), head(features))
    head.eval()
    assert torch.equal(head(features), head(features))


def test_one_cloud_passes_in_training():
    assert torch.isfinite(ClassifierHead(6, (5, 4), 3)(torch.randn(1, 6))).all()


def test_numbers_of_another_length_are_refused():
    with pytest.raises(ValueError):
        ClassifierHead(6, (5, 4), 3, bias=(True,))
