"""
One picture per way to learn without labels
===========================================

A network can learn from clouds that nobody has labelled, if a part of them is taken away, spoiled
or shuffled and it has to say what was there. Each method of this library is shown here with the
riddle that it sets, and with the answer of a network that was trained for some seconds. That is
short: answers are rough, and no judgment of the methods. Published trainings take days.
"""

# sphinx_gallery_thumbnail_number = 1

# %%
# Most riddles are set on airplanes, since there is little time to learn from: 48 for training and
# one that no network has seen. Where clouds are to be told apart, there are eight kinds of things.
import matplotlib.pyplot as plt
import numpy as np
import torch

from pointinteract import pretraining
from pointinteract.datasets import make_shapes
from pointinteract.models.teachers import CallableTeacher
from pointinteract.plotting import ReconstructionDisplay, draw_cloud

airplanes = make_shapes(49, classes=["airplane"], n_points=512, random_state=0).data
airplanes, unseen = airplanes[:48], airplanes[48:]

kinds = ["airplane", "bed", "bottle", "car", "chair", "lamp", "mug", "table"]
things = make_shapes(72, classes=kinds, n_points=512, random_state=0)
order = np.argsort(things.target, kind="stable")
test = order[::9]  # one of each kind
train = np.setdiff1d(order, test)

few = {"n_points": 512, "batch_size": 8, "warmup_epochs": 1, "random_state": 0}
patches = few | {"n_groups": 32, "group_size": 16}
scales = few | {"n_groups": (128, 64, 16), "group_sizes": (8, 8, 8)}
small = few | {"n_points": 256, "learning_rate": 2e-3}
many = small | {"batch_size": 16}

BLUE, ORANGE, GRAY = "#0060A0", "#B84A00", "#7C858D"
look = {"size": 4, "view": (40, -60)}  # small dots, from above and the front


def sheet(*names):
    """Start a figure with three panels for each method, two methods in a row."""
    n_rows = (len(names) + 1) // 2
    figure = plt.figure(figsize=(10, 2.1 * n_rows), layout="constrained")
    parts = figure.subfigures(n_rows, 2, squeeze=False, wspace=0.04).flat
    for part, name in zip(parts, names, strict=False):
        part.suptitle(name, fontsize=11, fontweight="bold")
        yield part.subplots(1, 3)


def draw(axes, points, colors, title, **options):
    """Draw one cloud under a title."""
    draw_cloud(axes, points, colors=colors, title=title, **(look | options))


def compare(axes, result):
    """Draw what a network saw, what it made of that, and the truth."""
    ReconstructionDisplay.from_result(result).plot(axes, **look)


# %%
# Rebuild what is hidden. Clouds are cut into patches, small groups of neighbors, and most are
# hidden. **Point-MAE** rebuilds them from the rest. **ReCon** does so too, and learns at the same
# time what a picture and a text of the thing would say. **Point-M2AE** works at three scales, the
# finest for details and the coarsest for the whole. **I2P-MAE** hides less where pictures say that
# there is something to see.
point_mae = pretraining.PointMAEPretrainer(**patches, max_epochs=10).fit(airplanes)
recon = pretraining.ReConPretrainer(
    **patches, image_teacher="depth_descriptor", max_epochs=8
).fit(airplanes)
point_m2ae = pretraining.PointM2AEPretrainer(**scales, max_epochs=6).fit(airplanes)
i2p_mae = pretraining.I2PMAEPretrainer(**scales, max_epochs=5).fit(airplanes)

methods = {"Point-MAE": point_mae, "ReCon": recon, "Point-M2AE": point_m2ae, "I2P-MAE": i2p_mae}
for method, panels in zip(methods.values(), sheet(*methods), strict=True):
    compare(panels, method.reconstruct(unseen))

# %%
# What tells I2P-MAE where to look: three depth pictures (above), what a guide that knows pictures
# finds salient in them (below), and what follows for patches of the cloud. Bright ones are hidden
# less often.
guidance = i2p_mae.show_guidance(unseen)
figure = plt.figure(figsize=(10, 3.8), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=(3, 2))
for column, (above, below) in enumerate(left.subplots(2, 3).T):
    above.imshow(guidance.pictures[0][column], cmap="gray")
    below.imshow(guidance.maps[0][column], cmap="plasma")
    above.set_axis_off()
    below.set_axis_off()
nearest = ((unseen[0][:, None] - guidance.centers[0]) ** 2).sum(-1).argmin(1)
shown = guidance.saliency[0][nearest]
shades = plt.get_cmap("plasma")((shown - shown.min()) / np.ptp(shown))
draw(right.subplots(), unseen[0], shades, "I2P-MAE: saliency of patches")

