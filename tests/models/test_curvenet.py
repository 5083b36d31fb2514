"""CurveNet against a literal formulation: every edge of nine numbers, every candidate mapped."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pointinteract.models import CurveNet, create_model, load_official, to_official
from pointinteract.nn.curves import _keep_forward
from pointinteract.ops import ball_query, farthest_point_sample, gather

N_CURVES, N_STEPS = 7, 4


def conv(n_in, n_out, n_axes=1):
    kinds = (nn.Conv1d, nn.BatchNorm1d) if n_axes == 1 else (nn.Conv2d, nn.BatchNorm2d)
    return nn.Sequential(kinds[0](n_in, n_out, 1, bias=False), kinds[1](n_out))


def look_up(x, index):
    """Values (B, C, N) at places (B, M, k): (B, C, M, k)."""
    flat = index.flatten(1).unsqueeze(1).expand(-1, x.shape[1], -1)
    return x.gather(2, flat).view(*x.shape[:2], *index.shape[1:])


def nearest(xyz, k):
    distance = (xyz.unsqueeze(3) - xyz.unsqueeze(2)).square().sum(1)
    return distance.topk(min(k, xyz.shape[2]), dim=2, largest=False).indices


class LiteralLPFA(nn.Module):
    def __init__(self, width, initial=False):
        super().__init__()
        if not initial:
            self.xyz2feature = conv(9, width, 2)
        self.mlp = nn.Sequential(conv(9 if initial else width, width, 2))

    def forward(self, x, xyz, index):
        own, near = xyz.unsqueeze(3).expand(-1, -1, -1, index.shape[2]), look_up(xyz, index)
        edges = torch.cat([own, near, near - own], dim=1)
        if not hasattr(self, "xyz2feature"):
            return F.leaky_relu(self.mlp(edges), 0.2).max(dim=3).values
        moved = look_up(x, index) - x.unsqueeze(3) + self.xyz2feature(edges)
        return F.leaky_relu(self.mlp(F.leaky_relu(moved, 0.2)), 0.2).mean(dim=3)


class LiteralWalk(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.agent_mlp = conv(2 * width, 1, 2)
        self.momentum_mlp = conv(2 * width, 2)


class LiteralGrouping(nn.Module):
    def __init__(self, width, paired):
        super().__init__()
        self.att = nn.Conv1d(width, 1, 1, bias=False)
        self.walk = LiteralWalk(width)
        self.paired = paired

    def forward(self, x, index):
        b, c, _ = x.shape
        score = self.att(x).sigmoid()
        x = x * score
        place = score[:, 0].topk(min(N_CURVES, x.shape[2]), sorted=True).indices  # (B, R)
        state = current = look_up(x, place)  # (B, C, R)
        curves = []
        for step in range(N_STEPS):
            if step:
                weight = self.walk.momentum_mlp(torch.cat([current, state], 1)).softmax(1)
                weight = weight.transpose(1, 2) if self.paired else weight.reshape(b, -1, 2)
                state = weight[..., 0].unsqueeze(1) * current + weight[..., 1].unsqueeze(1) * state
            candidates = index.gather(1, place.unsqueeze(2).expand(-1, -1, index.shape[2]))
            near = look_up(x, candidates)  # (B, C, R, k)
            both = torch.cat([near, state.unsqueeze(3).expand_as(near)], dim=1)
            rating = self.walk.agent_mlp(both)[:, 0]
            if step:
                last = (current - state).unsqueeze(3)
                angle = F.cosine_similarity(last, near - current.unsqueeze(3), dim=1)
                rating = rating * (1 + angle).clamp(0, 1).detach()
            soft = rating.softmax(2)
            hard = F.one_hot(soft.argmax(2), soft.shape[2])
            current = ((hard - soft.detach() + soft).unsqueeze(1) * near).sum(3)
            place = (hard * candidates).sum(2)
            curves.append(current)
        return torch.stack(curves, dim=3)  # (B, C, R, L)


class LiteralAggregation(nn.Module):
    def __init__(self, width):
        super().__init__()
        for name in "abc":
            self.add_module(f"conv{name}", nn.Conv1d(width, width // 2, 1, bias=False))
        for name in "nl":
            self.add_module(f"conv{name}", nn.Conv1d(width // 2, width // 2, 1, bias=False))
        self.convd = conv(width, width)
        self.line_conv_att = nn.Conv2d(width, 1, 1, bias=False)

    def forward(self, x, curves):
        weight = self.line_conv_att(curves)
        inter = self.conva((curves * weight.softmax(3)).sum(3))
        intra = self.convb((curves * weight.softmax(2)).sum(2))
        query = self.convc(x).transpose(1, 2)
        read = torch.cat(
            [
                (query @ inter).softmax(2) @ self.convn(inter).transpose(1, 2),
                (query @ intra).softmax(2) @ self.convl(intra).transpose(1, 2),
            ],
            dim=2,
        )
        return F.leaky_relu(x + self.convd(read.transpose(1, 2)), 0.2)


class LiteralCIC(nn.Module):
    def __init__(self, n_points, radius, k, n_in, n_out, ratio, curved, paired):
        super().__init__()
        self.n_points, self.radius, self.k = n_points, radius, k
        width = n_in // ratio
        self.conv1, self.conv2 = conv(n_in, width), conv(width, n_out)
        if n_in != n_out:
            self.shortcut = conv(n_in, n_out)
        if curved:
            self.curvegrouping = LiteralGrouping(width, paired)
            self.curveaggregation = LiteralAggregation(width)
        self.lpfa = LiteralLPFA(width)

    def forward(self, xyz, x):
        if xyz.shape[2] > self.n_points:
            points = xyz.transpose(1, 2)
            centers = gather(points, farthest_point_sample(points, self.n_points))
            x = look_up(x, ball_query(centers, points, self.radius, self.k)).max(dim=3).values
            xyz = centers.transpose(1, 2)
        index = nearest(xyz, self.k + 1)
        past, x = x, F.leaky_relu(self.conv1(x), 0.2)
        if hasattr(self, "curvegrouping"):
            x = self.curveaggregation(x, self.curvegrouping(x, index[..., 1:]))
        x = self.conv2(self.lpfa(x, xyz, index[..., : self.k]))
        past = self.shortcut(past) if hasattr(self, "shortcut") else past
        return xyz, F.leaky_relu(x + past, 0.2)


class LiteralCurveNet(nn.Module):
    """The network as its description tells it, on (B, C, N) with convolutions."""

    def __init__(self, k=6, paired=False, num_classes=5):
        super().__init__()
        self.k = k
        self.lpfa = LiteralLPFA(32, initial=True)
        n_in = 32
        for level, (n_points, radius, n_out) in enumerate(
            [(1024, 0.05, 64), (1024, 0.05, 128), (256, 0.1, 256), (64, 0.2, 512)], start=1
        ):
            for place, n_before, ratio in ((1, n_in, 2), (2, n_out, 4)):
                block = LiteralCIC(n_points, radius, k, n_before, n_out, ratio, level < 3, paired)
                self.add_module(f"cic{level}{place}", block)
            n_in = n_out
        self.conv0 = conv(512, 1024)
        self.conv1, self.bn1 = nn.Linear(2048, 512, bias=False), nn.BatchNorm1d(512)
        self.conv2 = nn.Linear(512, num_classes)

    def forward(self, points):
        xyz = points.transpose(1, 2)
        x = self.lpfa(xyz, xyz, nearest(xyz, self.k))
        for name, block in self.named_children():
            if name.startswith("cic"):
                xyz, x = block(xyz, x)
        x = F.relu(self.conv0(x))
        x = torch.cat([x.max(dim=2).values, x.mean(dim=2)], dim=1)
        return self.conv2(F.relu(self.bn1(self.conv1(x))))


@pytest.fixture(scope="module", params=[False, True], ids=["published", "paired"])
def pair(request):
    """The literal network and ours with the same weights, some gains negative; float64."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        literal = LiteralCurveNet(paired=request.param).double()
        for norm in (
            m for m in literal.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)
        ):
            nn.init.normal_(norm.weight)  # half of them turn their channel around
            nn.init.normal_(norm.bias, std=0.1)
            nn.init.normal_(norm.running_mean, std=0.1)
            nn.init.uniform_(norm.running_var, 0.5, 2.0)
    ours = CurveNet(
        n_classes=5,
        n_neighbors=6,
        n_curves=N_CURVES,
        n_steps=N_STEPS,
        dropout=0.0,
        paired=request.param,
    )
    read = load_official("curvenet", literal.state_dict(), k=6, dropout=0.0)
    ours.double().load_state_dict(read.state_dict())
    return literal, ours


