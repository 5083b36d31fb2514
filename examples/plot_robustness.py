"""
What breaks a classifier
========================

A network that names nearly every clean cloud rightly may stumble once the scanner adds stray
points or a part is hidden. The field asks seven such questions at five levels each. Here they
go to a network that learned from clean clouds, and to the same network after it was shown
stretched, shifted, noisy and thinned ones. In this run (one seed, 100 test clouds), what made
it stronger against one corruption made it weaker against another; no single accuracy tells.
"""

# %%
# The seven corruptions at their highest level. Those that drop leave fewer points, those that
# add bring more; lengths are in units of each cloud's radius.
import matplotlib.pyplot as plt

from pointinteract import PointClassifier
from pointinteract.datasets import make_shapes
from pointinteract.ops import CORRUPTIONS, corrupt
from pointinteract.plotting import RobustnessDisplay, draw_clouds
from pointinteract.protocols import corruption_robustness

classes = ["airplane", "bed", "bench", "bottle", "car", "chair", "lamp", "mug", "sofa", "table"]
X, y = make_shapes(400, n_points=256, classes=classes, return_X_y=True, random_state=0)
X, y, X_test, y_test = X[:300], y[:300], X[300:], y[300:]

chair, _ = make_shapes(1, n_points=1024, classes=["chair"], return_X_y=True, random_state=1)
worst = {kind.replace("_", " "): corrupt(chair, kind, 5, random_state=3)[0]
         for kind in CORRUPTIONS}
draw_clouds([chair[0], *worst.values()], titles=["clean", *worst])

# %%
# Both networks learn from the same clean clouds for as many epochs. The second never sees them
# twice alike.
settings = dict(model="pointnet_basic", max_epochs=15, batch_size=16, random_state=0)
changes = ("scale_translate", "jitter", "drop")
classifiers = {
    "clean clouds": PointClassifier(**settings, augmentation=None),
    "augmented clouds": PointClassifier(**settings, augmentation=changes),
}

# %%
# Every test cloud is asked about once clean and once under each corruption at each level; both
# networks meet the very same clouds. The field's errors relative to a baseline take the first
# network for it: 1 is as robust, lower is better. They are quotients of errors, so that mCE,
# their mean, is ruled by corruptions under which the baseline hardly errs. Look at the rows.
results = {}
for name, classifier in classifiers.items():
    results[name] = corruption_robustness(
        classifier.fit(X, y), X_test, y_test, baseline=results.get("clean clouds"),
        random_state=0,
    )
print(results["augmented clouds"].errors.round(2))
print(results["augmented clouds"].selection)

# %%
# One panel for each corruption; level 0 is the clean clouds.
RobustnessDisplay.from_results(results, chance=1 / len(classes)).plot()
plt.show()
