"""Weights that golden numbers were made with; none are stored, a formula gives them."""

import numpy as np
import torch


def fill_weights(entries, base):
    """Draw the official state that a golden folder's README describes.

    `entries` is a list of the folder's ``keys_*.json``, `base` the number of that model.
    """
    state = {}
    for entry in entries:
        name, shape = entry["name"], tuple(entry["shape"])
        if entry["dtype"] == "int64":
            state[name] = torch.zeros(shape, dtype=torch.int64)
            continue
        z = np.random.default_rng(base + entry["index"]).standard_normal(shape)
        if name.endswith("running_var"):
            z = 1 + 0.1 * np.abs(z)
        elif name.endswith("running_mean"):
            z = 0.1 * z
        elif len(shape) <= 1:
            z = 1 + 0.1 * z if name.endswith("weight") else 0.1 * z
        else:
            z = z / np.sqrt(np.prod(shape[1:]))
        if name == "queue":
            z = z / np.linalg.norm(z, axis=0)
        state[name] = torch.from_numpy(np.asarray(z, dtype=np.float32))
    return state
