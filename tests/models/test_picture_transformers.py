"""Vision models of transformers, tiny and with random weights, behind the painted pictures."""

import pytest
import torch
from torch import nn

from pointinteract.models import P2P, TransformersPictures

transformers = pytest.importorskip("transformers")

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


def vit(**sizes):
    config = transformers.ViTConfig(
        **SIZES, intermediate_size=32, **{"image_size": 32, "patch_size": 16, **sizes}
    )
    return transformers.ViTModel(config, add_pooling_layer=False).eval()


def convnext():
    return transformers.ConvNextModel(
        transformers.ConvNextConfig(hidden_sizes=[4, 4, 8, 8], depths=[1, 1, 1, 1])
    ).eval()


@pytest.fixture
def pictures():
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_feature_of_a_vit_is_its_class_token(pictures):
    model = vit()
    network = TransformersPictures(model)

    found = network(pictures)

    assert network.num_features == 16
    assert torch.equal(found, model(pictures).last_hidden_state[:, 0])


@torch.no_grad()
def test_feature_of_a_convolutional_model_is_its_pooled_output(pictures):
    model = convnext()

    found = TransformersPictures(model)(pictures)

    assert torch.equal(found, model(pictures).pooler_output)


@torch.no_grad()
@pytest.mark.parametrize("make", [vit, convnext])
def test_mean_feature_is_of_tokens_or_maps(make, pictures):
    model = make()
    last = model(pictures).last_hidden_state

    found = TransformersPictures(model, feature="mean")(pictures)

    expected = last.mean(1) if last.ndim == 3 else last.mean((2, 3))
    assert torch.equal(found, expected)


@torch.no_grad()
def test_pictures_of_another_size_than_the_model_was_made_for():
    assert TransformersPictures(vit())(torch.zeros(1, 3, 48, 48)).shape == (1, 16)


def test_published_rule_trains_norms_and_class_token_only():
    network = P2P(
        n_classes=3,
        object_size=28,
        picture_size=32,
        picture_network=TransformersPictures(vit()),
        frozen=True,
    )
    network(torch.randn(2, 20, 3)).sum().backward()

    trained = {n for n, p in network.picture_network.named_parameters() if p.grad is not None}

    assert any("cls_token" in name for name in trained)
    assert any("layernorm" in name for name in trained)
    assert all("norm" in name or "cls_token" in name for name in trained)
    assert network.painter.color.weight.grad.abs().sum() > 0


def test_bad_input_is_explained(pictures):
    with pytest.raises(ValueError, match="feature must be None or one of"):
        TransformersPictures(vit(), feature="best")
    with pytest.raises(TypeError, match="Other modules need no wrapping"):
        TransformersPictures(nn.Linear(3, 3))
    with pytest.raises(ValueError, match="no pooled output"):
        TransformersPictures(vit(), feature="pooled")(pictures)
