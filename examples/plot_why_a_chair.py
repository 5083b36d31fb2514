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
from pointinteract.plotting import RegionHeatDisplay, RegionInteractionDisplay

real = Path(os.environ.get("POINTINTERACT_SHARED", "../shared")) / "data" / "modelnet10.npz"
if real.exists():
    data = load_cloud_dataset(real)
    clouds, names = data.data[:, :512], np.array(data.target_names)[data.target]
    train, test = np.flatnonzero(data.split == "train"), np.flatnonzero(data.split == "test")
    train = np.random.default_rng(0).permutation(train)[:1500]
else:
    data = make_shapes(1500, n_points=512, random_state=0)
    clouds, names = data.data, np.array(data.target_names)[data.target]
    train, test = np.arange(1300), np.arange(1300, 1500)

clf = PointClassifier("pointnet_basic", max_epochs=15, random_state=0)
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
# and leave out the rest.
explainer = InteractionExplainer(n_regions=10, start="far", target="chair")
explanation = explainer.explain(clf, clouds[chair])


def how_sure(log_odds):
    """From the measured score to a probability."""
    return 1 / (1 + np.exp(-log_odds))


pieces = 2 ** np.arange(10)
without = how_sure(explanation.values[0, 1023 - pieces])
alone = how_sure(explanation.values[0, pieces])
for piece in np.argsort(without)[:3]:
    print(f"without piece {piece} it is {without[piece]:.1%} sure; "
          f"with nothing but piece {piece}, {alone[piece]:.1%}")

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
# One piece may say little, and two say a lot once they are seen together: a seat is a board, legs
# are sticks, and a board on sticks is furniture. What a group adds *beyond* all its smaller
# groups is called an interaction. These are the strongest of them; gray pieces take no part.
RegionInteractionDisplay.from_explanation(explanation, top=7, min_order=2).plot()

# %%
# The short answer
# ----------------
# Add the sizes of all effects up: of single pieces, of pairs, of threes, and so on. Where single
# pieces hold most, the network goes by local features; where large groups do, it needs much of
# the object at once.
strength = explanation.strength_by_order("sum")
share_of_few = strength["strength"][:2].sum()
print(f"single pieces and pairs make up {share_of_few:.0%} of all effects")
explanation.plot("orders")
plt.show()
