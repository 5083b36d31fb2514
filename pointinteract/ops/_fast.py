"""Choose between kernels compiled by numba and the torch forms: the one place that does.

The torch forms are the reference. Where numba is installed (extra ``fast``) and plain tensors
are on the CPU, small compiled loops give the same results sooner. The environment variable
``POINTINTERACT_FAST=0`` turns them off.
"""

import functools
import importlib.util
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

SWITCH = "POINTINTERACT_FAST"
_TYPES = (torch.float32, torch.float64, torch.int64)
# Elementary steps that are worth waking another thread for.
_WORTH_A_THREAD = 50_000


def is_fast(*tensors: Tensor) -> bool:
    """Whether kernels may be used on these tensors.

    Not while a graph is recorded (compilation, export, tracing, function transforms), which
    could not look inside; not for types, devices and subclasses that kernels do not know.
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or not _is_enabled():
        return False
    if torch._C._len_torch_dispatch_stack() or torch._C._functorch.peek_interpreter_stack():
        return False
    return all(
        type(tensor) in (Tensor, torch.nn.Parameter)
        and tensor.device.type == "cpu"
        and tensor.dtype in _TYPES
        and tensor.layout == torch.strided
        for tensor in tensors
    )


def kernels() -> ModuleType:
    """Return the kernels; the first call imports numba."""
    return importlib.import_module("pointinteract.ops._kernels")


def array(tensor: Tensor) -> np.ndarray:
    """Return the numbers of a tensor on the CPU as NumPy sees them, in one piece."""
    return tensor.detach().contiguous().numpy()


def run(kernel: Callable, n_items: int, work: int, *arguments: Any) -> None:
    """Call ``kernel(first, last, *arguments)`` for parts of `n_items` that make them all up.

    Parameters
    ----------
    kernel : callable
        Compiled without the interpreter's lock. It must treat items one by one, so that
        results do not depend on the number of threads.
    n_items : int
    work : int
        Elementary steps for an item, about: little work stays in one thread.
    *arguments
        Arrays and numbers.
    """
    n_parts = min(torch.get_num_threads(), n_items, 1 + n_items * work // _WORTH_A_THREAD)
    if n_parts < 2:
        if n_items:
            kernel(0, n_items, *arguments)
        return
    edges = [n_items * part // n_parts for part in range(n_parts + 1)]
    pool = _pool(os.getpid(), n_parts - 1)
    others = [
        pool.submit(kernel, first, last, *arguments)
        for first, last in zip(edges[1:-1], edges[2:], strict=True)
    ]
    try:
        kernel(edges[0], edges[1], *arguments)
    finally:
        # Nobody may still be writing when the arrays are let go.
        errors = [other.exception() for other in others]
    for error in errors:
        if error is not None:
            raise error


def _is_enabled() -> bool:
    return os.environ.get(SWITCH, "1") != "0" and _has_numba()


@functools.cache
def _has_numba() -> bool:
    return importlib.util.find_spec("numba") is not None


_pool_lock = threading.Lock()
_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}


def _pool(process: int, n_threads: int) -> ThreadPoolExecutor:
    """Return threads of this process; those of its parent do not exist here."""
    with _pool_lock:
        for key in [key for key in _pools if key[0] != process]:
            del _pools[key]
        pool = _pools.get((process, n_threads))
        if pool is None:
            pool = ThreadPoolExecutor(n_threads, thread_name_prefix="pointinteract")
            _pools[process, n_threads] = pool
        return pool


# A child may be forked while another thread holds the lock.
def _renew_lock() -> None:
    global _pool_lock
    _pool_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


@functools.cache
def torch_fuses() -> bool:
    """Whether torch's `addcmul` rounds once, product and sum together, on this machine.

    Kernels follow it, so that near ties are decided alike.
    """
    near_one = torch.full((64,), 1 + 2.0**-12, dtype=torch.float32)
    return bool((torch.addcmul(-near_one.square(), near_one, near_one) != 0).all())
