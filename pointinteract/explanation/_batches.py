"""How many masked clouds go through a model at once: found on the way, less if memory is short."""

import numpy as np
import torch

# A further doubling of the batch must save this share of the time to be worth its memory.
WORTH_DOUBLING = 0.03
LARGEST_BATCH = 4096
# Beginnings of what torch says, as a RuntimeError, when the memory of the CPU is used up.
_MEMORY_WORDS = ("out of memory", "not enough memory", "can't allocate memory")


class BatchSize:
    """The number of masked clouds per call: fixed, or found by timing the first calls.

    The probing calls are part of the work, not in addition to it. Starting from the default,
    the size doubles while that pays; if it never did, it halves while that does.

    Parameters
    ----------
    batch_size : int, "auto" or None
        None is `default`, whatever it takes: equal calls then give equal bits.
    default : int

    Attributes
    ----------
    current : int
        What to use for the next call.
    """

    def __init__(self, batch_size: int | str | None, default: int) -> None:
        self.current = default if batch_size in (None, "auto") else int(batch_size)
        self._searching = batch_size == "auto"
        self._times: dict[int, float] = {}
        self._warm = False
        self._step = 2.0

    def report(self, n_clouds: int, seconds: float) -> None:
        """Take note of one call; while searching, move on to the next size."""
        if not self._searching or n_clouds != self.current:
            return
        if not self._warm:  # the first call also pays for what is made only once
            self._warm = True
            return
        self._times[n_clouds] = seconds / n_clouds
        best = min(self._times, key=self._times.__getitem__)
        before = n_clouds / self._step
        is_better = len(self._times) == 1 or (
            self._times[n_clouds] < (1 - WORTH_DOUBLING) * self._times.get(int(before), np.inf)
        )
        if not is_better and self._step > 1 and len(self._times) == 2:
            self._step, n_clouds = 0.5, int(before)  # larger is no better: try smaller ones
            is_better = True
        following = int(n_clouds * self._step)
        if is_better and 1 <= following <= LARGEST_BATCH:
            self.current = following
        else:
            self.current, self._searching = best, False

    def shrink(self) -> bool:
        """Halve after running out of memory; False if there is nothing left to halve."""
        self._searching = False
        self.current, before = max(1, self.current // 2), self.current
        return self.current < before


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a smaller batch might have fitted."""
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in _MEMORY_WORDS)


def forget_failed_batch() -> None:
    """Give back what a failed call left in the cache of a GPU."""
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
