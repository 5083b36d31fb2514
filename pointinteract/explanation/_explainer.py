"""InteractionExplainer: how a model of point clouds combines regions into a decision."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pointinteract.explanation._controls import Controls
from pointinteract.explanation._game import check_clouds
from pointinteract.explanation._models import CloudModel, as_cloud_model
from pointinteract.explanation._planning import check_params, cut_for, describe, make_plan
from pointinteract.explanation._precision import check_precision
from pointinteract.explanation._progress import ProgressOption
from pointinteract.explanation._regions import check_names, check_regions
from pointinteract.explanation._result import Explanation
from pointinteract.explanation._running import Run
from pointinteract.explanation._sampled import build_sampled_fields
from pointinteract.explanation._targets import encode_labels


class InteractionExplainer(Controls):
    """Measure how strongly a model uses interactions between regions of a cloud.

    A cloud is cut into `n_regions` regions. The model scores the cloud with every subset of
    them present, 2^n masked clouds, and a transform turns the scores into interactions: I(S)
    is what the regions in S contribute by being there *together*, beyond all smaller groups.

    Parameters
    ----------
    n_regions : int, default=10
        Number of regions n, up to 256. Each further one doubles the time, and finer regions
        show finer structure. Up to 16 all coalitions are asked; of more, see `budget`.
    players : {"fps", "kmeans", "voxels", "patches"}, default="fps"
        How clouds are cut: around points far apart, as in the published work; around means;
        by a grid; or into whole patches of a network that makes tokens of patches.
    start : {"first", "far"}, default="first"
        First region center: the first point of the cloud, as in the published work, or the
        point farthest from the mean, which does not depend on the order of the points.
    absence : str, default="center"
        What becomes of the points of absent regions. ``"center"``: they move to the mean of
        the cloud, as in the published work; ``"region"``: to the mean of their region, which
        takes less away; ``"remove"``: they are gone; ``"background"``: they become points of
        `background`; ``"resample"``: copies of points that are still there. With
        ``players="patches"`` also ``"token_drop"`` and ``"token_baseline"``: their tokens
        are gone, or are those of an empty patch.
    background : array (m, n_channels), list of such for each cloud, or None, default=None
        For ``absence="background"``, in the coordinates that the network sees; None is a
        sphere as large as the cloud.
    score : str or callable, default="log_odds"
        What is explained, for the target class: ``"log_odds"`` log p / (1 - p), ``"logit"``,
        ``"log_probability"``, ``"probability"``, ``"margin"`` (logit less the best other one),
        or a function of logits (S, n_classes) and the target column that returns (S,).
    target : "auto", "true", "predicted" or a class label, default="auto"
        Class whose score is explained. ``"auto"``: the true one where `y` is given, else the
        predicted one. A label is looked up in ``model.classes_``; without that attribute it
        is the number of an output column.
    output : {"auto", "logits", "probabilities"}, default="auto"
        What the model answers. By default an estimator is asked for ``predict_logits``, then
        ``predict_proba``, then ``decision_function`` (this one before probabilities where
        `score` needs logits); modules and callables are taken to answer logits.
        Probabilities are kept above 1e-7 before logarithms are taken, so models that answer
        exact zeros (forests) are better explained with ``score="probability"``.
    engine : {"auto", "generic", "set_pool", "weighted", "patches"}, default="auto"
        How answers to all coalitions are found: ``"generic"`` runs the model on every masked
        cloud; the others share work where the network says that it can be shared. Each is
        compared with plain forwards on a few coalitions of every cloud, and left where it
        differs by more than 1e-4.
    structure : record or tuple of records, optional
        What a network that is not ours has to say: a :class:`SetPool`,
        :class:`WeightedPoints` or :class:`PatchTokens` made of its parts. What does not hold
        is found out and left with a warning.
    budget : int or None, default=None
        Coalitions asked of each cloud where 2^n is more: chosen ones, from which a sparse
        game is recovered. None asks all up to 16 regions, else 8,192.
    keep_answers : bool, default=False
        Keep the answers for all classes, so that another score or target needs no model:
        2^n x n_classes x 4 bytes a cloud.
    precision : {"float32", "tf32", "bfloat16"}, default="float32"
        What networks compute in. Less is faster, and noise grows with the order: it is
        measured on up to 2 clouds and kept beside the result.
    batch_size : int, "auto" or None, default=None
        Masked clouds per call of the model. None is a size by kind of model, device and number
        of points; ``"auto"`` finds it by timing the first calls, which can change the last bits
        of the result. Halved when memory runs out.
    n_jobs : int or None, default=None
        Clouds explained at once by joblib, for estimators and callables. Torch modules are
        run in this process, where threads are torch's.
    resume : path or None, default=None
        File to keep what is finished in. The same call goes on from there after an
        interruption; another one refuses the file.
    progress : bool or callable, default=False
        True shows a bar (needs rich); a callable is called with the numbers of masked clouds
        done and in total.
    device : str or None, default=None
        For torch modules: None works where the module is, else a copy of it is moved.
    random_state : int, RandomState instance or None, default=None
        Splits the clouds of :meth:`noise_control`, chooses coalitions within `budget`, and
        draws what is random of an absence. Nothing else is random.

    Attributes
    ----------
    engine_ : str
        The engine that the last explanation was made with.
    speedup_ : float
        How many times faster than plain forwards it was, by the time these took on the
        coalitions that were checked, the check itself included.
    max_error_ : float
        Largest disagreement with them, relative to the largest answer.

    Notes
    -----
    Masked clouds must not be centered or scaled again: that would mix the loss of regions
    with a change of size. An estimator that normalizes clouds can offer ``prepare_clouds(X)``
    and ``predict_logits(X, prepared=True)``, as :class:`~pointinteract.classification.
    PointClassifier` does; clouds are then prepared once, cut and masked after that, alone or
    as the last step of a pipeline. Other models get the masked clouds as they are; those
    found to normalize inside raise a warning.

    With v(T) the score with only the regions in T, I(S) is the sum over T in S of
    (-1)^(\\|S\\|-\\|T\\|) v(T), so that v(T) = sum over S in T of I(S) for every T [1]_.

    References
    ----------
    .. [1] Li et al., "A Unified Approach to Interpreting Self-supervised Pre-training Methods
       for 3D Point Clouds via Interactions", CVPR 2025.

    Examples
    --------
    >>> import numpy as np
    >>> from pointinteract.explanation import InteractionExplainer
    >>> X = np.random.default_rng(0).normal(size=(4, 32, 3))
    >>> def widest(points):
    ...     return np.abs(points).max(axis=1)  # one "logit" for each axis
    >>> explanation = InteractionExplainer(n_regions=4).explain(widest, X)
    >>> explanation
    <Explanation of widest: 4 clouds, 4 regions, log_odds of the predicted class>
    >>> explanation.interactions.shape
    (4, 16)

    A network of one's own is asked less if one says how it is made:

    >>> import torch
    >>> from pointinteract.explanation import SetPool
    >>> class Network(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.encode = torch.nn.Linear(3, 8)
    ...         self.head = torch.nn.Linear(8, 5)
    ...     def forward(self, points):
    ...         return self.head(self.encode(points).relu().amax(dim=1))
    >>> network = Network()
    >>> structure = SetPool(lambda points: network.encode(points).relu(), network.head)
    >>> explainer = InteractionExplainer(n_regions=4, structure=structure)
    >>> explanation = explainer.explain(network, X)
    >>> explainer.engine_
    'set_pool'
    """

    def __init__(
        self,
        n_regions: int = 10,
        *,
        players: str = "fps",
        start: str = "first",
        absence: str = "center",
        background: Any = None,
        score: str | Callable[[np.ndarray, int], np.ndarray] = "log_odds",
        target: Any = "auto",
        output: str = "auto",
        engine: str = "auto",
        structure: Any = None,
        budget: int | None = None,
        keep_answers: bool = False,
        precision: str = "float32",
        batch_size: int | str | None = None,
        n_jobs: int | None = None,
        resume: str | os.PathLike[str] | None = None,
        progress: ProgressOption = False,
        device: str | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_regions = n_regions
        self.players = players
        self.start = start
        self.absence = absence
        self.background = background
        self.score = score
        self.target = target
        self.output = output
        self.engine = engine
        self.structure = structure
        self.budget = budget
        self.keep_answers = keep_answers
        self.precision = precision
        self.batch_size = batch_size
        self.n_jobs = n_jobs
        self.resume = resume
        self.progress = progress
        self.device = device
        self.random_state = random_state

    def explain(
        self,
        model: Any,
        X: np.ndarray | Sequence[np.ndarray],
        y: Sequence[Any] | None = None,
        *,
        regions: Sequence[Any] | None = None,
        region_names: Sequence[Any] | None = None,
    ) -> Explanation:
        """Score every coalition of the regions of every cloud.

        Parameters
        ----------
        model : estimator, torch module or callable
            Scores clouds of shape (n_clouds, n_points, 3). Modules are put in eval mode for
            the time of the call.
        X : ndarray, shape (n_clouds, n_points, 3), or list of ndarray (n_i, 3)
            Clouds, normalized as the model wants them.
        y : array-like, shape (n_clouds,), optional
            True labels.
        regions : array-like of int, shape (n_clouds, n_points), or list, optional
            Region of every point, from 0 to `n_regions` - 1, instead of cutting here: parts
            that somebody named, or the regions of an earlier explanation.
        region_names : sequence of str, shape (n_regions,), or one such per cloud, optional
            Names for tables and pictures.

        Returns
        -------
        explanation : Explanation
        """
        adapted, clouds = self._start(model, X)
        if regions is None:
            cut = cut_for(self, adapted, clouds)
        else:
            cut = check_regions(regions, clouds, self.n_regions)
        names = check_names(region_names, len(clouds), self.n_regions)
        return self._explain(adapted, clouds, cut, y, names)

    def _start(
        self, model: Any, X: np.ndarray | Sequence[np.ndarray]
    ) -> tuple[CloudModel, tuple[np.ndarray, ...]]:
        """Check everything, and bring model and clouds to the form that is worked on."""
        check_params(self)
        clouds = check_clouds(X)
        adapted = as_cloud_model(
            model,
            score=self.score,
            output=self.output,
            device=self.device,
            structure=self.structure,
            precision=self.precision,
        )
        check_precision(self.precision, adapted.device)
        return adapted, adapted.prepare(clouds)

    def _explain(
        self,
        model: CloudModel,
        clouds: tuple[np.ndarray, ...],
        regions: tuple[np.ndarray, ...],
        y: Sequence[Any] | None,
        names: tuple[tuple[str, ...], ...] | None = None,
        part: str | None = None,
    ) -> Explanation:
        """Explain prepared clouds with their regions."""
        labels = None if y is None else encode_labels(y, len(clouds), model.classes)
        plan = make_plan(self, clouds, part=part)
        outcome = Run(plan, model, clouds, regions, labels).outcome()
        self.engine_, self.speedup_ = outcome.engine, outcome.speedup
        self.max_error_ = outcome.max_error
        more: dict[str, Any] = {}
        if plan.coalitions is not None:
            more = build_sampled_fields(plan.coalitions, outcome.values[0])
        return Explanation(
            values=outcome.values[0],
            points=clouds,
            regions=regions,
            targets=outcome.targets,
            predicted=outcome.predicted,
            labels=labels if outcome.targets is not None else None,
            classes=model.classes,
            region_names=names,
            answers=outcome.answers,
            noise_by_order=outcome.noise_by_order,
            meta=describe(self, model, outcome, labels),
            **more,
        )
