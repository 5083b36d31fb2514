"""
More clouds, or the same ones again
===================================

A method that learns by telling clouds apart needs clouds to tell apart: shown few, it comes to
know these few. One that rebuilds what is hidden finds something to learn in every single cloud.
That is the claim from which ReCon starts, which does both, and its authors open with a figure of
it: accuracy against the share of the clouds that pre-training saw. Here are two such figures of
our own: a small one, made below in a minute, and one of real objects that took longer.
"""

# %%
# The same number of steps for every share
# ----------------------------------------
# Otherwise a method would be blamed for having trained less. So a tenth of the clouds is seen ten
# times as often, and the learning rate takes the same course in all. Each encoder is a
# transformer of the same size; a linear SVM on its features learns from all labels, whatever the
# share, and is asked about other clouds.
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from pointinteract.datasets import make_shapes
from pointinteract.models.point_transformer import PointTransformer, transformer_sizes
from pointinteract.plotting import DataScalingDisplay
from pointinteract.pretraining import PointMAEPretrainer, ReConPretrainer, SimCLRPretrainer

X, y = make_shapes(700, n_points=128, return_X_y=True, random_state=0)
X_train, y_train, X_test, y_test = X[:400], y[:400], X[400:], y[400:]

patches = dict(n_groups=16, group_size=8)
common = dict(batch_size=16, random_state=0)
methods = {
    "contrastive": SimCLRPretrainer(
        PointTransformer, backbone_options=transformer_sizes("nano") | patches, **common
    ),
    "generative": PointMAEPretrainer(**patches, augmentation=None, **common),
    "ReCon": ReConPretrainer(
        **patches, image_teacher="depth_descriptor", stop_gradient=False, augmentation=None,
        **common,
    ),
}  # fmt: skip

runs = []
for share in (0, 0.05, 0.25, 1):  # 0: the control, random weights
    for method, pretrainer in methods.items():
        clouds = X_train[: round(share * 400) or 400]
        epochs = round(2000 / len(clouds)) if share else 0
        pretrainer.set_params(max_epochs=epochs, warmup_epochs=epochs / 10)
        encoder = pretrainer.fit(clouds)
        svm = make_pipeline(StandardScaler(), LinearSVC(C=0.01, random_state=0))
        svm.fit(encoder.transform(X_train), y_train)
        accuracy = svm.score(encoder.transform(X_test), y_test)
        runs.append({"method": method, "share": share, "seed": 0, "accuracy": accuracy})
runs = pd.DataFrame(runs)

control = runs[runs["share"] == 0].set_index("method")["accuracy"].rename("control")
table = runs[runs["share"] > 0].join(control, on="method")
DataScalingDisplay.from_frame(table, title="400 made shapes, one seed").plot()
plt.show()

# %%
# Every run of this little figure sees 2000 clouds, and there is one of each: read no more from
# it than how the question is asked.
#
# Real objects, three seeds
# -------------------------
# The same with ModelNet10. ``benchmarks/data_scaling.py`` makes the table, which lies beside it;
# ``benchmarks/RESULTS.md`` says with which settings, and what can be read from it.
measured = [folder / "benchmarks/data_scaling/modelnet10.csv" for folder in (Path(), Path(".."))]
for path in measured:
    if path.exists():
        table = pd.read_csv(path)
        DataScalingDisplay.from_frame(table, title="ModelNet10, linear SVM").plot()
        plt.show()
