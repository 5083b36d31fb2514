"""Teachers of the `transformers` library: CLIP, and other encoders of pictures or texts.

Weights are read from safetensors files only; nothing is unpickled and no code that comes with
a model is run. A folder that exists is read without asking the network.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pointinteract.exceptions import CheckpointError
from pointinteract.models._teacher_base import Teacher, as_pictures, batches_of
from pointinteract.utils._optional import import_optional
from pointinteract.utils._params import check_option

__all__ = ["TransformersTeacher"]

TAKES = {"image": "images", "text": "texts"}
# Used where a model comes without a description of its preprocessing.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
PLAIN_MEAN = PLAIN_STD = (0.5, 0.5, 0.5)


class TransformersTeacher(Teacher):
    """A pre-trained encoder by local folder or hub name.

    Parameters
    ----------
    name : str or path-like
        Folder with ``config.json`` and ``model.safetensors`` (and a tokenizer for texts), or
        the name of a model on the Hugging Face hub, such as ``"openai/clip-vit-base-patch32"``.
    modality : {"image", "text"}, default="image"
    device : str or torch.device, default="cpu"
        Where the model works.
    batch_size : int, default=32
        Items encoded at once; more is faster and takes more memory.

    Notes
    -----
    The feature of a CLIP model is its projected embedding; that of another one its pooled
    output, or its class token if its weights have no pooling layer. The model is loaded when
    first asked; a pickled teacher keeps its name only, and loads again.
    """

    def __init__(
        self,
        name: str | os.PathLike[str],
        *,
        modality: str = "image",
        device: str | torch.device = "cpu",
        batch_size: int = 32,
    ) -> None:
        self.modality = check_option("modality", modality, tuple(TAKES))
        self.takes = TAKES[modality]
        self.name = os.fspath(name)
        self.device = str(device)
        self.batch_size = batch_size
        self.feature_dim = None
        self._model: nn.Module | None = None
        self._tokenizer: Any = None
        self._has_pooling = True

    def encode(self, items: Sequence[Any]) -> np.ndarray:
        """Encode pictures, as `as_pictures` reads them, or strings: (n, feature_dim)."""
        if isinstance(items, str):  # a sequence, too: its letters would be read
            raise TypeError(
                f"expected a list of {'texts' if self.modality == 'text' else 'pictures'}, got "
                "one string."
            )
        model = self._loaded()
        features = []
        with torch.inference_mode():
            for batch in batches_of(items, self.batch_size):
                if self.modality == "image":
                    output = self._encode_images(model, batch)
                else:
                    output = self._encode_texts(model, batch)
                features.append(self._checked(output, len(batch)))
        return np.concatenate(features)

    def identity(self) -> tuple[Any, ...]:
        """Say the weights and what is done to pictures or texts before; the model is loaded."""
        model: Any = self._loaded()
        shown: tuple[Any, ...] = ()
        if self.modality == "image":
            shown = (self._size, self._mean, self._std)
        else:
            shown = (sorted(self._tokenizer.get_vocab().items()),)
        config = model.config.to_json_string(use_diff=False)
        return ("transformers", type(model).__name__, config, shown, dict(model.state_dict()))

    @property
    def model(self) -> nn.Module:
        """The frozen model; loaded when first asked for."""
        return self._loaded()

    @property
    def picture_size(self) -> int:
        """Height of the pictures that the model was trained with, in pixels."""
        self._loaded()
        return self._size if isinstance(self._size, int) else self._size[0]

    @property
    def picture_statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and deviation of the colors of pictures that the model was trained with."""
        self._loaded()
        return self._mean, self._std

    def encode_pixels(self, pixels: Tensor) -> np.ndarray:
        """Encode pictures (n, 3, H, W) that are not of colors, as they are: (n, feature_dim)."""
        model = self._loaded()
        with torch.inference_mode():
            batches = pixels.split(self.batch_size)
            return np.concatenate(
                [self._checked(self._encode_pixels(model, b), len(b)) for b in batches]
            )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_model": None, "_tokenizer": None}

    def _encode_images(self, model: Any, batch: Sequence[Any]) -> Tensor:
        pictures = as_pictures(batch, self._size)
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (self._mean, self._std))
        return self._encode_pixels(model, (pictures - mean) / std)

    def _encode_pixels(self, model: Any, pixels: Tensor) -> Tensor:
        pixels = pixels.to(self.device)
        if hasattr(model, "get_image_features"):
            return _vector(model.get_image_features(pixel_values=pixels))
        return _vector(model(pixel_values=pixels), has_pooling=self._has_pooling)

    def _encode_texts(self, model: Any, batch: Sequence[Any]) -> Tensor:
        config = getattr(model.config, "text_config", model.config)
        tokens = self._tokenizer(
            list(batch),
            padding=True,
            truncation=True,
            max_length=config.max_position_embeddings,
            return_tensors="pt",
        ).to(self.device)
        inputs = {k: tokens[k] for k in ("input_ids", "attention_mask") if k in tokens}
        if hasattr(model, "get_text_features"):
            return _vector(model.get_text_features(**inputs))
        return _vector(model(**inputs), has_pooling=self._has_pooling)

    def _loaded(self) -> nn.Module:
        """Load model, tokenizer and preprocessing, once."""
        if self._model is not None:
            return self._model
        transformers = import_optional(
            "transformers", extra="teachers", purpose=f"the teacher {self.name!r}"
        )
        local = Path(self.name).expanduser()
        where = str(local) if local.is_dir() else self.name
        if not local.is_dir() and (local.is_absolute() or self.name.startswith((".", "~"))):
            raise FileNotFoundError(f"There is no folder {self.name!r} to load a teacher from.")
        offline = local.is_dir()
        try:
            config = transformers.AutoConfig.from_pretrained(where, local_files_only=offline)
            if self.modality == "text":
                self._tokenizer = transformers.AutoTokenizer.from_pretrained(
                    where, local_files_only=offline
                )
            else:
                self._read_preprocessing(transformers, where, config, offline)
            model, report = _model_class(transformers, config).from_pretrained(
                where, local_files_only=offline, use_safetensors=True, output_loading_info=True
            )
        except (OSError, ValueError, KeyError) as error:
            raise CheckpointError(
                f"{self.name!r} could not be loaded as a {self.modality} teacher. Built-in "
                "teachers are 'depth_descriptor' (image) and 'hashed_ngrams' (text); otherwise "
                "give a transformers model by hub name, or a folder with config.json, "
                "model.safetensors (pickled weights are never opened) and, for texts, a "
                f"tokenizer. transformers says: {error}"
            ) from error
        # An encoder saved with a classifier has no pooling layer; a random one is worthless.
        missing = [key for key in report["missing_keys"] if "position_ids" not in key]
        self._has_pooling = not any("pooler" in key for key in missing)
        missing = [key for key in missing if "pooler" not in key]
        if missing:
            raise CheckpointError(
                f"{self.name!r} lacks {len(missing)} weights of its own architecture, such as "
                f"{', '.join(sorted(missing)[:3])}; it would be partly random."
            )
        self._model = model.eval().requires_grad_(False).to(self.device)
        return self._model

    def _read_preprocessing(
        self, transformers: ModuleType, where: str, config: Any, offline: bool
    ) -> None:
        """Read the size, mean and deviation that the model's pictures had in training."""
        described: dict[str, Any] = {}
        for file_name in ("preprocessor_config.json", "processor_config.json"):
            path = transformers.utils.cached_file(
                where,
                file_name,
                local_files_only=offline,
                _raise_exceptions_for_missing_entries=False,
            )
            if path is not None:
                described = json.loads(Path(path).read_text(encoding="utf-8"))
                described = described.get("image_processor", described)
                break
        is_clip = "clip" in str(config.model_type)
        self._mean = tuple(described.get("image_mean", CLIP_MEAN if is_clip else PLAIN_MEAN))
        self._std = tuple(described.get("image_std", CLIP_STD if is_clip else PLAIN_STD))
        width = getattr(config, "vision_config", config).image_size
        # What the model was built for wins over what a file says.
        by_shorter_side = "shortest_edge" in _as_dict(described.get("size"), is_clip)
        self._size: int | tuple[int, int] = width if by_shorter_side else (width, width)


def _as_dict(size: Any, is_clip: bool) -> dict[str, Any]:
    """Read the forms that a processor's size has had over the years."""
    if isinstance(size, dict):
        return size
    return {"shortest_edge": size} if is_clip else {"height": size, "width": size}


def _model_class(transformers: ModuleType, config: Any) -> Any:
    """Choose the class that has the features wanted; half a CLIP needs its projection."""
    if config.model_type == "clip_vision_model":
        return transformers.CLIPVisionModelWithProjection
    if config.model_type == "clip_text_model":
        return transformers.CLIPTextModelWithProjection
    return transformers.AutoModel


def _vector(output: Any, *, has_pooling: bool = True) -> Tensor:
    """Take one vector per item from what a model returned.

    Up to version 4, `get_image_features` and its kin return the vectors, from version 5 on
    an output whose pooled part they are.
    """
    if isinstance(output, Tensor):
        return output
    for name in ("image_embeds", "text_embeds"):
        if getattr(output, name, None) is not None:
            return getattr(output, name)
    pooled = getattr(output, "pooler_output", None)
    if pooled is not None and has_pooling:
        return pooled
    return output.last_hidden_state[:, 0]