# %%
# Words and features in place of points. **Point-BERT** first learns a dictionary, by turning every
# patch into a word (a color) and words into points again; then it guesses the words of hidden
# patches. **ACT** has its patches read by a network that knows something else, pictures as a rule
# (random weights here), and a student learns to guess what that says of hidden patches.
tokenizer = pretraining.DiscreteVAEPretrainer(**patches, max_epochs=12).fit(airplanes)
point_bert = pretraining.PointBERTPretrainer(
    **few, tokenizer=tokenizer, moco=False, mixing=False, max_epochs=5
).fit(airplanes)
teacher = pretraining.ACTTokenizerPretrainer(**patches, max_epochs=8).fit(airplanes)
act = pretraining.ACTPretrainer(**few, teacher=teacher, max_epochs=3).fit(airplanes)

panels = sheet("Point-BERT, dictionary", "Point-BERT", "ACT, teacher", "ACT, student")
for first, second in ((tokenizer, point_bert), (teacher, act)):
    spelled, row = first.reconstruct(unseen), next(panels)
    compare(row, spelled)
    row[0].clear()
    words = np.unique(spelled.words[0], return_inverse=True)[1]
    words = np.repeat(words, len(spelled.target[0]) // len(words))
    draw(row[0], spelled.target[0], plt.get_cmap("tab20")(words % 20), f"{words.max() + 1} words")
    compare(next(panels), second.reconstruct(unseen))

# %%
# Questions and sequels. **MaskPoint** does not rebuild: it is asked of places whether there is a
# point of the cloud (blue) or nothing (orange), having seen a tenth of it. Only the question is
# shown, since it takes longer than we have here until answers differ from place to place.
# **PointGPT** is shown the first half of the patches, in an order that walks through the cloud,
# and makes the rest one after the other, as language models do with words.
maskpoint = pretraining.MaskPointPretrainer(**patches, max_epochs=1).fit(airplanes)
point_gpt = pretraining.PointGPTPretrainer(**patches, max_epochs=8).fit(airplanes)

panels = sheet("MaskPoint", "PointGPT")
asked, row = maskpoint.discriminate(unseen), next(panels)
draw(row[0], asked.visible[0], GRAY, "seen")
draw(row[1], asked.queries[0], GRAY, "points,\nor not?")
draw(row[2], asked.queries[0], np.where(asked.label[0] == 1, BLUE, ORANGE), "truth")
row[0].set(xlim=row[2].get_xlim(), ylim=row[2].get_ylim())
compare(next(panels), point_gpt.generate(unseen))

# %%
# Whole clouds, for networks of any kind. **OcCo** completes what a camera sees from one side.
# **Jigsaw** cuts the space into cells, shuffles them with the points in them, and asks each point
# where it came from (the color). **IAE** says for any place how far it is from the surface, inside
# (blue) or outside (red); where that is zero there is the surface.
occo = pretraining.OcCoPretrainer("pointnet_basic", **small, n_coarse=64, max_epochs=11)
occo.fit(airplanes)
jigsaw = pretraining.JigsawPretrainer("pointnet_basic", **small, n_cells=2, max_epochs=10)
jigsaw.fit(airplanes)
iae = pretraining.IAEPretrainer(
    "pointnet_basic", **few, n_surface=512, n_queries=256, unet_width=8, turn=False, max_epochs=6
).fit(airplanes)

panels = sheet("OcCo", "Jigsaw", "IAE")
compare(next(panels), occo.complete(unseen))
puzzle, row = jigsaw.reassemble(unseen), next(panels)
colors = plt.get_cmap("Dark2")(puzzle.cells[0])
draw(row[0], puzzle.scrambled[0], colors, "shuffled")
draw(row[1], puzzle.reassembled[0], colors, f"put back\n{puzzle.accuracy[0]:.0%} right")
draw(row[2], unseen[0], GRAY, "truth")
row = next(panels)
compare(row, iae.reconstruct(unseen))
space = iae.implicit_field(unseen)
row[0].clear()
level = np.abs(space.axis).argmin()
heights = space.field[0][:, :, level].T
extent = (space.axis[0], space.axis[-1]) * 2
row[0].imshow(heights, extent=extent, origin="lower", cmap="coolwarm", vmin=-0.3, vmax=0.3)
row[0].contour(space.axis, space.axis, heights, levels=[0], colors="black")
row[0].set_title("distances\nfrom above", fontsize=10)
row[0].set_axis_off()

# %%
# Find the same thing again. Every cloud is disturbed twice. **SimCLR** looks for the second view
# of a cloud among those of all others; a bright diagonal means that it is found (the other squares
# would need longer for theirs). **MoCo** does the same with more of them, from memory. **BYOL**
# compares with no other cloud: it guesses what a slow copy of itself says of the second view;
# **STRL** is BYOL with stronger changes. **CrossPoint** looks for pictures of the clouds, too.
simclr = pretraining.SimCLRPretrainer("pointnet_basic", **many, max_epochs=13)
byol = pretraining.BYOLPretrainer("pointnet_basic", **many, max_epochs=8)
crosspoint = pretraining.CrossPointPretrainer("pointnet_basic", **many, max_epochs=8)
found = {
    name: method.fit(things.data[train]).similarity(things.data[test])
    for name, method in (("SimCLR", simclr), ("BYOL", byol), ("CrossPoint", crosspoint))
}
matrices = {f"{name}: views": result.similarity for name, result in found.items()}
matrices["CrossPoint: pictures"] = found["CrossPoint"].image_similarity

figure = plt.figure(figsize=(10, 5.6), layout="constrained")
above, below = figure.subfigures(2, 1, height_ratios=(3, 2.4))
for column, rows in enumerate(above.subplots(3, 8).T):
    draw(rows[0], found["SimCLR"].first[column], BLUE, kinds[column])
    draw(rows[1], found["SimCLR"].second[column], ORANGE, None)
    rows[2].imshow(found["CrossPoint"].images[column], cmap="gray")
    rows[2].set_axis_off()
for axes, (title, matrix) in zip(below.subplots(1, 4), matrices.items(), strict=True):
    axes.imshow(matrix, cmap="viridis")
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=10)

