"""
One picture per network
=======================

Networks for point clouds differ in whom a point is allowed to see. Each is asked here, on the
same airplane, for what it looks at: points that win a maximum, balls, graphs, groups, curves,
patches or pictures. Weights are random: these are ideas, not yet skills.
"""

# sphinx_gallery_thumbnail_number = 2

# %%
# One cloud, in the unit ball, upright along the second axis as most of the networks expect.
import matplotlib.pyplot as plt
import torch

from pointinteract.datasets import make_shapes
from pointinteract.models import create_model
from pointinteract.models.gdanet import disentangle
from pointinteract.ops import ball_query, farthest_point_sample, knn
from pointinteract.ops.rendering import project_points, view_rotations

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


# Everything is drawn as one camera sees it, from the left, in front and above.
camera = view_rotations(azimuths=[40], elevations=[40], up="y")
seen = project_points(points, camera)[0][0, 0]  # to the right and up, for each point


def sheet(n_columns, n_rows=1):
    """Start a figure with so many panels."""
    size = (10, 7.2 * n_rows / n_columns + 0.7)
    return iter(plt.subplots(n_rows, n_columns, figsize=size, layout="constrained")[1].flat)


def draw(axes, title, idea):
    """Draw the cloud in gray under a title, and return where to draw on."""
    axes.scatter(*seen.T, s=2, color="0.8")
    axes.set_title(f"{title}\n{idea}", fontsize=10)
    axes.set_aspect("equal")
    axes.set_axis_off()
    return axes


def mark(axes, index, color, size=9, **options):
    """Draw some of the points larger and in color."""
    axes.scatter(*seen[index].T, s=size, color=color, **options)


def join(axes, index, color, **options):
    """Draw a line from point to point."""
    axes.plot(*seen[index].T, color=color, **options)


colors = plt.get_cmap("tab10").colors
shades = plt.get_cmap("plasma")([0.9, 0.65, 0.4, 0.1])  # for levels, the first is the lightest

# %%
# A maximum over all points. PointNet only knows the points that win one of its channels; the
# rest could go. PCN looks twice, the second time in view of what won the first.
panels = sheet(2)
for name, title, idea in (
    ("pointnet_basic", "PointNet", "points that win a maximum"),
    ("pcn", "PCN", "winners of the second look"),
):
    with torch.no_grad():
        features = make(name).forward_features(points)
    mark(draw(next(panels), title, idea), features[0].argmax(0).unique(), colors[3])

# %%
# Neighborhoods in space. All of these describe what is around chosen points: in balls of two
# sizes; in balls that grow from level to level (light to dark) while fewer and fewer points are
# left; in the nearest of ever fewer points; in every third neighbor, put in an order that is
# learned.
panels = sheet(2, 2)
picked = farthest_point_sample(points, 1024)[0]
axes = draw(next(panels), "PointNet++", "balls, and balls of balls")
for at, color in zip((1, 2, 5), colors, strict=False):
    center = xyz[picked[at]].view(1, 1, 3)
    mark(axes, ball_query(center, points, 0.4, 1024)[0, 0], color, size=4, alpha=0.4)
    mark(axes, ball_query(center, points, 0.2, 1024)[0, 0], color, size=12)

network = make("pointnext_s")
nose = xyz[picked[1]].view(1, 1, 3)
axes = draw(next(panels), "PointNeXt-S", "32 points of growing balls")
for level in (3, 2, 1, 0):  # the largest first, so that the others lie on it
    left = picked[: 1024 >> level]
    radius = network.config["radius"] * network.config["radius_growth"] ** level
    near = ball_query(nose, xyz[None, left], radius, network.config["n_neighbors"])[0, 0]
    mark(axes, left[near], shades[level], size=10 + 8 * level)

