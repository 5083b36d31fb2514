"""
Which parts of a chair make it a chair?
=======================================

A score can be taken apart into what single parts bring and what parts bring only *together*.
Parts come named with the made data, so the answer reads in words.
"""

# %%
# A small network that tells four kinds of furniture apart.
import matplotlib.pyplot as plt

from pointinteract import InteractionExplainer, PointClassifier
from pointinteract.datasets import make_shapes

shapes = make_shapes(
    400, classes=["chair", "table", "sofa", "lamp"], n_points=256, random_state=0
)
clf = PointClassifier("pointnet_basic", max_epochs=12, random_state=0)
clf.fit(shapes.data[:360], shapes.target[:360])
print(f"accuracy on 40 other objects: {clf.score(shapes.data[360:], shapes.target[360:]):.0%}")

# %%
# Cut four chairs of the test clouds into eight regions each, and score every one of the 256
# ways to keep some of them. The rest is moved to the middle of the cloud. Regions take the name
# of the part that most of their points belong to.
chairs = [i for i in range(360, 400) if shapes.target_names[shapes.target[i]] == "chair"][:4]
explainer = InteractionExplainer(n_regions=8, start="far")
explanation = explainer.explain(clf, shapes.data[chairs], shapes.target[chairs])
explanation = explanation.name_regions(shapes.parts[chairs], shapes.part_names)
print(explanation.to_frame(top=3).to_string(index=False))

# %%
# The strongest effects of one chair, and how strong effects of each size are on the whole.
explanation.plot("regions", cloud=0)
explanation.plot("orders")
plt.show()
