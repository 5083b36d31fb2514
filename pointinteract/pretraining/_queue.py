"""How many earlier clouds a contrast with a queue remembers, where nobody chose."""

__all__ = ["choose_queue_length"]


def choose_queue_length(given: int | None, n_clouds: int, *, most: int) -> int:
    """Length `given`, or half as many as there are clouds, at most `most`.

    A queue longer than the clouds are many holds keys of the very cloud that is compared, which
    would be mistaken for those of others.
    """
    return given or min(max(1, n_clouds // 2), most)
