"""The decoder that makes clouds of pooled features."""

import pytest
import torch

from pointinteract.models import create_model
from pointinteract.models.completion import CompletionDecoder, CompletionNetwork


def test_fine_points_are_folded_around_coarse_ones():
    decoder = CompletionDecoder(5, n_coarse=4, n_fold=3, width=8, extent=0.1)
    features = torch.randn(2, 5, generator=torch.Generator().manual_seed(0))

    coarse, fine = decoder(3 + 7 * features)  # whose place and size are taken away

    features = (features - features.mean(1, keepdim=True)) / features.std(
        1, keepdim=True, unbiased=False
    )
    assert coarse.shape == (2, 4, 3) and fine.shape == (2, 36, 3)
    for i in (0, 3):
        for j in (0, 5, 8):
            rows = torch.cat([decoder.grid[j], coarse[1, i], features[1]])
            move = decoder.fold_out(decoder.fold_mid(decoder.fold_in(rows).relu()).relu())
            torch.testing.assert_close(fine[1, 9 * i + j], coarse[1, i] + move, atol=1e-4, rtol=0)
    assert decoder.grid.tolist()[0] == pytest.approx([-0.1, -0.1])
    assert CompletionDecoder(5, n_coarse=4, n_fold=1)(features)[1].shape == (2, 4, 3)


@pytest.mark.parametrize("name", ["pointnet_basic", "dgcnn", "recon_nano"])
def test_any_network_can_be_the_encoder(name):
    network = CompletionNetwork(create_model(name, n_classes=0), n_coarse=5, n_fold=2, width=8)
    points = torch.randn(2, 12, 3, generator=torch.Generator().manual_seed(0))

    coarse, fine = network(points)
    (coarse.sum() + fine.sum()).backward()

    assert coarse.shape == (2, 5, 3) and fine.shape == (2, 20, 3)
    assert network.permutation_invariant is network.encoder.permutation_invariant
    assert any(p.grad is not None and p.grad.any() for p in network.encoder.parameters())


def test_the_grid_is_no_weight_and_follows_the_precision():
    decoder = CompletionDecoder(3, n_coarse=2).double()

    assert "grid" not in decoder.state_dict() and decoder.grid.dtype == torch.float64
    assert decoder(torch.zeros(1, 3, dtype=torch.float64))[1].dtype == torch.float64
