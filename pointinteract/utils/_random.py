"""From scikit-learn's `random_state` to torch: one integer, drawn once.

Nothing here seeds a global generator and leaves it so: module initialisation, which only
knows the global one, runs inside `forked_seed`, which puts the old state back.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from sklearn.utils import check_random_state

MAX_SEED = np.iinfo(np.int32).max


def draw_seed(random_state: int | np.random.RandomState | None) -> int:
    """Draw the one integer from which everything random of a fit follows."""
    return int(check_random_state(random_state).randint(MAX_SEED))


def make_generator(seed: int, *stream: int) -> torch.Generator:
    """Make a CPU generator for one named stream of random numbers.

    Streams with different numbers are independent, so that drawing more from one (say
    augmentation) leaves another (say shuffling) as it was.
    """
    words = np.random.SeedSequence([seed, *stream]).generate_state(2, dtype=np.uint32)
    generator = torch.Generator(device="cpu")
    generator.manual_seed(int(words[0]) << 32 | int(words[1]))
    return generator


@contextmanager
def forked_seed(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Run the body under a seeded global torch state, and restore the old one after.

    Only the generators of the CPU and of `device` are touched: ``torch.manual_seed`` would seed
    those of every GPU, also of ones that nobody here uses.
    """
    device = torch.device(device)
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
