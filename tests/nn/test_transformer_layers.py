import pytest
import torch

from pointinteract.nn.attention import CrossAttention, SelfAttention
from pointinteract.nn.transformer import DropPath, PreNormBlock, drop_path_rates


def test_self_attention_follows_the_definition():
    layer = SelfAttention(12, 3)
    tokens = torch.randn(2, 5, 12)

    ours = layer(tokens)

    query, key, value = layer.qkv(tokens).split(12, dim=-1)
    heads = []
    for h in range(3):
        part = slice(4 * h, 4 * h + 4)
        share = (query[..., part] @ key[..., part].transpose(1, 2) * 4**-0.5).softmax(-1)
        heads.append(share @ value[..., part])
    torch.testing.assert_close(ours, layer.projection(torch.cat(heads, dim=-1)),
                               atol=1e-6, rtol=1e-5)


def test_cross_attention_reads_with_the_shares_it_reports():
    layer = CrossAttention(8, 2)
    readers, tokens = torch.randn(1, 3, 8), torch.randn(1, 6, 8)

    shares = layer.weights(readers, tokens)

    torch.testing.assert_close(shares.sum(-1), torch.ones(1, 2, 3))
    value = layer.key_value(tokens)[..., 8:].view(1, 6, 2, 4).transpose(1, 2)
    read = (shares @ value).transpose(1, 2).reshape(1, 3, 8)
    torch.testing.assert_close(layer(readers, tokens), layer.projection(read),
                               atol=1e-6, rtol=1e-5)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="divide the width 10, got 3"):
        SelfAttention(10, 3)


def test_drop_path_keeps_the_mean_and_is_off_in_evaluation():
    torch.manual_seed(0)
    layer = DropPath(0.25)
    branch = torch.ones(4000, 2, 3)

    dropped = layer(branch)

    assert dropped.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert dropped.mean() == pytest.approx(1.0, abs=0.05)
    assert (dropped.flatten(1).std(dim=1) == 0).all()  # whole samples, not single numbers
    assert torch.equal(layer.eval()(branch), branch)


def test_drop_path_rates_grow_from_zero():
    assert drop_path_rates(0.3, 4) == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert drop_path_rates(0.3, 1) == [0.0]


def test_pre_norm_block_is_indifferent_to_the_order_of_tokens():
    block = PreNormBlock(8, 2).eval()
    tokens = torch.randn(1, 6, 8)

    torch.testing.assert_close(block(tokens).flip(1), block(tokens.flip(1)), atol=1e-6, rtol=1e-5)
