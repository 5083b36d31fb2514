"""A text teacher without weights: hashed words and letters.

Each word, pair of words and triple of letters of a text is hashed to a few signed places of
the vector (a count sketch), so that inner products of vectors approximate those of n-gram
counts and texts that share words or stems lie close together.

References
----------
Weinberger et al., "Feature hashing for large scale multitask learning", ICML 2009.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import numpy as np

from pointinteract.models._teacher_base import Teacher
from pointinteract.utils._params import check_int

__all__ = ["TextEncoder"]

# Words that hold a caption together but say little about the thing.
FUNCTION_WORDS = frozenset(
    "a an and are as at by for from has have in is it its of on or that the this to with".split()
)
FUNCTION_WORD_WEIGHT = 0.2
# Shares of the three levels in a vector's length.
LEVEL_WEIGHTS = {"word": 1.0, "pair": 0.4, "letters": 0.7}
N_PLACES = 8


class TextEncoder(Teacher):
    """Turn texts into vectors by hashing their words and letters; equal texts, equal vectors.

    Needs no file, no training and no network; the same on every machine.

    Parameters
    ----------
    feature_dim : int, default=256
        Width of the vectors. Wider ones have fewer accidental similarities.

    Notes
    -----
    Vectors have length sqrt(feature_dim), mean square 1 per feature, which suits a smooth-L1
    regression. A text without any letter or digit becomes zero. Case, punctuation and the
    form of Unicode characters do not matter; the order of words matters a little.

    Examples
    --------
    >>> from pointinteract.models.teachers import TextEncoder
    >>> a, b, c = TextEncoder().encode(["a round table", "a square table", "an airplane"])
    >>> bool(a @ b > a @ c)
    True
    """

    takes = "texts"

    def __init__(self, feature_dim: int = 256) -> None:
        self.feature_dim: int = check_int("feature_dim", feature_dim, minimum=8, maximum=1 << 14)

    def encode(self, items: Sequence[Any]) -> np.ndarray:
        """Turn n texts into (n, feature_dim) float32."""
        if isinstance(items, str):
            raise TypeError("texts must be a list of strings, one for each cloud, got one string.")
        vectors = np.zeros((len(items), self.feature_dim), dtype=np.float32)
        known: dict[str, np.ndarray] = {}
        places: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for row, text in enumerate(items):
            if not isinstance(text, str):
                raise TypeError(
                    f"texts must be strings; number {row} is {text!r} ({type(text).__name__})."
                )
            # Captions repeat: category texts are equal for all objects of a category.
            if text not in known:
                known[text] = self._encode_text(text, places)
            vectors[row] = known[text]
        return vectors

    def identity(self) -> tuple[Any, ...]:
        """Say the width, all that the vectors depend on."""
        return ("hashed_ngrams", 1, self.feature_dim)

    def _encode_text(
        self, text: str, places: dict[str, tuple[np.ndarray, np.ndarray]]
    ) -> np.ndarray:
        vector = np.zeros(self.feature_dim)
        for level, counts in _ngrams(text).items():
            part = np.zeros(self.feature_dim)
            total = 0.0
            for ngram, count in counts.items():
                key = f"{level}:{ngram}"
                if key not in places:
                    places[key] = self._places(key)
                weight = 1.0 + math.log(count)
                if ngram in FUNCTION_WORDS:
                    weight *= FUNCTION_WORD_WEIGHT
                total += weight**2
                index, sign = places[key]
                np.add.at(part, index, weight * sign)
            if total > 0:
                vector += LEVEL_WEIGHTS[level] / math.sqrt(total) * part
        length = float(np.linalg.norm(vector))
        return vector * (math.sqrt(self.feature_dim) / length) if length > 0 else vector

    def _places(self, key: str) -> tuple[np.ndarray, np.ndarray]:
        """Hash one n-gram to `N_PLACES` places and signs."""
        digest = blake2b(key.encode(), digest_size=4 * N_PLACES).digest()
        words = np.frombuffer(digest, dtype="<u4").astype(np.int64)
        return (words >> 1) % self.feature_dim, 1.0 - 2.0 * (words & 1)


def _ngrams(text: str) -> dict[str, Counter[str]]:
    """Count the words, pairs of neighboring words and letter triples of a text."""
    words = re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", text).casefold())
    letters: Counter[str] = Counter()
    for word in words:
        if word not in FUNCTION_WORDS:
            marked = f"<{word}>"
            letters.update(marked[i : i + 3] for i in range(len(marked) - 2))
    pairs = Counter(f"{a} {b}" for a, b in zip(words, words[1:], strict=False))
    return {"word": Counter(words), "pair": pairs, "letters": letters}
