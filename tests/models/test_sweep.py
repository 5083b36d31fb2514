"""Every registered model, by the contract alone: a new one is swept without a new test."""

import copy
import inspect
import pickle

import pytest
import torch

from pointinteract.models import (
    _registry,
    create_model,
    list_models,
    list_official,
    load_official,
    to_official,
)

N_CLASSES = 5
# Larger sizes of the same class say little here that the smallest does not.
BIG = 8_000_000
# Where time goes with the pictures and not with what is tested: sizes for all tests but the one
# of the registered sizes.
SMALLER = {
    "mvtn": {"n_views": 2, "picture_size": 32},
    "p2p": {"object_size": 28, "picture_size": 32},
    "simpleview": {"picture_size": 32},
}
# Networks that notice a size of 0 only when they see a cloud.
LATE = {"dgcnn", "pointnet2_msg", "pointnet2_ssg"}


def _make(name, **numbers):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return create_model(name, n_classes=N_CLASSES, **numbers)


def _sweep():
    """Names of all models; of a class that comes in several sizes, the big ones marked slow.

    Weights are counted without making them.
    """
    modules = {}
    for name in list_models():
        with torch.device("meta"):
            modules[name] = create_model(name)
    kinds = [type(module) for module in modules.values()]
    for name, module in modules.items():
        n_parameters = sum(p.numel() for p in module.parameters())
        is_slow = n_parameters > BIG and kinds.count(type(module)) > 1
        yield pytest.param(name, marks=[pytest.mark.slow] * is_slow, id=name)


@pytest.fixture(scope="module", params=_sweep())
def model(request, device):
    """Each model once, in evaluation mode, its stored statistics moved away from 0 and 1."""
    module = _make(request.param, **SMALLER.get(request.param, {})).to(device)
    generator = torch.Generator().manual_seed(1)
    for buffer_name, buffer in module.named_buffers():
        if buffer_name.endswith("running_mean"):
            buffer.copy_(0.1 * torch.randn(buffer.shape, generator=generator))
        elif buffer_name.endswith("running_var"):
            buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
    return module.eval()


@pytest.fixture
def points(device):
    """8 clouds of 64 points: (8, 64, 3)."""
    return torch.randn(8, 64, 3, generator=torch.Generator().manual_seed(2)).to(device)


def test_answers_the_contract(model, points):
    with torch.no_grad():
        features = model.forward_features(points)
        pooled = model.forward_pool(points)
        logits = model(points)

    assert features.ndim == 3 and features.shape[0] == 8
    assert pooled.shape == (8, model.num_features)
    assert logits.shape == (8, N_CLASSES)
    assert isinstance(model.permutation_invariant, bool)
    assert not torch.allclose(logits[0], logits[1])


def test_classifier_can_be_reset(model, points):
    fresh = copy.deepcopy(model)

    fresh.reset_classifier(3)
    with torch.no_grad():
        assert fresh(points).shape == (8, 3)
        torch.testing.assert_close(fresh.forward_pool(points), model.forward_pool(points))
        fresh.reset_classifier(0)
        torch.testing.assert_close(fresh(points), model.forward_pool(points))


@pytest.mark.parametrize("training", [False, True])
def test_gradient_reaches_points_and_parameters(model, points, training):
    fresh = copy.deepcopy(model).train(training)
    points = points.clone().requires_grad_()

    loss = torch.nn.functional.cross_entropy(
        fresh(points), torch.arange(8, device=points.device) % N_CLASSES
    )
    (loss + fresh.auxiliary_loss() if hasattr(fresh, "auxiliary_loss") else loss).backward()

    assert torch.isfinite(points.grad).all() and points.grad.abs().sum() > 0
    missing = [name for name, p in fresh.named_parameters() if p.grad is None]
    assert not missing
    assert all(torch.isfinite(p.grad).all() for p in fresh.parameters())


