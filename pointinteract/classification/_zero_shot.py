"""A classifier that is told its classes by name and has seen no labelled cloud."""

import inspect
import warnings
from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np
import scipy.special
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.utils import Bunch
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from pointinteract.base import CloudEstimatorMixin, Clouds
from pointinteract.exceptions import PointInteractWarning
from pointinteract.models._teacher_prompts import check_names, check_templates
from pointinteract.utils._params import check_option, check_real

__all__ = ["ZeroShotPointClassifier"]

FEATURES = ("text", "image", "full")
ASKED = ("encode_clouds", "encode_classes", "score_classes")


class ZeroShotPointClassifier(ClassifierMixin, CloudEstimatorMixin, BaseEstimator):
    """Name clouds by words alone, of classes that need not have been seen before.

    A network that was aligned with an encoder of texts says of a cloud where in the space of
    texts it belongs; the class is the one whose name, in sentences, lies nearest. Nothing is
    learned: `fit` reads the names.

    Parameters
    ----------
    pretrainer : ReConPretrainer, ULIPPretrainer, CLIP2PointPretrainer or PointCLIPPretrainer
        Fitted, and used as it is. Cross-validation clones what it is given, and a clone has
        forgotten its training: wrap the pretrainer in ``sklearn.frozen.FrozenEstimator`` there.
        One that needs no texts to learn (PointCLIP learns nothing at all) may come unfitted,
        and a copy is fitted to the clouds of `fit`.
    text_encoder : None, str, path, callable or teacher, default=None
        What reads the names, as :func:`pointinteract.models.teachers.resolve_teacher` takes it:
        the text side of the CLIP that the image teacher belongs to, say. None: the text teacher
        of the pretrainer.
    class_names : None, sequence of str or dict of label to str, default=None
        Words for the classes. With a dict, labels may be integers, or other words than those
        that are read: ``{"night_stand": "night stand"}``. None: they are given to `fit`.
    templates : "ensemble", "single", str, sequence of str or None, default="ensemble"
        Sentences with ``{}`` where the name comes; vectors of several are added up.
        ``"ensemble"`` are the 60 of ReCon's evaluation, ``"single"`` is one. None: what the
        paper of the pretrainer took.
    feature : {None, "text", "image", "full"}, default=None
        Of a pretrainer with two queries (ReCon, ULIP), what it says a text of the cloud would
        be, or a picture, or ``ratio * text + image``. None: the text, or the only one there is.
    ratio : float, default=0.25
        Weight of the text in ``feature="full"``. ReCon's evaluation: 0.2 on ModelNet10, 0.25 on
        ModelNet40, from 0.05 to 0.15 on ScanObjectNN.
    logit_scale : float or None, default=None
        By which cosines are multiplied for `predict_proba`; labels do not depend on it. None:
        that of the pretrainer (100, or what ULIP learned).

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
        Labels, sorted.
    class_names_ : list of str
        The words for them, in that order.
    class_vectors_ : float32 array of shape (n_classes, D)
        What the text encoder says of the names, of length 1.
    pretrainer_ : estimator
        The fitted pretrainer: the one given, unless it came unfitted.
    n_features_in_ : int
        Channels of a point.

    See Also
    --------
    PointClassifier : Learns from labelled clouds.

    References
    ----------
    Qi, Dong, Fan, Ge, Zhang, Ma, Yi, "Contrast with Reconstruct: Contrastive 3D Representation
    Learning Guided by Generative Pretraining", ICML 2023 (zero-shot transfer, and the prompts).

    Examples
    --------
    >>> from pointinteract.classification import ZeroShotPointClassifier
    >>> from pointinteract.datasets import make_shapes
    >>> from pointinteract.pretraining import ReConPretrainer
    >>> shapes = make_shapes(16, n_points=64, random_state=0)
    >>> pre = ReConPretrainer(
    ...     n_groups=8, group_size=8, text_teacher="hashed_ngrams", max_epochs=1, random_state=0
    ... ).fit(shapes.data, texts=shapes.captions)
    >>> clf = ZeroShotPointClassifier(pre, class_names=["chair", "airplane", "zeppelin"]).fit()
    >>> clf.predict_proba(shapes.data).shape
    (16, 3)
    """

    def __init__(
        self,
        pretrainer: Any,
        text_encoder: Any = None,
        *,
        class_names: Any = None,
        templates: Any = "ensemble",
        feature: str | None = None,
        ratio: float = 0.25,
        logit_scale: float | None = None,
    ):
        self.pretrainer = pretrainer
        self.text_encoder = text_encoder
        self.class_names = class_names
        self.templates = templates
        self.feature = feature
        self.ratio = ratio
        self.logit_scale = logit_scale

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = True  # it learns nothing from the clouds it is given
        tags.target_tags.required = self.class_names is None
        return tags

    def fit(self, X: Any = None, y: Any = None, *, class_names: Any = None):
        """Read the names of the classes; nothing is learned from clouds or labels.

        Parameters
        ----------
        X : array of shape (n_clouds, n_points, n_channels), list of (n_points_i, n_channels)
            or None, default=None
            Looked at only to see that clouds and words fit together, and to fit a pretrainer
            that came unfitted.
        y : array of shape (n_clouds,) or None, default=None
            Labels. Without `class_names`, the different ones among them are the names.
        class_names : None, sequence of str or dict of label to str, default=None
            In place of the parameter.

        Returns
        -------
        self : ZeroShotPointClassifier
        """
        self._check_params()
        before = dict(self.__dict__)
        try:
            clouds = None if X is None else self._validate_clouds(X, reset=True)
            classes, words = self._settle_classes(clouds, y, class_names)
            self.pretrainer_ = self._find_pretrainer(clouds)
            self._read_words(clouds, words)
            self.classes_, self.class_names_ = classes, words
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of the classes: softmax of scaled cosines.

        Parameters
        ----------
        X : array of shape (n_clouds, n_points, n_channels) or list of (n_points_i, n_channels)

        Returns
        -------
        probabilities : float32 array of shape (n_clouds, n_classes)
            Columns in the order of ``classes_``. They are as sure as the scale makes them, and
            not calibrated.
        """
        answer = self._answer(X)
        if self.logit_scale is None:
            return answer.probabilities
        logits = self.logit_scale * answer.scores.astype(np.float64)
        return scipy.special.softmax(logits, axis=1).astype(np.float32)

    def predict(self, X: Any) -> np.ndarray:
        """Label whose name lies nearest to each cloud.

        Parameters
        ----------
        X : array of shape (n_clouds, n_points, n_channels) or list of (n_points_i, n_channels)

        Returns
        -------
        labels : array of shape (n_clouds,)
        """
        scores = self._answer(X).scores
        return self.classes_[scores.argmax(axis=1)]

    @property
    def normalize(self) -> bool:
        """Whether the pretrainer moves clouds to the origin, so that validation may."""
        return bool(getattr(self.pretrainer, "normalize", False))

    def _check_params(self) -> None:
        check_option("feature", self.feature, (None, *FEATURES))
        check_real("ratio", self.ratio)
        if self.logit_scale is not None:
            check_real("logit_scale", self.logit_scale, open_minimum=True)
        if self.templates is not None:
            check_templates(self.templates)

    def _settle_classes(
        self, clouds: Clouds | None, y: Any, class_names: Any
    ) -> tuple[np.ndarray, list[str]]:
        """Sorted labels, and the words for them."""
        named = self.class_names if class_names is None else class_names
        found = None if y is None else column_or_1d(y, warn=True)
        if found is not None:
            check_classification_targets(found)
            if clouds is not None and len(found) != len(clouds):
                raise ValueError(
                    f"y must hold one label a cloud: got {len(found)} labels for "
                    f"{len(clouds)} clouds."
                )
        if named is None:
            if found is not None:
                return _words_of(found)
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None; or "
                "class_names, in the constructor or in fit."
            )
        labels, words = _read_names(named)
        if found is not None:
            unknown = set(found.tolist()) - set(labels.tolist())
            if unknown:
                raise ValueError(
                    f"y holds labels that are not among class_names: {sorted(map(str, unknown))}; "
                    f"known are {labels.tolist()}. For labels that are no words give a dict of "
                    "label to words, such as dict(enumerate(names))."
                )
        return labels, words

    def _find_pretrainer(self, clouds: Clouds | None) -> Any:
        pretrainer = self.pretrainer
        if isinstance(pretrainer, FrozenEstimator):
            pretrainer = pretrainer.estimator
        missing = [name for name in ASKED if not hasattr(pretrainer, name)]
        if missing or isinstance(pretrainer, type):
            raise TypeError(
                "pretrainer must compare clouds with words, as ReConPretrainer, ULIPPretrainer, "
                "CLIP2PointPretrainer and PointCLIPPretrainer do (encode_clouds, encode_classes, "
                f"score_classes); got {pretrainer!r}."
            )
        try:
            check_is_fitted(pretrainer)
        except NotFittedError:
            if clouds is None or _has_two_queries(pretrainer):
                raise NotFittedError(
                    f"the {type(pretrainer).__name__} is not fitted. Fit it first, with texts "
                    "where it learns from them; where estimators are cloned, as by "
                    "cross-validation, wrap the fitted one in sklearn.frozen.FrozenEstimator."
                ) from None
            return clone(pretrainer).fit(clouds)
        return pretrainer

    def _read_words(self, clouds: Clouds | None, words: list[str]) -> None:
        pretrainer = self.pretrainer_
        options = self._options(pretrainer)
        self.class_vectors_ = pretrainer.encode_classes(
            words, templates=self.templates, text_encoder=self.text_encoder
        )
        if clouds is None:
            self.n_features_in_ = getattr(pretrainer, "n_features_in_", 3)
        else:  # a wrong width is said here already, by the first cloud
            pretrainer.score_classes(clouds[:1], self.class_vectors_, **options)

    def _options(self, pretrainer: Any) -> dict[str, Any]:
        if _has_two_queries(pretrainer):
            return {"feature": self.feature or "text", "ratio": self.ratio}
        if self.feature is not None:
            raise ValueError(
                f"a {type(pretrainer).__name__} has one vector a cloud, not one of a text and one "
                f"of a picture; leave feature at None, got {self.feature!r}."
            )
        return {}

    def _answer(self, X: Any) -> Bunch:
        check_is_fitted(self, "class_vectors_")
        clouds = self._validate_clouds(X, reset=False)
        options = self._options(self.pretrainer_)
        return self.pretrainer_.score_classes(clouds, self.class_vectors_, **options)


def _has_two_queries(pretrainer: Any) -> bool:
    return "feature" in inspect.signature(pretrainer.score_classes).parameters


def _words_of(y: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """The different labels, and themselves as words."""
    classes = np.unique(y)
    words = classes.tolist()
    if not all(isinstance(label, str) for label in words):
        warnings.warn(
            f"labels such as {words[0]!r} are read as words, which says nothing of what they "
            "name; give class_names a dict of label to words, such as dict(enumerate(names)).",
            PointInteractWarning,
            stacklevel=4,  # past _settle_classes and fit, where the user called
        )
    return classes, [str(label) for label in words]


def _read_names(named: Any) -> tuple[np.ndarray, list[str]]:
    """Labels, sorted, and words from a list of words or a dict of label to words."""
    labels = list(named) if isinstance(named, Mapping) else check_names(named)
    words = check_names(named.values()) if isinstance(named, Mapping) else labels
    if not any(all(isinstance(label, kind) for label in labels) for kind in (str, Real)):
        raise TypeError(f"labels must be all strings or all numbers; got {labels}.")
    classes, first = np.unique(np.asarray(labels), return_index=True)
    return classes, [words[i] for i in first]
