"""PointGPT against a literal formulation, and what the original does otherwise."""

import copy

import pytest
import torch
import torch.nn.functional as F

from pointinteract.models import PointGPT, PointGPTPretraining, load_official, to_official
from pointinteract.models._official import _FORMATS
from pointinteract.models.point_gpt import SinePosition, walk_directions
from tests.models._point_gpt_literal import (
    HIDDEN,
    OFFICIAL,
    ORIGINAL,
    SMALL,
    G,
    K,
    Literal,
    both_chamfers,
    make,
    shaken,
)


@pytest.fixture(autouse=True)
def seed():
    """Fresh weights are the same in every run."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def points(generator):
    return 0.6 * torch.randn(3, 40, 3, generator=generator, dtype=torch.float64)


# --- the literal form -------------------------------------------------------------------------


def same_gradients(network, literal, prefix=""):
    official = _FORMATS["point_gpt"]
    n_compared = 0
    for name, parameter in network.named_parameters():
        key = official.official_name(name)
        if not key:  # of the class, which pre-training does not have
            assert parameter.grad is None, name
            continue
        theirs = literal.state[key[len(prefix):]].grad
        # Summed up in another order; a bias before a normalization has a gradient of noise.
        torch.testing.assert_close(parameter.grad.flatten(), theirs.flatten(), rtol=1e-7,
                                   atol=1e-10, msg=lambda text, name=name: f"{name}: {text}")
        n_compared += 1
    assert n_compared > 40


@pytest.mark.parametrize("temperature", [1.0, 10.0])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("embedding", HIDDEN)
def test_pretraining_is_the_literal_one(embedding, training, temperature, points, generator):
    network = shaken(
        PointGPTPretraining(patch_hidden=HIDDEN[embedding], temperature=temperature, **SMALL),
        generator,
    ).train(training)
    literal = Literal(to_official(network), "GPT_Transformer.", training, temperature)
    hidden = torch.tensor([0, 0, 1, 0, 1, 1, 0, 0, 1], dtype=torch.bool)

    expected, loss = literal.pretrain(points, hidden)
    found = network(points, hidden=hidden)
    ours = both_chamfers(found.generated, found.target)
    loss.backward()
    ours.backward()

    torch.testing.assert_close(found.generated, expected, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(ours, loss)
    same_gradients(network, literal, "GPT_Transformer.")


@pytest.mark.parametrize("embedding", HIDDEN)
def test_the_published_classifier_is_the_literal_one(embedding, points, generator):
    network = shaken(
        PointGPT(n_classes=4, patch_hidden=HIDDEN[embedding], **ORIGINAL, **SMALL), generator
    )
    state = to_official(network)
    literal = Literal(state)
    target = torch.tensor([0, 2, 3])

    expected, generation = literal.classify(points)
    (F.cross_entropy(expected, target) + 3 * generation).backward()
    found = load_official("point_gpt", state, **OFFICIAL)
    logits = found(points)
    auxiliary = found.auxiliary_loss()
    (F.cross_entropy(logits, target) + auxiliary).backward()

    torch.testing.assert_close(logits, expected, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(auxiliary, 3 * generation)
    same_gradients(found, literal)


# --- what the original does otherwise ---------------------------------------------------------


def test_the_class_token_of_the_original_sees_nothing_of_the_cloud(points, generator):
    published = make(generator, class_token="second").forward_pool(points)[:, :20]
    ours = make(generator).forward_pool(points)[:, :20]

    torch.testing.assert_close(published[1:], published[:1].expand(2, -1))
    assert (ours[1:] - ours[:1]).abs().amax(dim=1).min() > 0.05


def test_our_class_token_reads_every_patch_and_no_patch_reads_it(points, generator):
    network = make(generator)
    with torch.no_grad():
        neighborhoods, centers = network.patches(points)
        embedded = network.patch_embedding(neighborhoods)
    embedded.requires_grad_()

    _, patches, of_class = network._read_all(embedded, centers)
    (gradient,) = torch.autograd.grad((of_class**3).sum(), embedded, retain_graph=True)
    to_class = torch.autograd.grad((patches**3).sum(), network.cls_token, allow_unused=True)[0]

    assert (gradient.abs().sum(dim=2) > 1e-8).all()
    assert to_class is None or not to_class.any()


def test_waves_of_the_original_are_all_alike_and_repeat_after_one_unit():
    places = torch.rand(50, 3, dtype=torch.float64) - 1
    published, ours = SinePosition(48, 1.0), SinePosition(48, 10.0)

    waves = published(places).view(50, 3, 8, 2)
    torch.testing.assert_close(waves, waves[:, :, :1].expand_as(waves))
    torch.testing.assert_close(published(places), published(places + 1))
    assert (ours(places) - ours(places + 1)).abs().amax(dim=1).min() > 0.5
    assert not SinePosition(52, 10.0)(places)[:, 48:].any()  # 52 = 3 x 16 and four left over


def test_between_centers_in_one_place_there_is_no_direction_and_a_finite_slope():
    centers = torch.tensor([[[1.0, 2, 3], [1, 2, 3], [1, 2, 5], [1, 2, 5.0 + 1e-20]]],
                           requires_grad=True)

    directions = walk_directions(centers)
    directions.sum().backward()

    assert directions[0].tolist() == [[1, 2, 3], [0, 0, 0], [0, 0, 1], [0, 0, 0]]
    assert torch.isfinite(centers.grad).all() and centers.grad.abs().max() < 10


def test_a_cloud_of_copies_can_be_trained_on(generator):
    network = PointGPTPretraining(patch_hidden=HIDDEN["small"], **SMALL)
    points = torch.ones(2, 20, 3, requires_grad=True)

    out = network(points, generator=generator)
    out.generated.square().sum().backward()

    assert torch.isfinite(out.generated).all() and torch.isfinite(points.grad).all()


# --- who reads whom ---------------------------------------------------------------------------


@pytest.fixture
def pretraining(generator):
    return shaken(PointGPTPretraining(patch_hidden=HIDDEN["small"], **SMALL), generator)


def reached(network, points, hidden):
    """Bool (G, G): does the guess of a row depend on what the patch of a column looks like?"""
    encoder = network.encoder
    with torch.no_grad():
        neighborhoods, centers = encoder.patches(points)
        tokens = encoder.patch_embedding(neighborhoods)
    found = []
    for changed in range(G):
        guesses = []
        for amount in (0.0, 1.0):
            encoder.patch_embedding.forward = lambda _, a=amount, c=changed: torch.cat(
                [tokens[:, :c], tokens[:, c : c + 1] + a * torch.linspace(0, 1, 20),
                 tokens[:, c + 1:]], dim=1,
            )
            with torch.no_grad():
                guesses.append(network(points, hidden=hidden).generated)
        del encoder.patch_embedding.forward
        found.append((guesses[1] - guesses[0]).abs().amax(dim=(0, 2, 3)) > 1e-12)
    return torch.stack(found, dim=1)


def test_a_patch_is_guessed_from_all_before_it_and_from_none_after(pretraining, points):
    found = reached(pretraining, points, torch.zeros(G, dtype=torch.bool))

    assert torch.equal(found, torch.ones(G, G).tril(diagonal=-1).bool())


def test_what_a_hidden_place_reads_serves_only_the_guess_at_that_place(pretraining, points):
    hidden = torch.zeros(G, dtype=torch.bool)
    hidden[[3, 6]] = True  # where patches 2 and 5 are read, one place later

    found = reached(pretraining, points, hidden)

    expected = torch.ones(G, G).tril(diagonal=-1).bool()
    expected[:, [2, 5]] = False
    expected[3, 2] = expected[6, 5] = True
    assert torch.equal(found, expected)


def test_hidden_places_are_drawn_behind_those_always_seen(generator):
    network = PointGPTPretraining(patch_hidden=HIDDEN["small"], **SMALL)

    drawn = torch.stack([network.draw_hidden(64, generator) for _ in range(200)])

    assert (drawn.sum(dim=1) == 37).all() and not drawn[:, :10].any()  # int(0.7 x 54)
    assert (drawn[:, 10:].double().mean(dim=0) - 37 / 54).abs().max() < 0.15
    assert not network.draw_hidden(7, generator).any()


def test_a_pass_needs_hidden_places_or_a_generator(pretraining, points):
    with pytest.raises(ValueError, match="needs the hidden places or a generator"):
        pretraining(points)


def test_guesses_are_read_like_true_patches(pretraining, points):
    seen = torch.zeros(G, dtype=torch.bool)
    out = pretraining.continue_cloud(points, 6)
    with torch.no_grad():
        told = pretraining(points, hidden=seen)
        # Once more, all guesses given as if they were patches of the cloud.
        pretraining.encoder.patches = lambda _: (out.generated, out.centers)
        again = pretraining(points, hidden=seen).generated
        del pretraining.encoder.patches

    torch.testing.assert_close(out.generated[:, :6], told.target[:, :6])
    torch.testing.assert_close(out.generated[:, 6], told.generated[:, 6])
    torch.testing.assert_close(out.generated[:, 6:], again[:, 6:])
    assert (out.generated[:, 7:] - told.generated[:, 7:]).abs().max() > 1e-4
    assert pretraining.continue_cloud(points, 0).generated.shape == (3, G, K, 3)
    with pytest.raises(ValueError, match="n_given must be from 0 to 8 for clouds of 9 patches"):
        pretraining.continue_cloud(points, 9)


# --- the second loss --------------------------------------------------------------------------


def test_the_second_loss_belongs_to_the_last_pass_with_gradients(points, generator):
    network = make(generator)
    network(points)
    loss = network.auxiliary_loss()

    assert loss > 0 and network.auxiliary_loss() == 0  # forgotten
    network.generation_weight = 1.0
    network(points)
    with torch.no_grad():
        network(2 * points)  # is not trained on
    torch.testing.assert_close(3 * network.auxiliary_loss(), loss)
    network(points)
    assert copy.deepcopy(network).auxiliary_loss() == 0
    network.generator.requires_grad_(False)
    assert network.auxiliary_loss() == 0


@pytest.mark.parametrize("target", ["relative", "absolute"])
def test_patches_are_asked_for_around_their_centers_or_in_place(target, points, generator):
    network = make(generator, generation_target=target)
    network(points)
    earlier, patches, centers = network._last_pass
    guess = network.generate(earlier, centers, torch.ones(G, G).tril().bool())

    loss = network.auxiliary_loss()

    relative, absolute = (both_chamfers(guess, truth)
                          for truth in (patches, patches + centers.unsqueeze(2)))
    torch.testing.assert_close(loss, 3 * (relative if target == "relative" else absolute))
    assert abs(relative - absolute) > 1e-4


def test_without_a_generator_nothing_can_be_generated(points, generator):
    network = make(generator, generator_depth=0)

    assert network(points).shape == (3, 4) and network.auxiliary_loss() == 0
    with pytest.raises(ValueError, match="generator_depth=0"):
        network.generate(torch.zeros(1, 2, 20), torch.zeros(1, 2, 3), torch.ones(2, 2).bool())
    with pytest.raises(ValueError, match="generator_depth must be at least 1, got 0"):
        PointGPTPretraining(**SMALL | {"generator_depth": 0})