network = make("pointmlp_elite")
axes = draw(next(panels), "PointMLP", "24 nearest of ever fewer")
for level in (3, 2, 1, 0):
    left = picked[: 1024 >> level]
    near = knn(nose, xyz[None, left], network.n_neighbors)[0, 0]
    mark(axes, left[near], shades[level], size=10 + 8 * level)

convolution = make("pointcnn").convolutions[3]
axes = draw(next(panels), "PointCNN", "every third neighbor, ordered")
for at, color in zip((1, 2, 5), colors, strict=False):
    n_near = convolution.n_neighbors * convolution.dilation
    center = xyz[picked[at]].view(1, 1, 3)
    mark(axes, knn(center, points, n_near)[0, 0, :: convolution.dilation], color, size=12)

# %%
# Neighborhoods in features. DGCNN's graph is found anew in every layer, in the features of the
# layer before; with training it comes to join points of equal meaning. GDANet parts points where
# features vary sharply from those where they do so gently.
panels = sheet(2)
neighbors = listen(make("dgcnn"), "edge4")[0][1][0]
axes = draw(next(panels), "DGCNN", "neighbors by the features of layer 3")
for center, color in zip(picked[1:6], colors, strict=False):
    mark(axes, neighbors[center], color)
    for other in neighbors[center]:
        join(axes, torch.stack([center, other]), color, linewidth=0.6)

network = make("gdanet")
edges = listen(network, "block1.edges")[1]
sharp, gentle = disentangle(edges, network.block1.n_members, network.block1.n_smooth)
axes = draw(next(panels), "GDANet", "sharp points (red), gentle points (blue)")
mark(axes, gentle[0], colors[0], size=5)
mark(axes, sharp[0], colors[3], size=5)

# %%
# Reaching far. CurveNet walks through the cloud from where it matters, PCT lets places read each
# other, and a transformer does the same with patches.
panels = sheet(3)
network = make("curvenet")
(features, others), curves = listen(network, "blocks.11.walk")
features = features * network.blocks["11"].walk.score(features).sigmoid()
axes = draw(next(panels), "CurveNet", "walks from point to point")
for number, curve in enumerate(curves[0]):
    steps = torch.cdist(curve, features[0]).argmin(1)
    join(axes, steps, colors[number % 10], linewidth=1, marker=".")

network = make("pct")
places = listen(network, "attentions.0")[0][0]
query = network.attentions[0].query_key(places)[0]
shares = (query @ query.T).softmax(-1)[2].detach()
axes = draw(next(panels), "PCT", "what the star reads: dark is more")
mark(axes, picked[:256], None, size=12, c=shares.argsort().argsort(), cmap="viridis_r")
mark(axes, picked[2:3], colors[3], size=150, marker="*")

patches = make("transformer_nano").structure().patches(points)[0]
axes = draw(next(panels), "Transformer", "patches, of which tokens are made")
for patch, color in zip(patches[0], plt.get_cmap("tab20").colors, strict=False):
    mark(axes, patch, color, size=6)

# %%
# Pictures. The others hand the cloud to a network of pictures: by depth from six sides, from
# sides that are learned, or painted with colors that are learned.
with torch.no_grad():
    pictures_of = {
        "SimpleView\ndepth from six sides": make("simpleview", picture_size=64).render(points)[0],
        "MVTN\nfrom sides that are learned": make("mvtn").render(points)[0],
        "P2P\npainted in learned colors": make("p2p", object_size=112, picture_size=112, n_views=6)
        .forward_pictures(points)[0]
        .permute(0, 2, 3, 1),
    }
for axes, (title, pictures) in zip(sheet(3), pictures_of.items(), strict=True):
    whole = torch.cat([torch.cat(list(row), dim=1) for row in pictures.split(3)])
    whole = (whole - whole.amin((0, 1))) / (whole.amax((0, 1)) - whole.amin((0, 1)))
    axes.imshow(whole, cmap="gray")
    axes.set_title(title, fontsize=10)
    axes.set_axis_off()
plt.show()