def draw(n_points, n_clouds=2):
    generator = torch.Generator().manual_seed(1)
    return 0.4 * torch.randn(n_clouds, n_points, 3, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("n_points", [300, 24, 5])
def test_outputs_and_gradients_equal_the_literal_form(pair, training, n_points):
    literal, ours = (copy.deepcopy(module).train(training) for module in pair)
    weights = torch.linspace(-1, 1, 10, dtype=torch.float64).view(2, 5)
    results = []
    for module in (literal, ours):
        cloud = draw(n_points).requires_grad_()
        logits = module(cloud)
        (logits * weights).sum().backward()
        results.append((logits.detach(), cloud.grad))

    torch.testing.assert_close(results[1], results[0], rtol=1e-6, atol=1e-8)
    written = _official_gradients(ours)
    for name, parameter in literal.named_parameters():
        torch.testing.assert_close(written[name], parameter.grad, rtol=1e-5, atol=1e-7, msg=name)


def test_running_statistics_follow_the_literal_form(pair):
    literal, ours = (copy.deepcopy(module).train() for module in pair)

    for module in (literal, ours):
        module(draw(70))

    written = to_official(ours)
    for name, tensor in literal.state_dict().items():
        torch.testing.assert_close(written[name], tensor, rtol=1e-7, atol=1e-9, msg=name)


def test_large_clouds_are_thinned_as_in_the_literal_form(pair):
    """Farthest points of farthest points are the first of them, so one sampling is enough."""
    literal, ours = (module.eval() for module in pair)
    points = draw(1100, n_clouds=1)

    with torch.no_grad():
        torch.testing.assert_close(ours(points), literal(points), rtol=1e-6, atol=1e-8)


def test_pairing_the_weights_makes_the_order_of_the_curves_irrelevant(pair):
    walk = copy.deepcopy(pair[1].blocks["11"].walk).eval()
    current, state = torch.randn(2, 1, 7, 16).double()
    order = torch.tensor([3, 0, 6, 1, 5, 2, 4])

    with torch.no_grad():
        mixed = walk._next_state(current, state)
        of_reordered = walk._next_state(current[:, order], state[:, order])

    assert torch.allclose(of_reordered, mixed[:, order]) == walk.paired


def test_curves_start_in_descending_order_and_ties_go_to_the_smallest_index():
    walk = create_model("curvenet").blocks["11"].walk.eval()
    walk.score.weight.data.fill_(1.0 / 16)
    walk.n_curves, walk.n_steps = 4, 1
    heights = torch.tensor([1.0, 3.0, 2.0, 3.0, 0.0])
    features = heights.view(1, 5, 1).expand(-1, -1, 16)
    stay = torch.arange(5).view(1, 5, 1)  # the only way to go from a point is to itself

    with torch.no_grad():
        curves = walk(features, stay)

    rated = heights.sigmoid() * heights
    torch.testing.assert_close(curves[0, :, 0, 0], rated[[1, 3, 2, 0]])
    assert torch.equal(walk(features, stay).detach(), curves)  # with gradient, the same


def test_moves_that_turn_back_are_rated_down():
    """The published angle factor: without it curves would run to and fro."""
    last = torch.tensor([[[1.0, 0.0]]])
    moves = torch.tensor([[[[2.0, 0.0], [0.0, 1.0], [-1.0, 1.0], [-3.0, 0.0], [0.0, 0.0]]]])

    factor = _keep_forward(last, moves)

    expected = torch.tensor([[[1.0, 1.0, 1.0 - 0.5**0.5, 0.0, 1.0]]])
    torch.testing.assert_close(factor, expected)


def test_the_choice_of_a_step_has_a_gradient_in_evaluation_too():
    model = create_model("curvenet", n_classes=3).eval()
    walk = model.blocks["11"].walk

    model(torch.randn(2, 40, 3)).sum().backward()

    assert walk.rate.linear.weight.grad.abs().sum() > 0
    assert walk.mix.linear.weight.grad.abs().sum() > 0


def test_one_cloud_with_one_curve_and_one_point():
    model = CurveNet(n_classes=3, n_curves=1)
    for training in (False, True):
        logits = model.train(training)(torch.randn(1, 1, 3))
        assert logits.shape == (1, 3) and torch.isfinite(logits).all()


def test_neighbors_are_those_of_the_coordinates():
    model = create_model("curvenet", n_channels=5, n_classes=3, n_neighbors=4)
    points = torch.randn(2, 16, 5)
    seen = []
    model.stem.register_forward_hook(lambda module, args, out: seen.append(args[1]))

    model(points)
    model(torch.cat([points[..., :3], torch.randn(2, 16, 2)], dim=-1))

    assert torch.equal(seen[0], seen[1])


def test_statistics_of_edges_do_not_cancel_far_from_the_origin(pair):
    literal, ours = (copy.deepcopy(module).train() for module in pair)
    points = 20.0 + 0.05 * draw(40)
    literal(points)

    ours.float()(points.float())

    name = "cic11.lpfa.xyz2feature.1.running_var"
    before = 0.9 * pair[0].state_dict()[name]
    found, expected = (
        to_official(ours)[name].double() - before,
        literal.state_dict()[name] - before,
    )
    torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-6)


def _official_gradients(module):
    """Gradients of our parameters under official names, through the public way of writing."""
    carrier = copy.deepcopy(module)
    with torch.no_grad():
        for parameter, source in zip(carrier.parameters(), module.parameters(), strict=True):
            parameter.copy_(source.grad)
    return to_official(carrier)