# %%
# Find the same point again. **PointContrast** gives every point a vector, and those of one point
# in two overlapping parts of a cloud are to be alike. Lines join points of the first part with the
# ones found in the second: blue if that is right or close by, orange if not. By default parts are
# turned at random; here they are left as they stand, which is easy enough to learn in seconds.
chairs = make_shapes(49, classes=["chair"], n_points=256, random_state=0).data
point_contrast = pretraining.PointContrastPretrainer(
    "pointnet_basic", **(few | {"n_points": 256}), keep=0.8, turn="none", max_epochs=4
).fit(chairs[:48])
pairs = point_contrast.correspondences(chairs[48:])

camera = np.array([[0.87, -0.17], [0.5, 0.3], [0.0, 0.94]])  # from the front right, a bit above
first = pairs.first[0] @ camera
second = pairs.second[0] @ camera + [2.2, 0.0]  # beside the first
right = pairs.distance[0] < 0.15
_, axes = plt.subplots(figsize=(10, 4.2), layout="constrained")
for row in range(0, len(right), max(1, len(right) // 40)):  # forty lines are enough
    line = np.stack([first[pairs.matched[0][row, 0]], second[pairs.predicted[0][row]]])
    axes.plot(*line.T, color=BLUE if right[row] else ORANGE, linewidth=0.7)
axes.scatter(*np.concatenate([first, second]).T, s=12, color=GRAY, zorder=2)
title = f"{right.mean():.0%} are close by, {pairs.accuracy[0]:.0%} the very point"
axes.set_title(f"PointContrast: of the points found {title}", fontsize=10)
axes.set_aspect("equal")
axes.set_axis_off()

# %%
# Pictures and words. **PointCLIP** does not learn at all: it draws depth pictures of a cloud from
# all sides, and asks CLIP, a network that knows pictures and their captions. **CLIP2Point** draws
# them denser, and trains a copy of CLIP to read them. Here are the pictures that they show; CLIP
# would have to be downloaded, so that something empty stands in for it. **ULIP** brings clouds to
# where texts of them are, so that words find them.
stand_in = CallableTeacher(lambda images: images.mean((1, 2)), takes="images")
pointclip = pretraining.PointCLIPPretrainer(stand_in).fit(unseen)
network = torch.nn.Sequential(torch.nn.AvgPool2d(112), torch.nn.Flatten())
clip2point = pretraining.CLIP2PointPretrainer(network, max_epochs=0).fit(airplanes[:2])
captions = [f"a {kinds[kind]}" for kind in things.target]
ulip = pretraining.ULIPPretrainer("pointnet_basic", **few, max_epochs=16)
ulip.fit(things.data[train], texts=[captions[row] for row in train])
asked = ulip.classify(things.data[test], kinds, templates="a {}").probabilities

_, axes = plt.subplots(2, 6, figsize=(10, 3.9), layout="constrained")
for row, method, name in ((0, pointclip, "PointCLIP"), (1, clip2point, "CLIP2Point")):
    for column, picture in enumerate(method.views(things.data[test[4:5]]).pictures[0]):
        axes[row, column].imshow(picture, cmap="gray")
        axes[row, column].set_title(f"{name}, side {column + 1}", fontsize=9)
        axes[row, column].set_axis_off()

_, axes = plt.subplots(figsize=(5, 4.2), layout="constrained")
axes.imshow(asked, cmap="viridis")
axes.set_xticks(range(8), kinds, rotation=45, ha="right")
axes.set_yticks(range(8), kinds)
axes.set(xlabel="word", ylabel="cloud", title="ULIP: which word it is")
plt.show()
