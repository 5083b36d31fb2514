"""A classifier's recipe is that of the network it will have, also before that is trained."""

import pytest

from pointinteract.classification import PointClassifier, get_recipe
from pointinteract.classification._recipes import effective_recipe
from pointinteract.models import list_models
from pointinteract.pretraining import (
    DiscreteVAEPretrainer,
    I2PMAEPretrainer,
    MoCoPretrainer,
    PointBERTPretrainer,
    PointGPTPretrainer,
    PointM2AEPretrainer,
    PointMAEPretrainer,
    ReConPretrainer,
)


@pytest.mark.parametrize(
    ("pretrainer", "model"),
    [
        (ReConPretrainer(), "recon_nano"),
        (PointMAEPretrainer(), "transformer_nano"),
        (PointMAEPretrainer(block="recon"), "recon_nano"),
        (PointBERTPretrainer(tokenizer=DiscreteVAEPretrainer()), "transformer_nano"),
        (PointGPTPretrainer("base"), "point_gpt_nano"),
        (PointM2AEPretrainer(), "point_m2ae_nano"),
        (I2PMAEPretrainer(), "point_m2ae_nano"),
        (MoCoPretrainer("pointnet"), "pointnet"),
    ],
)
def test_paper_recipe_is_that_of_the_network_inside(pretrainer, model):
    classifier = PointClassifier(pretrained=pretrainer, recipe="paper")

    assert model in list_models()
    assert effective_recipe(classifier, "pct") == get_recipe(model, "paper")
