"""
Why does the network call this a chair?
=======================================

A network has learned ten kinds of furniture and says of an object it never saw: *chair*. It
cannot tell us why. But we can ask it again and again, with pieces of the object taken away, and
watch how sure it stays. That is all this page does.

The object is a real one where the ModelNet10 file is at hand (set ``POINTINTERACT_SHARED`` to
the folder that holds ``data/modelnet10.npz``), and an invented chair otherwise.
"""

# %%
# A network, and an object it has not seen
# ----------------------------------------
# Training takes about a minute on two cores.
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from pointinteract import InteractionExplainer, PointClassifier
from pointinteract.datasets import load_cloud_dataset, make_shapes
from pointinteract.plotting import RegionHeatDisplay, RegionInteractionDisplay, draw_clouds

real = Path(os.environ.get("POINTINTERACT_SHARED", "../shared")) / "data" / "modelnet10.npz"
if real.exists():
    data = load_cloud_dataset(real)
    clouds, names = data.data[:, :512], np.array(data.target_names)[data.target]
    train, test = np.flatnonzero(data.split == "train"), np.flatnonzero(data.split == "test")
    train = np.random.default_rng(0).permutation(train)[:1200]
else:
    data = make_shapes(1500, n_points=512, random_state=0)
    clouds, names = data.data, np.array(data.target_names)[data.target]
    train, test = np.arange(1300), np.arange(1300, 1500)

clf = PointClassifier("pointnet_basic", max_epochs=12, random_state=0)
clf.fit(clouds[train], names[train])
print(f"right on {clf.score(clouds[test], names[test]):.0%} of objects it never saw")
chairs = test[names[test] == "chair"]
chair = chairs[clf.predict(clouds[chairs]) == "chair"][:1]
sure = clf.predict_proba(clouds[chair])[0, list(clf.classes_).index("chair")]
print(f"of this one it is {sure:.1%} sure: chair")

# %%
# Take pieces away
# ----------------
# We cut the chair into ten pieces and show the network every one of the 1,024 ways to keep some
# and leave out the rest. Two of them say the most. One is *nothing*: what the network says then
# is habit, learned from how common each class was, and where all numbers below start from. The
# other is the fewest pieces that must go missing before it no longer says *chair*.
explainer = InteractionExplainer(n_regions=10, start="far", target="chair")
explanation = explainer.explain(clf, clouds[chair])
sureness = 1 / (1 + np.exp(-explanation.values[0]))  # from log-odds to probability
n_kept = np.array([int(kept).bit_count() for kept in range(1024)])
kept = (np.arange(1024)[:, None] >> np.arange(10) & 1).astype(bool)

undone = np.lexsort((sureness, -n_kept, sureness >= 0.5))[0]
points, pieces = explanation.points[0], explanation.regions[0]
gray, blue = "#D4D8DD", "#0060A0"
draw_clouds(
    [points] * 3,
    colors=[np.where(kept[rows][pieces], blue, gray) for rows in (1023, 0, undone)],
    titles=[
        f"all of it: {sureness[1023]:.0%} sure",
        f"nothing at all: {sureness[0]:.0%} sure",
        f"without the gray: {sureness[undone]:.0%} sure",
    ],
    panel_size=3.0,
)

# %%
# Which pieces matter?
# --------------------
# Blue pieces make the network more sure that it sees a chair, orange ones less. The numbers add
# up: together they lead from seeing nothing to seeing everything. (Plus 2.3 makes *chair* ten
# times as likely compared with everything else.)
RegionHeatDisplay.from_explanation(explanation).plot()

# %%
# Do they matter alone, or together?
# ----------------------------------
# Two pieces may say little and yet a lot once they are seen together: a board and a stick are
# furniture only when one carries the other. Then the pair gets a blue number of its own. Two
# pieces may also say the same thing twice, as two legs do; then the second adds less than it
# would have alone, and the pair gets an orange number to make up for it. These are the strongest
# such corrections; gray pieces take no part in them.
RegionInteractionDisplay.from_explanation(explanation, top=7, min_order=2).plot()

# %%
# The short answer
# ----------------
# Add up what pieces do alone, in pairs, in threes, and so on, each on average. If the curve fell
# fast, the network would go by single features; where it does not, it minds how much of the
# object is there at once. The dotted line is what mere noise would look like: only what lies
# above it on the left, or clearly departs from it, says something about this chair.
explanation.plot("orders")
plt.show()
