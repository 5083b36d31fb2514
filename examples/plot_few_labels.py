"""
Clouds without labels help where labels are few
===============================================

Labels are dear, clouds are not. Here 600 clouds come without labels and only 60 with one. A
network that first learns to rebuild hidden parts of the unlabelled clouds, and to foresee what
their depth pictures look like, gives features on which a linear model needs few labels.
"""

# %%
# Sixty labelled clouds of twenty kinds of objects: three of each.
import matplotlib.pyplot as plt
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from pointinteract import ReConPretrainer
from pointinteract.datasets import make_shapes

X, y = make_shapes(1060, n_points=512, return_X_y=True, random_state=0)
X_unlabelled, X_few, y_few, X_test, y_test = X[:600], X[600:660], y[600:660], X[660:], y[660:]

# %%
# The same network twice: once trained without labels, once with the weights it was born with.
# The second is the control: a random network is a surprisingly good feature, too.
settings = dict(
    image_teacher="depth_descriptor", augmentation=None, stop_gradient=False, batch_size=32,
    random_state=0,
)
pretrained = ReConPretrainer(**settings, max_epochs=15).fit(X_unlabelled)
untrained = ReConPretrainer(**settings, max_epochs=0).fit(X_unlabelled)

# %%
# A linear SVM on the features of each, taught by the sixty labels.
accuracy = {}
for name, encoder in (("random weights", untrained), ("pre-trained", pretrained)):
    svm = make_pipeline(StandardScaler(), LinearSVC(C=0.01, dual=False, random_state=0))
    svm.fit(encoder.transform(X_few), y_few)
    accuracy[name] = svm.score(encoder.transform(X_test), y_test)

fig, ax = plt.subplots(figsize=(5, 3), layout="constrained")
bars = ax.bar(list(accuracy), list(accuracy.values()), color=["0.7", "tab:blue"], width=0.6)
ax.bar_label(bars, fmt=lambda value: f"{value:.0%}")
ax.set(ylim=(0, 1), ylabel=f"accuracy on {len(X_test)} other clouds",
       title="Linear SVM, three labels a class")
plt.show()
