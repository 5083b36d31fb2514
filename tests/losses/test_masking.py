import pytest
import torch
from torch import nn

from pointinteract.losses.masking import masked_logits, permute_regions
from pointinteract.ops import mask_regions


class Recorder(nn.Module):
    """Mean coordinate and extent of a cloud as two logits; counts the clouds it saw."""

    n_seen = 0

    def forward(self, points):
        self.n_seen += len(points)
        return torch.stack([points[:, :, 0].mean(1), points.abs().amax((1, 2))], dim=1)


@pytest.fixture
def cut():
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(3, 20, 3, generator=generator)
    return points, torch.arange(20).expand(3, 20) % 4


def test_answers_are_those_of_each_masked_cloud(cut):
    points, regions = cut
    keep = torch.tensor([[0, 0, 0, 0], [1, 0, 0, 1], [1, 1, 1, 1]]).bool()

    for table in (keep, keep[1:]):
        logits = masked_logits(Recorder(), points, regions, table)

        for i in range(3):
            one_by_one = Recorder()(mask_regions(points[i], regions[i], table))
            torch.testing.assert_close(logits[i], one_by_one)


def test_the_empty_cloud_is_asked_once_where_it_is_the_same_for_all(cut):
    points, regions = cut
    keep = torch.tensor([[0, 0, 0, 0], [1, 0, 0, 1]]).bool()
    apart, together = Recorder(), Recorder()

    masked_logits(apart, points, regions, keep)
    shared = masked_logits(together, points - points.mean(1, keepdim=True), regions, keep)

    assert apart.n_seen == 6 and together.n_seen == 4
    assert shared.shape == (3, 2, 2)


def test_regions_get_other_ids_in_each_cloud_and_stay_together(cut):
    _, regions = cut

    moved = permute_regions(regions, 4, torch.Generator().manual_seed(0))
    again = permute_regions(regions, 4, torch.Generator().manual_seed(0))

    assert torch.equal(moved, again) and not torch.equal(moved[0], moved[1])
    for cloud in moved:
        assert torch.equal(cloud, cloud[:4].repeat(5)) and len(cloud[:4].unique()) == 4
