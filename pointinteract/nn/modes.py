"""Training and evaluation mode of the layers of a network."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

__all__ = ["evaluation_mode"]


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Run the body with every layer in evaluation mode, then restore each layer's own flag.

    BatchNorm uses its running statistics and leaves them as they are, and dropout is off, while
    gradients flow as ever. Layers that somebody froze in evaluation mode stay so after.
    """
    before = [(layer, layer.training) for layer in module.modules()]
    try:
        for layer, _ in before:
            layer.training = False
        yield
    finally:
        for layer, training in before:
            layer.training = training