def test_gradient_of_the_points_is_the_slope_of_the_logits(model, points):
    fresh = copy.deepcopy(model).double()
    points = points[:2].double().requires_grad_()
    fresh(points)[:, 0].sum().backward()
    step = torch.randn(points.shape, generator=torch.Generator().manual_seed(3)).to(points)

    with torch.no_grad():
        ends = [fresh(points + h * step)[:, 0].sum() for h in (-1e-7, 1e-7)]

    slope = (ends[1] - ends[0]) / 2e-7
    torch.testing.assert_close((points.grad * step).sum(), slope, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("n_points", [1, 2, 7, 19, 65])
@pytest.mark.parametrize("training", [False, True])
def test_odd_and_tiny_clouds(model, n_points, training, device):
    fresh = copy.deepcopy(model).train(training)
    points = torch.randn(2, n_points, 3, device=device, requires_grad=True)

    logits = fresh(points)
    logits.sum().backward()

    assert logits.shape == (2, N_CLASSES)
    assert torch.isfinite(logits).all() and torch.isfinite(points.grad).all()


def test_clouds_of_copies_of_one_point(model, device):
    points = torch.ones(2, 16, 3, device=device, requires_grad=True)

    logits = model(points)
    logits.sum().backward()

    assert torch.isfinite(logits).all() and torch.isfinite(points.grad).all()


def test_one_cloud_alone_in_training(model, points):
    fresh = copy.deepcopy(model).train()

    fresh(points[:1]).sum().backward()

    assert all(torch.isfinite(p).all() for p in fresh.state_dict().values())


def test_order_of_points_matters_only_where_it_says_so(model, points):
    if not model.permutation_invariant:  # so many and so near that samples are chosen
        sizes = torch.linspace(0.01, 0.1, 640, device=points.device)
        points = points[:2].repeat(1, 10, 1) * sizes[:, None]
    order = torch.randperm(points.shape[1], generator=torch.Generator().manual_seed(4))
    shuffled = points[:, order]
    with torch.no_grad():
        before, after = model(points), model(shuffled)

    if model.permutation_invariant:
        torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)
    else:  # the declaration is not out of caution
        assert not torch.equal(after, before)


def test_clouds_do_not_see_their_batch_mates(model, points):
    with torch.no_grad():
        together, alone = model(points), torch.cat([model(cloud[None]) for cloud in points])

    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-5)


def test_same_input_same_numbers(model, points):
    with torch.no_grad():
        first, second = model(points), model(points)

    assert torch.equal(first, second)


def test_training_step_repeats_to_the_last_bit(model, points, device):
    if device.type != "cpu":
        pytest.skip("promised on the CPU only")
    gradients = []
    for _ in range(2):
        fresh = copy.deepcopy(model).train()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            loss = fresh(points).square().sum()
            if hasattr(fresh, "auxiliary_loss"):
                loss = loss + fresh.auxiliary_loss()
            loss.backward()
        gradients.append([p.grad for p in fresh.parameters()])

    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_evaluation_leaves_the_module_as_it_was(model, points):
    before = copy.deepcopy(model.state_dict())

    model(points)

    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_gradient_mode_does_not_change_the_numbers(model, points):
    with torch.no_grad():
        without = model(points)
    with torch.inference_mode():
        inference = model(points)

    torch.testing.assert_close(model(points).detach(), without, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(inference.clone(), without, rtol=1e-5, atol=1e-6)


def test_survives_pickling(model, points):
    again = pickle.loads(pickle.dumps(model))

    with torch.no_grad():
        assert torch.equal(again(points), model(points))


@pytest.mark.parametrize("name", list_models())
def test_even_the_big_ones_answer(name, device):
    module = _make(name).to(device).eval()

    with torch.no_grad():
        logits = module(torch.randn(2, 33, 3, device=device))

    assert logits.shape == (2, N_CLASSES) and torch.isfinite(logits).all()


@pytest.mark.parametrize("name", sorted(set(list_models()) - LATE))
def test_sizes_of_zero_are_refused_by_name(name):
    known = inspect.signature(_registry._MODELS[name]).parameters.values()
    sizes = [p.name for p in known if type(p.default) is int and p.name != "n_classes"]

    for size in sizes:
        with pytest.raises(ValueError, match=f"{size} must be at least .*got 0"):
            create_model(name, **{size: 0})


def test_takes_extra_channels(model, device, request):
    name = request.node.callspec.params["model"]
    wide = _make(name, n_channels=6, **SMALLER.get(name, {})).to(device).eval()
    points = torch.randn(2, 32, 6, device=device)
    other = torch.cat([points[..., :3], torch.randn(2, 32, 3, device=device)], dim=-1)

    with torch.no_grad():
        assert not torch.allclose(wide(points), wide(other))


def test_goes_to_the_original_and_back(model, points):
    if getattr(model, "official_system", None) not in list_official():
        pytest.skip("has no published original")
    written = to_official(model)
    again = load_official(model.official_system, written)

    state, back = model.state_dict(), again.state_dict()
    assert list(back) == list(state)
    assert all(torch.equal(back[name], value.cpu()) for name, value in state.items())


def test_double_precision_agrees(model, points):
    fine = copy.deepcopy(model).double()

    with torch.no_grad():
        torch.testing.assert_close(
            fine(points.double()).float(), model(points), rtol=1e-3, atol=1e-4
        )


@pytest.mark.parametrize("training", [False, True])
def test_half_precision_runs_with_gradients(model, points, training):
    fresh = copy.deepcopy(model).train(training)
    with torch.autocast(points.device.type, torch.bfloat16):
        logits = fresh(points)
    logits.float().sum().backward()

    assert torch.isfinite(logits).all()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in fresh.parameters())
    if not training:
        plain = model(points)
        # Coarse: eight bits of mantissa, and graphs of features may differ by a neighbor.
        assert (logits - plain).norm() < 0.2 * plain.norm()
