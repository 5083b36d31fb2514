import math

import pytest
import torch

from pointinteract.losses import field_loss, hardest_contrast_loss, point_contrast_loss


def unit(*shape):
    rows = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    return rows / rows.norm(dim=-1, keepdim=True)


def test_point_contrast_follows_the_definition():
    first, second = unit(5, 8), unit(6, 8)[1:]

    ours = point_contrast_loss(3 * first, 0.5 * second, temperature=0.2)

    terms = []
    for i in range(5):
        similar = [math.exp(float(first[i] @ second[j]) / 0.2) for j in range(5)]
        terms.append(-math.log(similar[i] / sum(similar)))
    assert float(ours) == pytest.approx(sum(terms) / 5, rel=1e-5)


def test_right_matches_cost_less_than_wrong_ones():
    rows = unit(6, 8)

    assert point_contrast_loss(rows, rows) < 0.1 < point_contrast_loss(rows, rows.roll(1, 0))


def test_hardest_contrast_follows_the_definition():
    first, second = unit(14, 4)[:6], unit(14, 4)[7:]
    match = torch.tensor([[0, 1], [2, 3], [5, 0]])
    point_of_first = torch.arange(10, 16)
    point_of_second = torch.tensor([15, 10, 30, 12, 31, 32, 33])

    ours, parts = hardest_contrast_loss(
        first, second, match, point_of_first, point_of_second, generator=torch.Generator()
    )

    positive, negative = [], []
    for i, j in match.tolist():
        positive.append(max(float((first[i] - second[j]).norm()) - 0.1, 0) ** 2)
        wrong = [float((first[i] - row).norm()) for k, row in enumerate(second) if k != j]
        negative.append(0.5 * max(1.4 - min(wrong), 0) ** 2)
        wrong = [float((second[j] - row).norm()) for k, row in enumerate(first) if k != i]
        negative.append(0.5 * max(1.4 - min(wrong), 0) ** 2)
    assert float(parts["positive"]) == pytest.approx(sum(positive) / 3, rel=1e-4)
    assert float(parts["negative"]) == pytest.approx(sum(negative) / 3, rel=1e-4)
    torch.testing.assert_close(ours, parts["positive"] + parts["negative"])


def test_fewer_candidates_find_no_harder_ones():
    first, second, names = unit(40, 4), unit(80, 4)[40:], torch.arange(40)
    match = torch.stack([names, names], dim=1)

    def negative(n_candidates):
        generator = torch.Generator().manual_seed(0)
        return hardest_contrast_loss(first, second, match, names, names, generator=generator,
                                     n_candidates=n_candidates)[1]["negative"]

    assert negative(4) < negative(40)


def test_equal_vectors_have_finite_gradients():
    rows = unit(4, 4).requires_grad_()
    names = torch.arange(4)

    loss, _ = hardest_contrast_loss(
        rows, rows, torch.stack([names, names], 1), names, names, generator=torch.Generator()
    )
    loss.backward()

    assert rows.grad.isfinite().all()


def test_field_loss_sums_over_places_and_averages_over_clouds():
    loss = field_loss(torch.tensor([[1.0, -1], [0, 3]]), torch.zeros(2, 2))

    assert float(loss) == 2.5


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"both be \(M, D\).*got \(3, 2\) and \(4, 2\)"):
        point_contrast_loss(torch.zeros(3, 2), torch.zeros(4, 2))
    with pytest.raises(ValueError, match=r"match must be \(M, 2\)"):
        hardest_contrast_loss(*2 * (torch.zeros(3, 2),), torch.zeros(0, 2).long(),
                              *2 * (torch.arange(3),), generator=torch.Generator())
    with pytest.raises(ValueError, match=r"both be \(B, Q\)"):
        field_loss(torch.zeros(2, 3), torch.zeros(2, 4))
