"""
Where does the network look?
============================

ReCon learns from clouds, from pictures of them and from sentences about them, all at once. Beside
the patches that it cuts a cloud into, it has three *queries*: one is to become what a picture
would say, one what a sentence would say, and one what the class would be. All they know of a cloud
is what they read of its patches, and how much they read of which is a number that can be looked
at: the attention. This is the figure that the authors show for their network, trained for days.
Ours is small and was trained for a minute, so ask it what it looks at, and not yet why.

The objects are real ones where the ModelNet10 file is at hand (set ``POINTINTERACT_SHARED`` to
the folder that holds ``data/modelnet10.npz``), and invented ones otherwise.
"""

# %%
# Learn from shapes, pictures and words
# -------------------------------------
# No picture is needed: the teacher of the image query renders each cloud from several sides and
# describes what it sees. The teacher of the text query turns sentences into vectors. Invented
# objects come with a sentence about each; of the real ones we know the kind only.
#
# One switch is not as in the paper: there, what queries learn stays with them
# (``stop_gradient=True``), and patches learn where to look from rebuilding alone. That takes far
# longer than a minute, so here they learn from the queries, too.
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from pointinteract.datasets import load_cloud_dataset, make_shapes
from pointinteract.models import attention_maps
from pointinteract.plotting import AttentionDisplay
from pointinteract.pretraining import ReConPretrainer

real = Path(os.environ.get("POINTINTERACT_SHARED", "../shared")) / "data" / "modelnet10.npz"
if real.exists():
    data = load_cloud_dataset(real)
    names = np.array(data.target_names)[data.target]
    order = np.random.default_rng(0).permutation(len(names))
    train = order[data.split[order] == "train"][:400]
    test = order[data.split[order] == "test"]
    texts = [f"a {names[cloud].replace('_', ' ')}" for cloud in train]
    shown = ["chair", "table", "monitor", "toilet"]
else:
    kinds = ["airplane", "bed", "car", "chair", "guitar", "lamp", "mug", "table"]
    data = make_shapes(460, classes=kinds, n_points=1024, random_state=0)
    names = np.array(data.target_names)[data.target]
    train, test = np.arange(400), np.arange(400, 460)
    texts = [data.captions[cloud] for cloud in train]
    shown = ["airplane", "chair", "mug", "guitar"]

recon = ReConPretrainer(
    n_points=512,
    n_groups=32,
    group_size=16,
    image_teacher="depth_descriptor",
    text_teacher="hashed_ngrams",
    self_contrast=True,
    stop_gradient=False,
    drop_path=0.0,
    batch_size=16,
    learning_rate=3e-3,
    max_epochs=12,
    random_state=0,
)
recon.fit(data.data[train], texts=texts)

# %%
# Which block to look at
# ----------------------
# The network reads four times, in four blocks. So early in its training it chooses in some of
# them and reads all patches nearly alike in others. On average over objects that it has never
# seen, so many of the 32 patches does each query take in; 32 means that it does not choose at all.
unseen = data.data[test]
width = {
    f"block {block}": attention_maps(recon, unseen, block=block)
    .to_frame()
    .groupby("query")["effective"]
    .mean()
    for block in range(4)
}
for name, effective in width.items():
    print(name + ":", ", ".join(f"{query} {n:.1f}" for query, n in effective.items()))
chosen = int(np.argmin([effective.mean() for effective in width.values()]))
print(f"shown below: block {chosen}, where they choose the most")

# %%
# What they look at
# -----------------
# Dark is what is read the most; in the last column it is a patch that reads, the one in the ring.
# Mind the numbers: an even share is a thirty-second, and a picture with little more than that
# shows hardly a choice.
clouds = [test[names[test] == name][0] for name in shown]
display = AttentionDisplay.from_estimator(
    recon, data.data[clouds], names=names[clouds], block=chosen
).plot()

# %%
# Columns can be alike for a dull reason: whoever reads may read the same. So we ask how much of
# what two readers read is the same, on average over all unseen objects. Patches so early in their
# training mostly agree, and then it hardly matters which one the ring is put on.
maps = attention_maps(recon, unseen, block=chosen)


def agreement(first, second):
    """Mean over objects of the attention that two readers have in common, 0 to 1."""
    return np.minimum(first, second).sum(axis=-1).mean()


image, text, of_class = (maps.weights(query) for query in ("image", "text", "class"))
two_patches = agreement(maps.local_weights[:, :, None], maps.local_weights[:, None])
print(f"image and text query read the same by {agreement(image, text):.0%},")
print(f"image and class query by {agreement(image, of_class):.0%},")
print(f"two patches of an object by {two_patches:.0%}")
plt.show()

# %%
# Attention says what was *read*, not what *counted*: a patch can be read without changing
# anything. What counts for an answer is measured by taking it away, as the example "Why does the
# network call this a chair?" does.
