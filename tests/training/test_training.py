import numpy as np
import pytest
import torch
from torch import nn

from pointinteract.training import TrainingRun, cosine_schedule, parameter_groups, step_schedule
from pointinteract.training.data import (
    augment,
    check_augmentation,
    draw_points,
    index_batches,
    store_clouds,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_published_schedule_warms_up_and_comes_down():
    rates = [cosine_schedule(e, 1.0, max_epochs=100, warmup_epochs=10) for e in range(101)]

    assert rates[0] == rates[1] == 1e-6  # the rate of epoch e is set at the end of epoch e - 1
    assert rates[6] == pytest.approx(0.5, abs=1e-3)
    assert max(rates) == rates[11] and rates[-1] < 0.001


def test_step_schedule_reaches_its_ends():
    assert step_schedule(0.05, 1.0, warmup=0.1) == pytest.approx(0.5)
    assert step_schedule(0.1, 1.0, warmup=0.1) == pytest.approx(1.0)
    assert step_schedule(1.0, 1.0, warmup=0.1) == pytest.approx(1e-6)
    assert step_schedule(0.5, 1.0, warmup=0.0) == pytest.approx(0.5, abs=1e-4)


def test_parameters_are_split_by_what_they_are():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.cls_token = nn.Parameter(torch.zeros(1, 1, 2))
            self.img_token = nn.Parameter(torch.zeros(1, 1, 2))
            self.body = nn.Linear(2, 2)
            self.head = nn.Linear(2, 2)
            self.frozen = nn.Linear(2, 2).requires_grad_(False)

    net = Net()

    groups = parameter_groups(net, learning_rate=0.1, weight_decay=0.5, head_factor=10.0)

    head, still, plain = groups
    assert {id(p) for p in head["params"]} == {id(net.cls_token), *map(id, net.head.parameters())}
    assert head["lr"] == pytest.approx(1.0) and head["weight_decay"] == 0.5
    assert {id(p) for p in still["params"]} == {id(net.img_token), id(net.body.bias)}
    assert still["weight_decay"] == 0.0
    assert [id(p) for p in plain["params"]] == [id(net.body.weight)]


def test_every_cloud_comes_once_an_epoch_and_no_batch_is_a_lone_one():
    batches = list(index_batches(9, 4, generator()))

    assert sorted(torch.cat(batches).tolist()) == list(range(9))
    assert [len(batch) for batch in batches] == [4, 5]
    assert [len(batch) for batch in index_batches(1, 4, generator())] == [1]


def test_stored_clouds_keep_spare_points_and_repeat_missing_ones():
    large = np.random.default_rng(0).normal(size=(2, 100, 3)).astype("f4")
    assert store_clouds(large, 40).shape == (2, 47, 3)
    assert store_clouds(large, None).shape == (2, 100, 3)

    ragged = store_clouds([large[0], large[1, :20]], 40)

    assert ragged.shape == (2, 47, 3)
    assert torch.equal(ragged[1, 20:40], ragged[1, :20])


def test_points_are_drawn_for_the_whole_batch_at_once():
    points = torch.arange(10.0).view(1, 10, 1).expand(3, 10, 3)

    drawn = draw_points(points, 4, generator())

    assert drawn.shape == (3, 4, 3) and torch.equal(drawn[0], drawn[2])
    assert draw_points(points, None, generator()) is points


def test_augmentations_are_applied_in_turn_and_checked_by_name():
    points = torch.randn(2, 8, 3)

    assert augment(points, None, generator()) is points
    both = augment(points, ("rotate_z", "jitter"), generator())
    assert not torch.equal(both, augment(points, "rotate_z", generator()))
    assert torch.equal(augment(points, lambda p, g: p + 1, generator()), points + 1)
    with pytest.raises(ValueError, match="rotate_y"):
        check_augmentation("flip")
    with pytest.raises(ValueError, match="augmentation"):
        check_augmentation(3)


def run(**settings):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.Dropout(0.5), nn.Linear(8, 1))
    training = TrainingRun(
        net, seed=1, max_epochs=3, batch_size=4, learning_rate=0.1, weight_decay=0.0,
        augmentation="jitter", **settings,
    )
    clouds = torch.randn(10, 4, 3, generator=generator(3))
    target = torch.arange(10.0)

    def loss(points, index):
        error = net(points).squeeze(1) - target[index]
        return error.square().mean(), {"mistake": error.abs().mean()}

    return [training.run_epoch(clouds, loss) for _ in range(3)], net


