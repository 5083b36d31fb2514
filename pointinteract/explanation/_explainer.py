"""InteractionExplainer: how a model of point clouds combines regions into a decision."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed, effective_n_jobs
from sklearn.base import BaseEstimator

from pointinteract._version import __version__
from pointinteract.explanation._controls import (
    NoiseControl,
    halve_clouds,
    regions_of_second_sample,
    temperature_frame,
)
from pointinteract.explanation._game import (
    BatchSize,
    CloudGame,
    check_clouds,
)
from pointinteract.explanation._models import OUTPUTS, CloudModel, as_cloud_model
from pointinteract.explanation._probes import probe_model
from pointinteract.explanation._progress import ProgressOption, progress_hook
from pointinteract.explanation._regions import check_names, check_regions, cut_clouds
from pointinteract.explanation._result import Explanation
from pointinteract.explanation._scores import SCORES, find_score
from pointinteract.explanation._targets import encode_labels, resolve_target, target_finder
from pointinteract.games.coalitions import MAX_PLAYERS
from pointinteract.ops.regions import BASELINES
from pointinteract.utils._params import check_int, check_option


class InteractionExplainer(BaseEstimator):
    """Measure how strongly a model uses interactions between regions of a cloud.

    A cloud is cut into `n_regions` regions. The model scores the cloud with every subset of
    them present, 2^n masked clouds, and a transform turns the scores into interactions: I(S)
    is what the regions in S contribute by being there *together*, beyond all smaller groups.

    Parameters
    ----------
    n_regions : int, default=10
        Number of regions n. Each further one doubles the time; finer regions show finer
        structure. Up to 16 is practical for small networks.
    start : {"first", "far"}, default="first"
        First region center: the first point of the cloud, as in the published work, or the
        point farthest from the mean, which does not depend on the order of the points.
    baseline : {"center", "region"}, default="center"
        Where the points of absent regions go, see
        :func:`~pointinteract.ops.regions.mask_regions`.
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
    batch_size : int, "auto" or None, default=None
        Masked clouds per call of the model. None is a fixed size by kind of model and device;
        ``"auto"`` times a few sizes on the way, which can change the last bits of the result.
        Halved when a GPU runs out of memory.
    n_jobs : int or None, default=None
        Clouds explained at once by joblib, for estimators and callables. Torch modules are
        run in this process, where threads are torch's.
    progress : bool or callable, default=False
        True shows a bar (needs rich); a callable is called with the numbers of masked clouds
        done and in total.
    device : str or None, default=None
        For torch modules: None works where the module is, else a copy of it is moved.
    random_state : int, RandomState instance or None, default=None
        Splits the clouds of :meth:`noise_control`. Nothing else is random.

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
    """

    def __init__(
        self,
        n_regions: int = 10,
        *,
        start: str = "first",
        baseline: str = "center",
        score: str | Callable[[np.ndarray, int], np.ndarray] = "log_odds",
        target: Any = "auto",
        output: str = "auto",
        batch_size: int | str | None = None,
        n_jobs: int | None = None,
        progress: ProgressOption = False,
        device: str | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_regions = n_regions
        self.start = start
        self.baseline = baseline
        self.score = score
        self.target = target
        self.output = output
        self.batch_size = batch_size
        self.n_jobs = n_jobs
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
            cut = cut_clouds(clouds, self.n_regions, self.start)
        else:
            cut = check_regions(regions, clouds, self.n_regions)
        names = check_names(region_names, len(clouds), self.n_regions)
        return self._explain(adapted, clouds, cut, y, names)

    def noise_control(
        self,
        model: Any,
        X: np.ndarray | Sequence[np.ndarray],
        y: Sequence[Any] | None = None,
        *,
        X_resampled: np.ndarray | Sequence[np.ndarray] | None = None,
    ) -> NoiseControl:
        """Explain two samples of the same surfaces, to see what survives.

        An effect that belongs to the shape comes back when its points are drawn anew; noise
        does not. Noise also grows with the order, so it looks like strong high orders.

        Parameters
        ----------
        model, X, y
            As in :meth:`explain`.
        X_resampled : like X, optional
            The same surfaces with points drawn anew. When left out, the points of each cloud
            are split at random into two halves, every region in both; the model must then
            cope with half the points.

        Returns
        -------
        control : NoiseControl
            Both explanations and, by order, their correlation. Both have the same region
            centers, those found on `X`.
        """
        adapted, clouds = self._start(model, X)
        cut = cut_clouds(clouds, self.n_regions, self.start)
        if X_resampled is None:
            pairs = halve_clouds(clouds, cut, self.random_state)
        else:
            second = adapted.prepare(check_clouds(X_resampled))
            second_cut = regions_of_second_sample(clouds, second, self.n_regions, self.start)
            pairs = ((clouds, cut), (second, second_cut))
        first, again = (self._explain(adapted, *pair, y) for pair in pairs)
        return NoiseControl(first, again)

    def scale_control(
        self,
        model: Any,
        X: np.ndarray | Sequence[np.ndarray],
        y: Sequence[Any] | None = None,
        *,
        temperatures: Sequence[float] = (0.5, 1.0, 2.0),
    ) -> Any:
        """Measure kappa again with all logits divided by each temperature.

        Training alone can scale logits up. A difference between models that a temperature
        also produces says nothing about structure. For ``score="logit"`` kappa does not
        change at all.

        Returns
        -------
        frame : DataFrame
            Columns order and one per temperature.
        """
        adapted, clouds = self._start(model, X)
        cut = cut_clouds(clouds, self.n_regions, self.start)
        labels = None if y is None else encode_labels(y, len(clouds), adapted.classes)
        values, _, _ = self._score_all(adapted, clouds, cut, labels, temperatures)
        return temperature_frame(values, temperatures)

    def _check_params(self) -> None:
        check_int("n_regions", self.n_regions, minimum=1, maximum=MAX_PLAYERS)
        check_option("start", self.start, ("first", "far"))
        check_option("baseline", self.baseline, BASELINES)
        check_option("output", self.output, OUTPUTS)
        if not callable(self.score):
            check_option("score", self.score, tuple(SCORES))
        if self.batch_size not in (None, "auto"):
            check_int("batch_size", self.batch_size)

    def _start(
        self, model: Any, X: np.ndarray | Sequence[np.ndarray]
    ) -> tuple[CloudModel, tuple[np.ndarray, ...]]:
        """Check everything, and bring model and clouds to the form that is worked on."""
        self._check_params()
        clouds = check_clouds(X)
        adapted = as_cloud_model(model, score=self.score, output=self.output, device=self.device)
        return adapted, adapted.prepare(clouds)

    def _explain(
        self,
        model: CloudModel,
        clouds: tuple[np.ndarray, ...],
        regions: tuple[np.ndarray, ...],
        y: Sequence[Any] | None,
        names: tuple[tuple[str, ...], ...] | None = None,
    ) -> Explanation:
        """Explain prepared clouds with their regions."""
        labels = None if y is None else encode_labels(y, len(clouds), model.classes)
        values, targets, predicted = self._score_all(model, clouds, regions, labels)
        return self._make_result(
            model, values[0], clouds, regions, targets, predicted, labels, names
        )

    def _score_all(
        self,
        model: CloudModel,
        clouds: tuple[np.ndarray, ...],
        regions: tuple[np.ndarray, ...],
        labels: np.ndarray | None,
        temperatures: Sequence[float] = (1.0,),
    ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
        """Return values (n_temperatures, n_clouds, 2^n), and target and predicted columns."""
        targets, predicted, values = [], [], []
        probe_model(self._game(model, clouds[0], regions[0]), model.name)
        model.n_clipped = 0  # the probe's answers do not count
        find_target = target_finder(self.target, labels, model.classes)
        for number, answers in enumerate(self._all_answers(model, clouds, regions)):
            if answers.ndim == 1:
                values.append([answers / temperature for temperature in temperatures])
                continue
            predicted.append(int(answers[-1].argmax()))
            targets.append(find_target(number, predicted[-1], answers.shape[1]))
            score = find_score(self.score)
            values.append([score(answers / t, targets[-1]) for t in temperatures])
        array = np.asarray(values, dtype=np.float64).transpose(1, 0, 2)
        if not targets:
            return array, None, None
        return array, np.array(targets), np.array(predicted)

    def _all_answers(
        self,
        model: CloudModel,
        clouds: tuple[np.ndarray, ...],
        regions: tuple[np.ndarray, ...],
    ) -> Any:
        """Yield the answers to all coalitions, cloud by cloud."""
        batch_size = BatchSize(self.batch_size, model.batch_size)
        games = (
            self._game(model, points, ids, batch_size)
            for points, ids in zip(clouds, regions, strict=True)
        )
        n_coalitions = 2**self.n_regions
        total = n_coalitions * len(clouds)
        in_process = isinstance(model.device, torch.device) and model.dtype is not None
        with progress_hook(self.progress, total, f"Explaining {model.name}") as advance:
            if in_process or effective_n_jobs(self.n_jobs) == 1:
                for game in games:
                    yield game.answers(advance=advance)
                return
            parallel = Parallel(n_jobs=self.n_jobs, return_as="generator")
            for answers, n_clipped in parallel(delayed(_answers_of)(game) for game in games):
                model.n_clipped += n_clipped
                advance(n_coalitions)
                yield answers

    def _game(
        self,
        model: CloudModel,
        points: np.ndarray,
        regions: np.ndarray,
        batch_size: BatchSize | None = None,
    ) -> CloudGame:
        return CloudGame(
            points,
            regions,
            self.n_regions,
            model,
            baseline=self.baseline,
            batch_size=batch_size,
        )

    def _make_result(
        self,
        model: CloudModel,
        values: np.ndarray,
        clouds: tuple[np.ndarray, ...],
        regions: tuple[np.ndarray, ...],
        targets: np.ndarray | None,
        predicted: np.ndarray | None,
        labels: np.ndarray | None,
        names: tuple[tuple[str, ...], ...] | None,
    ) -> Explanation:
        which = resolve_target(self.target, labels)
        score = getattr(self.score, "__name__", self.score)
        meta = {
            "model": model.name,
            "score": score if targets is not None else "value",
            "target": which if isinstance(which, str) else str(which),
            "n_regions": self.n_regions,
            "start": self.start,
            "baseline": self.baseline,
            "n_clipped": model.n_clipped,
            "version": __version__,
        }
        return Explanation(
            values=values,
            points=clouds,
            regions=regions,
            targets=targets,
            predicted=predicted,
            labels=labels if targets is not None else None,
            classes=model.classes,
            region_names=names,
            meta=meta,
        )


def _answers_of(game: CloudGame) -> tuple[np.ndarray, int]:
    before = game.model.n_clipped
    answers = game.answers()
    return answers, game.model.n_clipped - before
