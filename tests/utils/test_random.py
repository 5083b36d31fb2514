"""One integer, drawn once; nothing global is left changed."""

import numpy as np
import torch

from pointinteract.utils._random import draw_seed, forked_seed, make_generator


def test_equal_random_state_gives_equal_seed():
    assert draw_seed(3) == draw_seed(3) != draw_seed(4)


def test_seed_is_drawn_from_a_random_state_that_moves_on():
    random_state = np.random.RandomState(0)

    assert draw_seed(random_state) != draw_seed(random_state)


def test_streams_repeat_and_differ():
    first = torch.rand(4, generator=make_generator(0, 1))
    again = torch.rand(4, generator=make_generator(0, 1))
    other = torch.rand(4, generator=make_generator(0, 2))

    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_forked_seed_repeats_inside_and_leaves_outside_alone():
    before = torch.random.get_rng_state()

    with forked_seed(5):
        first = torch.rand(3)
    with forked_seed(5):
        again = torch.rand(3)

    assert torch.equal(first, again)
    assert torch.equal(before, torch.random.get_rng_state())
