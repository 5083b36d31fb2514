import pytest
import torch

from pointinteract.exceptions import CheckpointError
from pointinteract.models import (
    I2PMAEPretraining,
    PointM2AE,
    PointM2AEPretraining,
    create_model,
    load_official,
    to_official,
)

TINY = dict(widths=(12, 18, 24), depths=(1, 1, 1), n_heads=3, patch_hidden=(8, 8, 8),
            n_groups=(16, 12, 6), group_sizes=(4, 3, 3))


@pytest.fixture
def points():
    return torch.randn(2, 32, 3, generator=torch.Generator().manual_seed(0))


def make(**numbers):
    torch.manual_seed(0)
    return PointM2AE(n_classes=5, **TINY | numbers).eval()


@pytest.mark.slow
def test_published_sizes_have_the_published_numbers_of_parameters():
    def count(module):
        return sum(p.numel() for p in module.parameters())

    assert round(count(create_model("point_m2ae")) / 1e6, 2) == 12.83
    assert round(count(PointM2AEPretraining()) / 1e6, 2) == 15.26


def test_pooling_adds_or_joins_mean_and_maximum(points):
    model = make()
    tokens = model.forward_features(points)

    mean, maximum = tokens.mean(1), tokens.amax(1)
    torch.testing.assert_close(model.forward_pool(points), mean + maximum)
    for skip_first, largest in ((False, maximum), (True, tokens[:, 1:].amax(1))):
        joined = make(pooling="concat", skip_first=skip_first)
        joined.load_state_dict({k: v for k, v in model.state_dict().items()
                                if not k.startswith("head")}, strict=False)
        torch.testing.assert_close(joined.forward_pool(points), torch.cat([mean, largest], 1))
        assert joined.num_features == 48
        assert torch.isfinite(joined(points[:, :1])).all()  # a single token


def test_a_scale_merges_tokens_of_its_members_only(points):
    model = make(radii=(1e-3, 1e-3, 1e-3))  # every token reads itself alone
    finest, middle, _ = model.cut(points)
    token = model.embed(0, finest, None)
    changed = token.clone()
    changed[:, 3] += 1.0

    before, after = (model.embed(1, middle, t) for t in (token, changed))

    holds = (middle.index == 3).any(-1)
    assert holds.any() and not holds.all()
    assert torch.equal((before != after).any(-1), holds)


def test_sizes_come_in_threes_and_poolings_have_names():
    with pytest.raises(ValueError, match="widths must be 3 numbers"):
        make(widths=(12, 24))
    with pytest.raises(ValueError, match="pooling must be one of sum, concat"):
        make(pooling="max")


def test_a_pass_needs_a_mask_or_a_generator(points):
    with pytest.raises(ValueError, match="needs a mask or a generator"):
        PointM2AEPretraining(**TINY)(points)


def test_checkpoints_of_a_classifier_keep_their_pooling(points):
    model = make(pooling="concat", skip_first=True)
    sizes = dict(num_groups=[16, 12, 6], group_sizes=[4, 3, 3], num_heads=3)

    again = load_official("point_m2ae", to_official(model), **sizes)
    whole = load_official("point_m2ae", to_official(model), skip_first=False, **sizes)

    assert torch.equal(again(points), model(points))
    assert whole.config == model.config | {"skip_first": False}
    with pytest.raises(CheckpointError, match="encoder_dims"):
        load_official("point_m2ae", to_official(model), encoder_dims=[96, 192, 384])


def test_checkpoints_that_do_not_fit_are_refused():
    state = to_official(PointM2AEPretraining(**TINY))
    state["h_encoder.norm.weight"] = state.pop("decoder_norm.weight")

    with pytest.raises(CheckpointError, match="1 missing .decoder_norm.weight.*1 unexpected"):
        load_official("point_m2ae", state)
    with pytest.raises(CheckpointError, match="no published original"):
        to_official(I2PMAEPretraining(2, **TINY))
