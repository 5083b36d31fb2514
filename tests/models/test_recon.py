import pytest
import torch

from pointinteract.models.recon import ReCon, ReConBlock, recon_sizes
from pointinteract.models.recon_pretraining import ReConPretraining

NUMBERS = dict(width=12, depth=2, n_heads=2, n_groups=6, group_size=5, patch_hidden=(4, 6, 8))


def n_parameters(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("size, pretraining, fine_tuning", [
    ("base", 50_781_280, 43_577_640),
    ("small", 22_944_096, 19_739_688),
    ("tiny", 13_154_272, 11_359_656),
])
def test_published_sizes_have_the_published_number_of_parameters(size, pretraining, fine_tuning):
    numbers = recon_sizes(size)
    with torch.device("meta"):
        whole = ReConPretraining(**numbers, image_width=768, text_width=512)
        del numbers["decoder_depth"]
        network = ReCon(**numbers, n_classes=40)

    assert n_parameters(whole) == pretraining
    assert n_parameters(network) == fine_tuning


def test_frozen_protocols_train_the_published_number_of_parameters():
    numbers = recon_sizes("base")
    del numbers["decoder_depth"]
    for head, expected in (("linear", 62_248), ("mlp", 471_336)):
        with torch.device("meta"):
            network = ReCon(**numbers, n_classes=40, head=head)
        trained = [p for name, p in network.named_parameters()
                   if name.startswith("head.") or "cls_" in name]
        assert sum(p.numel() for p in trained) == expected


def test_contrastive_gradient_stops_before_the_local_stream():
    points = torch.randn(4, 40, 3)
    for stop_gradient in (True, False):
        torch.manual_seed(0)
        model = ReConPretraining(**NUMBERS, decoder_depth=1, image_width=3,
                                 stop_gradient=stop_gradient)
        out = model(points, generator=torch.Generator().manual_seed(0))
        out.image.square().sum().backward()
        local = model.encoder.blocks[0].self_attention.qkv.weight.grad
        embedding = model.encoder.patch_embedding.linear1.weight.grad
        for gradient in (local, embedding):
            reached = gradient is not None and bool(gradient.abs().sum() > 0)
            assert reached is not stop_gradient
        assert model.encoder.blocks[0].cross_attention.query.weight.grad.abs().sum() > 0


def test_residuals_stand_on_normalized_values():
    block = ReConBlock(8, 2).eval()
    for module in (block.cross_attention, block.self_attention):
        torch.nn.init.zeros_(module.projection.weight)
        torch.nn.init.zeros_(module.projection.bias)
    for mlp in (block.mlp_local, block.mlp_global):
        torch.nn.init.zeros_(mlp[2].weight)
        torch.nn.init.zeros_(mlp[2].bias)
    tokens = torch.randn(1, 7, 8) * 5 + 3

    out = block(tokens)

    normed = torch.nn.functional.layer_norm(tokens, (8,))
    torch.testing.assert_close(out, torch.nn.functional.layer_norm(normed, (8,)))


def test_patches_do_not_read_queries():
    model = ReCon(**NUMBERS, n_classes=3).eval()
    points = torch.randn(2, 40, 3)
    before = model.forward_features(points)[:, 3:]

    with torch.no_grad():
        model.img_token += 10.0

    assert torch.equal(model.forward_features(points)[:, 3:], before)


def test_block_masks_hide_the_same_number_as_random_ones():
    centers = torch.randn(3, 10, 3)
    for mask_type in ("rand", "block"):
        model = ReConPretraining(**NUMBERS, decoder_depth=1, mask_type=mask_type)
        mask = model.draw_mask(centers, torch.Generator().manual_seed(0))
        assert (mask.sum(1) == 6).all()


def test_one_patch_and_one_point_still_pass():
    model = ReConPretraining(**NUMBERS, decoder_depth=1, image_width=3)

    out = model(torch.randn(2, 1, 3), generator=torch.Generator())

    assert out.rebuilt.shape == (2, 0, 5, 3) and torch.isfinite(out.tokens).all()


def test_heads_are_replaced_and_taken_off():
    model = ReCon(**NUMBERS, n_classes=3)

    model.reset_classifier(7, head="linear")
    assert model(torch.randn(2, 20, 3)).shape == (2, 7) and len(model.head) == 1
    model.reset_classifier(0)
    assert model(torch.randn(2, 20, 3)).shape == (2, model.num_features)
    with pytest.raises(ValueError, match="'mlp' or 'linear'"):
        model.reset_classifier(2, head="big")


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="mask_type"):
        ReConPretraining(**NUMBERS, mask_type="stripes")
    with pytest.raises(ValueError, match="size must be one of"):
        recon_sizes("huge")
    with pytest.raises(ValueError, match="mask or a generator"):
        ReConPretraining(**NUMBERS)(torch.randn(1, 20, 3))
