import copy

import pytest
import torch

from pointinteract.nn.patches import (
    PatchEmbedding,
    block_patch_mask,
    n_masked_patches,
    random_patch_mask,
    split_by_mask,
)


@pytest.mark.parametrize("training", [True, False])
def test_patch_embedding_equals_the_joined_form(training):
    """Oracle: repeat the maximum, join it to every point, one product."""
    layer = PatchEmbedding(6, hidden=(4, 5, 7)).double()
    patches = torch.randn(2, 3, 8, 3, dtype=torch.float64) * 0.3 + 1
    layer(patches)  # so that the stored statistics are no longer 0 and 1
    layer.train(training)
    twin = copy.deepcopy(layer)

    ours = layer(patches)

    rows = patches.view(-1, 3)
    rows = twin.linear2(torch.relu(twin.norm1(twin.linear1(rows)))).view(6, 8, 5)
    joined = torch.cat([rows.amax(1, keepdim=True).expand_as(rows), rows], dim=-1).view(-1, 10)
    joined = torch.relu(twin.norm2(twin.linear3(joined)))
    expected = twin.linear4(joined).view(2, 3, 8, 6).amax(2)
    torch.testing.assert_close(ours, expected)
    for output in (ours, expected):
        output.square().sum().backward()
    for (name, mine), theirs in zip(layer.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, atol=1e-9, rtol=1e-6, msg=name)
    for (name, mine), theirs in zip(layer.named_buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(mine, theirs, msg=name)


def test_patch_embedding_ignores_the_order_inside_a_patch():
    layer = PatchEmbedding(6, hidden=(4, 5, 7)).eval()
    patches = torch.randn(2, 3, 8, 3)

    torch.testing.assert_close(layer(patches), layer(patches.flip(2)))


def test_masks_hide_the_number_asked_for():
    assert n_masked_patches(64, 0.6) == 38
    assert n_masked_patches(2, 0.99) == 1  # one always stays visible
    mask = random_patch_mask(50, 10, 6, generator=torch.Generator().manual_seed(0))
    assert (mask.sum(1) == 6).all()
    assert mask.float().mean(0).std() < 0.2  # every patch has its turn


def test_block_mask_is_a_neighborhood():
    centers = torch.arange(8.0).view(1, 8, 1).expand(1, 8, 3)

    mask = block_patch_mask(centers, 3, seed_index=torch.tensor([5]))

    assert mask[0].nonzero().flatten().tolist() == [4, 5, 6]
    with pytest.raises(ValueError, match="generator or a seed_index"):
        block_patch_mask(centers, 3)


def test_visible_and_hidden_keep_the_order_of_patches():
    mask = torch.tensor([[True, False, True, False], [False, False, True, True]])

    visible, hidden = split_by_mask(mask)

    assert visible.tolist() == [[1, 3], [0, 1]] and hidden.tolist() == [[0, 2], [2, 3]]
    with pytest.raises(ValueError, match="same number"):
        split_by_mask(torch.tensor([[True, True], [True, False]]))
