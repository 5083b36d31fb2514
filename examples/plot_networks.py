"""
One picture per network
=======================

Networks for point clouds differ in whom a point is allowed to see. Each is asked here, on the
same airplane, for what it looks at: points that win a maximum, balls, graphs, groups, curves,
patches or pictures. Weights are random: these are ideas, not yet skills.
"""

# %%
# One cloud, in the unit ball, upright along the second axis as most of the networks expect.
import matplotlib.pyplot as plt
import torch

from pointinteract.datasets import make_shapes
from pointinteract.models import create_model
from pointinteract.models.gdanet import disentangle
from pointinteract.ops import ball_query, farthest_point_sample, knn

shape = make_shapes(1, classes=["airplane"], n_points=1024, random_state=3)
points = torch.as_tensor(shape.data[:1], dtype=torch.float32)[..., [1, 2, 0]]
points = points - points.mean(1, keepdim=True)
points = points / points.norm(dim=-1).max()
xyz = points[0]


def make(name, **numbers):
    """Make a network with random weights, the same in every run."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return create_model(name, **numbers).eval()


def listen(network, layer):
    """Run a network and return what a layer of it was given and what it answered."""
    heard = []
    hook = network.get_submodule(layer).register_forward_hook(lambda *call: heard.extend(call[1:]))
    with torch.no_grad():
        network(points)
    hook.remove()
    return heard


def draw(place, title, idea):
    """Draw the cloud in gray under a title, and return where to draw on."""
    axes = figure.add_subplot(3, 5, place, projection="3d", computed_zorder=False)
    axes.scatter(*xyz.T[[2, 0, 1]], s=1.5, color="0.8")
    axes.set_title(f"{title}\n{idea}", fontsize=9)
    axes.set_axis_off()
    axes.set_box_aspect((1, 1, 1), zoom=1.55)
    axes.set(xlim=(-0.8, 0.8), ylim=(-0.8, 0.8), zlim=(-0.8, 0.8))
    axes.view_init(35, -60)
    return axes


def mark(axes, index, color, size=9, **options):
    """Draw some of the points larger and in color."""
    axes.scatter(*xyz[index].T[[2, 0, 1]], s=size, color=color, depthshade=False, **options)


figure = plt.figure(figsize=(16, 10), layout="constrained")
colors = plt.get_cmap("tab10").colors

# %%
# A maximum over all points. PointNet only knows the points that win one of its channels; the
# rest could go. PCN looks twice, the second time in view of what won the first.
for place, name, title, idea in (
    (1, "pointnet_basic", "PointNet", "points that win a maximum"),
    (2, "pcn", "PCN", "winners of the second look"),
):
    with torch.no_grad():
        features = make(name).forward_features(points)
    mark(draw(place, title, idea), features[0].argmax(0).unique(), colors[3])

# %%
# Neighborhoods in space. All of these choose farthest points and describe what is around: in
# balls of two sizes, in balls that grow from level to level, in groups of equally many out of
# ever fewer points, or in every third neighbor, put in an order that is learned.
axes = draw(3, "PointNet++", "balls, and balls of balls")
picked = farthest_point_sample(points, 512)
for at, color in zip((1, 2, 5), colors, strict=False):
    center = xyz[picked[0, at]].view(1, 1, 3)
    mark(axes, ball_query(center, points, 0.4, 1024)[0, 0], color, size=4, alpha=0.4)
    mark(axes, ball_query(center, points, 0.2, 1024)[0, 0], color, size=12)

network = make("pointnext_s")
middle = points[:, xyz.norm(dim=-1).argmin()].unsqueeze(1)
axes = draw(4, "PointNeXt-S", "balls that grow from level to level")
for level in (3, 2, 1, 0):  # the largest first, so that the others lie on it
    radius = network.config["radius"] * network.config["radius_growth"] ** level
    mark(axes, ball_query(middle, points, radius, 1024)[0, 0], colors[level])

network = make("pointmlp_elite")
axes = draw(5, "PointMLP", "equally many points, of ever fewer")
for level in (3, 2, 1, 0):
    left = picked[0, : (1024, 512, 256, 128)[level]] if level else torch.arange(1024)
    near = knn(middle, xyz[None, left], network.n_neighbors)[0, 0]
    mark(axes, left[near], colors[level], size=10 + 4 * level)

convolution = make("pointcnn").convolutions[3]
axes = draw(6, "PointCNN", "every third neighbor, in learned order")
for at, color in zip((1, 2, 5), colors, strict=False):
    n_near = convolution.n_neighbors * convolution.dilation
    near = knn(xyz[picked[0, at]].view(1, 1, 3), points, n_near)[0, 0, :: convolution.dilation]
    mark(axes, near, color, size=12)

# %%
# Neighborhoods in features. DGCNN's graph is found anew in every layer, in the features of the
# layer before; with training it comes to join points of equal meaning. GDANet parts points where
# features vary sharply from those where they do so gently.
neighbors = listen(make("dgcnn"), "edge4")[0][1]
axes = draw(7, "DGCNN", "neighbors by the features of layer 3")
for at, color in zip((1, 2, 5), colors, strict=False):
    center = picked[0, at]
    mark(axes, neighbors[0, center], color)
    for other in neighbors[0, center]:
        axes.plot(*xyz[torch.stack([center, other])].T[[2, 0, 1]], color=color, linewidth=0.6)

network = make("gdanet")
edges = listen(network, "block1.edges")[1]
sharp, gentle = disentangle(edges, network.block1.n_members, network.block1.n_smooth)
axes = draw(8, "GDANet", "sharp points (red), gentle points (blue)")
mark(axes, gentle[0], colors[0], size=5)
mark(axes, sharp[0], colors[3], size=5)

# %%
# Reaching far. CurveNet walks through the cloud from where it matters, PCT lets places read each
# other, and a transformer does the same with patches.
network = make("curvenet")
(features, others), curves = listen(network, "blocks.11.walk")
features = features * network.blocks["11"].walk.score(features).sigmoid()
axes = draw(9, "CurveNet", "walks from point to point")
for number, curve in enumerate(curves[0]):
    steps = torch.cdist(curve, features[0]).argmin(1)
    axes.plot(*xyz[steps].T[[2, 0, 1]], color=colors[number % 10], linewidth=1, marker=".")

network = make("pct")
places = listen(network, "attentions.0")[0][0]
query = network.attentions[0].query_key(places)[0]
shares = (query @ query.T).softmax(-1)[2].detach()
shares = (shares - shares.min()) / (shares.max() - shares.min())
axes = draw(10, "PCT", "places that one place reads")
mark(axes, picked[0, :256], plt.get_cmap("viridis_r")(shares.numpy()), size=12)
mark(axes, picked[0, 2:3], colors[3], size=60, marker="*")

patches = make("transformer_nano").structure().patches(points)[0]
axes = draw(11, "Transformer", "patches, of which tokens are made")
for patch, color in zip(patches[0], plt.get_cmap("tab20").colors, strict=False):
    mark(axes, patch, color, size=6)

# %%
# Pictures. The others hand the cloud to a network of photographs: by depth from six sides, from
# sides that are learned, or painted with colors that are learned.
with torch.no_grad():
    seen = {
        "SimpleView: depth from six sides": make("simpleview").render(points)[0, ..., 0],
        "MVTN: from sides that are learned": make("mvtn").render(points)[0],
        "P2P: painted in learned colors": make("p2p", object_size=112, picture_size=112, n_views=6)
        .forward_pictures(points)[0]
        .permute(0, 2, 3, 1),
    }
for place, (title, pictures) in zip((12, 13, 14), seen.items(), strict=True):
    axes = figure.add_subplot(3, 5, place)
    rows = [torch.cat(list(row), dim=1) for row in pictures.split(3)]
    sheet = torch.cat(rows)
    sheet = (sheet - sheet.amin((0, 1))) / (sheet.amax((0, 1)) - sheet.amin((0, 1)))
    axes.imshow(sheet, cmap="gray")
    axes.set_title(title.replace(": ", "\n"), fontsize=9)
    axes.set_axis_off()
plt.show()