def test_a_run_learns_repeats_itself_and_leaves_the_global_state_alone():
    torch.manual_seed(42)
    before = torch.get_rng_state()

    records, net = run()
    again, twin = run()

    assert torch.equal(torch.get_rng_state(), before)
    assert records[-1]["loss"] < records[0]["loss"]
    assert [r["epoch"] for r in records] == [1, 2, 3] and "mistake" in records[0]
    assert [r["loss"] for r in records] == [r["loss"] for r in again]
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), twin.parameters(), strict=True))
    assert not net.training


def test_schedules_differ_and_gradients_are_cut():
    constant, _ = run(schedule="constant")
    assert [r["learning_rate"] for r in constant] == [0.1] * 3
    falling, _ = run(schedule="cosine_epoch", warmup_epochs=1)
    assert falling[0]["learning_rate"] == 1e-6

    free, cut = run()[0], run(max_norm=1e-3)[0]
    assert free[-1]["loss"] != cut[-1]["loss"]


def test_epochs_past_the_end_of_the_schedule_still_learn(clouds, labels):
    from pointinteract.classification import PointClassifier

    clf = PointClassifier("pointnet_basic", max_epochs=1, random_state=0).fit(clouds, labels)

    clf.partial_fit(clouds, labels).partial_fit(clouds, labels)
    assert list(clf.history_.learning_rate[1:]) == pytest.approx([1e-4, 1e-4])

    clf.set_params(learning_rate=0.5, schedule="constant").partial_fit(clouds, labels)
    assert clf.history_.learning_rate.iloc[-1] == 0.5 and clf.n_epochs_ == 4


def test_a_loss_that_is_no_number_is_named():
    net = nn.Linear(3, 1)
    training = TrainingRun(net, seed=0, max_epochs=1, batch_size=4, learning_rate=0.1,
                           weight_decay=0.0)

    with pytest.raises(ValueError, match="the loss became nan in epoch 1; a lower learning_rate"):
        training.run_epoch(torch.ones(4, 2, 3), lambda p, i: (net(p).sum() * float("nan"), {}))


def test_the_mild_augmentation_scales_alike_and_shifts_little():
    points = torch.tensor([[[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]]).expand(500, 2, 3)

    moved = augment(points, "scale_translate_mild", generator())

    shift, factor = moved[:, 0], moved[:, 1] - moved[:, 0]
    assert 0.09 < shift.abs().max() <= 0.1
    assert torch.allclose(factor[:, :1], factor, atol=1e-6)
    assert 0.8 <= factor.min() < 0.82 and 1.23 < factor.max() <= 1.2501


def test_augmentations_that_keep_what_they_promise():
    points = torch.randn(3, 20, 3, generator=generator(1))

    shuffled = augment(points, "shuffle", generator())
    assert torch.equal(shuffled.sort(1).values, points.sort(1).values)
    tilted = augment(points, "tilt", generator())
    assert torch.allclose(tilted.norm(dim=-1), points.norm(dim=-1), atol=1e-5)
    squeezed = augment(points, "cosine_scale", generator())
    meant = augment(points, "gaussian_scale", generator())
    assert torch.equal(squeezed[..., 1], meant[..., 1])
    assert not torch.equal(squeezed[..., 0], meant[..., 0])
