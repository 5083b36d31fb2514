"""How kernels are compiled: without the interpreter's lock, and kept on disk where possible."""

from collections.abc import Callable

import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic


def kernel(function: Callable) -> Callable:
    """Compile `function` when it is first called."""
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # no folder to keep it in: compile once in every process
        return numba.njit(nogil=True)(function)


@intrinsic
def fused(typing_context, a, b, c):
    """Product a * b plus c, rounded once."""

    def generate(context, builder, signature, arguments):
        kind = ir.FloatType() if signature.return_type == types.float32 else ir.DoubleType()
        name = "llvm.fma.f32" if signature.return_type == types.float32 else "llvm.fma.f64"
        function = builder.module.declare_intrinsic(
            name, fnty=ir.FunctionType(kind, [kind, kind, kind])
        )
        return builder.call(function, arguments)

    if a == b == c and a in (types.float32, types.float64):
        return a(a, a, a), generate
    return None
