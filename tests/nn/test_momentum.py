import copy
import io

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pointinteract.nn.mlp import LinearNorm
from pointinteract.nn.momentum import FeatureQueue, follow, momentum_copy


def make(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = nn.Sequential(LinearNorm(3, 5), nn.Linear(5, 2))
        for parameter in module.parameters():
            nn.init.uniform_(parameter)
        for buffer in module.buffers():
            if buffer.is_floating_point():
                buffer.uniform_()
            else:
                buffer.fill_(seed + 1)
        return module


def unit(n, width=4, seed=0):
    rows = torch.randn(n, width, generator=torch.Generator().manual_seed(seed))
    return F.normalize(rows, dim=1)


# Momentum copies --------------------------------------------------------------------------------


def test_a_copy_is_equal_apart_and_not_trained():
    module = make()

    copied = momentum_copy(module)

    for name, value in module.state_dict().items():
        assert torch.equal(copied.state_dict()[name], value)
        assert copied.state_dict()[name].data_ptr() != value.data_ptr()
    assert not any(parameter.requires_grad for parameter in copied.parameters())
    assert all(parameter.requires_grad for parameter in module.parameters())


@pytest.mark.parametrize("buffers", [False, True])
def test_following_averages_by_the_rule(buffers):
    module, copied = make(0), momentum_copy(make(1))
    before, target = copy.deepcopy(copied.state_dict()), module.state_dict()

    follow(copied, module, 0.9, buffers=buffers)

    names = dict(module.named_parameters())
    for name, now in copied.state_dict().items():
        if name in names or (buffers and now.is_floating_point()):
            torch.testing.assert_close(now, 0.9 * before[name] + 0.1 * target[name])
            assert not torch.equal(now, before[name])
        elif buffers:  # counters are taken over
            assert torch.equal(now, target[name]) and not torch.equal(now, before[name])
        else:
            assert torch.equal(now, before[name])


@pytest.mark.parametrize("momentum, like", [(1.0, "before"), (0.0, "module")])
def test_momentum_one_keeps_and_zero_takes_over_to_the_last_bit(momentum, like):
    module, copied = make(0), momentum_copy(make(1))
    expected = copy.deepcopy({"before": copied, "module": module}[like].state_dict())

    follow(copied, module, momentum, buffers=True)

    for name, value in copied.state_dict().items():
        if value.is_floating_point():
            assert torch.equal(value, expected[name]), name


def test_following_leaves_the_leader_and_its_gradients_alone():
    module = make()
    copied = momentum_copy(make(1))
    before = copy.deepcopy(module.state_dict())
    loss = module(torch.ones(4, 3)).square().sum()

    follow(copied, module, 0.5)
    loss.backward()

    assert all(parameter.grad is not None for parameter in module.parameters())
    assert all(parameter.grad is None for parameter in copied.parameters())
    for name, value in module.named_parameters():
        assert torch.equal(value, before[name])


def test_modules_of_other_shape_are_refused():
    with pytest.raises(ValueError, match="zip"):
        follow(nn.Linear(3, 2), nn.Linear(3, 2, bias=False), 0.9)


# The queue --------------------------------------------------------------------------------------


def test_a_new_queue_holds_random_directions():
    queue = FeatureQueue(4, 50)

    torch.testing.assert_close(queue.queue.norm(dim=0), torch.ones(50))
    assert queue.queue.shape == (4, 50) and queue.queue_ptr.tolist() == [0]
    assert queue.queue.std(dim=1).min() > 0.3


@pytest.mark.parametrize("length", [1, 6, 7, 12, 40])
@pytest.mark.parametrize("sizes", [(3, 3, 3, 3, 3), (5, 2, 1, 6), (9, 20)])
def test_it_keeps_the_last_ones_and_overwrites_the_oldest(length, sizes):
    queue = FeatureQueue(4, length)
    columns, place = queue.queue.clone(), 0
    for seed, size in enumerate(sizes):
        vectors = unit(size, seed=seed)

        queue.push(vectors)

        for vector in vectors:  # one by one, as the paper has it
            columns[:, place % length] = vector
            place += 1
        assert torch.equal(queue.queue, columns)
        assert queue.queue_ptr.tolist() == [place % length]


def test_its_state_is_saved_and_goes_on_to_the_last_bit():
    queue = FeatureQueue(4, 10)
    queue.push(unit(7))
    file = io.BytesIO()
    torch.save(queue.state_dict(), file)
    file.seek(0)
    other = FeatureQueue(4, 10)

    other.load_state_dict(torch.load(file, weights_only=True))

    for each in (queue, other):
        each.push(unit(6, seed=1))
    assert torch.equal(queue.queue, other.queue) and queue.queue_ptr == other.queue_ptr
    assert list(queue.state_dict()) == ["queue", "queue_ptr"]


def test_pushing_takes_no_gradient_and_no_reference():
    queue, rows = FeatureQueue(4, 8), unit(3).requires_grad_()

    queue.push(rows)
    with torch.no_grad():
        rows.zero_()

    assert not queue.queue.requires_grad and queue.queue[:, :3].norm() > 1
