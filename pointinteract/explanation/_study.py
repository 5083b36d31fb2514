"""InteractionStudy: what sets of models have in common, and what sets them apart."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from pointinteract.explanation._explainer import InteractionExplainer
from pointinteract.explanation._game import check_clouds
from pointinteract.explanation._progress import ProgressOption, progress_hook
from pointinteract.explanation._result import Explanation
from pointinteract.explanation._study_readings import (
    control_frame,
    hits_on_test,
    transfer_frame,
)
from pointinteract.explanation._study_runs import (
    ExplanationStore,
    fingerprint_of,
    label_of,
    table_of_models,
)
from pointinteract.explanation._study_statistics import Draws
from pointinteract.explanation._study_tables import (
    Measured,
    accuracy_frame,
    difference_frames,
    overlap_frame,
    strength_frame,
)
from pointinteract.explanation._study_trends import (
    correlation_frame,
    gap_frame,
    gap_trend_frame,
    spread_frame,
    transfer_test_frame,
    trend_frame,
)
from pointinteract.explanation._study_verdict import verdict_frame
from pointinteract.utils._params import check_int, check_option, check_real

if TYPE_CHECKING:
    import os

__all__ = ["InteractionStudy"]


class InteractionStudy:
    """Compare many models by their interactions, and test what was published about them.

    All models explain the same points, cut into the same regions, so that every difference is
    taken cloud by cloud. The arms (training from scratch, kinds of pre-training, losses) are
    compared over seeds, and each published conclusion that the models allow to be tested gets
    a verdict: held, did not hold, or undecided.

    Parameters
    ----------
    models : mapping or DataFrame
        ``{"scratch": [model, model, model], "pre-trained": [...]}``: from an arm, or a pair
        (backbone, arm), to one model, a list (seeds 0, 1, ...) or a mapping from seeds. Or a
        table with columns arm and model, and optionally backbone, seed, stage (part of the
        pre-training that was done, 0 to 1), fraction (part of the labels that was used, 0 to 1)
        and accuracy. A model may be an :class:`Explanation` made before.
    X : ndarray, shape (n_clouds, n_points, 3), or list of ndarray (n_i, 3)
        Clouds to explain; class-balanced and a hundred or more for results to stand on.
    y : array-like, shape (n_clouds,)
        True labels.
    explainer : InteractionExplainer, optional
        How to explain; a default one if left out.
    test : pair (X_test, y_test), optional
        Clouds on which the accuracy is measured, through ``predict``; the explained clouds, a
        far smaller number, if left out.
    reference : str, optional
        Arm that the others are compared with; the first one if left out.
    regions : sequence of array of int, optional
        Region of each point. Cut once, with the first model, if left out.
    readouts : mapping of str to callable, or DataFrame, optional
        Transferability: each function takes a model and returns an accuracy, such as
        ``lambda model: linear_readout(model, X_other, y_other, X_test, y_test)``. Or a table of
        such accuracies, with columns readout, accuracy and those that name a model.
    controls : bool, default=True
        Whether to measure, for the first seed of each arm and on a few clouds, what survives when
        the points are drawn anew and what a temperature does.
    store : path-like, optional
        Folder in which each explanation is kept with a fingerprint of model, clouds, labels,
        regions and settings; a study that is run again explains only what is new.
    salient : float, default=0.05
        Effects above this share of a cloud's largest one are salient.
    confidence, n_bootstraps : float and int, default=0.95 and 1000
        Of all intervals.
    n_permutations : int, default=2000
        Of the correlation with accuracy.
    progress : bool or callable, default=False
        True shows a bar over models (needs rich); a callable gets (models done, models).
    random_state : int, RandomState instance or None, default=0
        Draws the bootstrap and the permutations.

    Attributes
    ----------
    models_ : DataFrame
        One row a model.
    explanations_ : list of Explanation
        In the order of ``models_``.
    regions_ : tuple of ndarray
    strength_ : DataFrame
        Strength of each order, for each model, choice of clouds ("all" or "correct") and
        normalization, with its interval over clouds and, where it applies, what noise gives.
    ranges_ : DataFrame
        The same added up over low and over high orders, by three choices of bounds.
    accuracy_ : DataFrame
    differences_, tests_ : DataFrame
        Each arm less the reference: seed by seed, with an interval over clouds; and over seeds,
        with an interval over seeds and clouds. "correct" takes the clouds both get right.
    consistency_ : DataFrame
        Whether the sign of a difference is the same under all normalizations and bounds. Where
        it is not, the difference is not established.
    overlap_ : DataFrame
        Overlap (Jaccard) of the salient sets of two models, and correlation of their effects.
    correlation_ : DataFrame
        Spearman's correlation of kappa high with accuracy, with a permutation p-value. Seeds of
        one arm resemble each other, so p errs to the small side.
    trends_ : DataFrame
        Slope of kappa and accuracy over stages, and over powers of ten of the data.
    gaps_, gap_trends_ : DataFrame
        Lead of an arm over the reference by share of the data, and the slope of it.
    spread_ : DataFrame
        How far seeds of one arm lie apart.
    transfer_, transfer_tests_ : DataFrame
        Read-outs of each model, and arm less reference.
    controls_ : DataFrame
    verdict_ : DataFrame
        Claim, measured difference with its interval, verdict and reason.

    Examples
    --------
    >>> import numpy as np
    >>> from pointinteract.explanation import InteractionExplainer, InteractionStudy
    >>> X = np.random.default_rng(0).normal(size=(6, 32, 3))
    >>> def widest(points):
    ...     return np.abs(points).max(axis=1)
    >>> def heaviest(points):
    ...     return np.abs(points).mean(axis=1)
    >>> study = InteractionStudy(
    ...     {"max": [widest], "mean": [heaviest]}, X, np.zeros(6, int),
    ...     explainer=InteractionExplainer(n_regions=4), controls=False,
    ... ).run()
    >>> single = study.tests_.query("normalize == 'kappa' and order == 1")
    >>> bool(single["difference"].iloc[0] > 0)
    True
    """

    def __init__(
        self,
        models: Any,
        X: Any,
        y: Sequence[Any],
        *,
        explainer: InteractionExplainer | None = None,
        test: tuple[Any, Sequence[Any]] | None = None,
        reference: str | None = None,
        regions: Sequence[Any] | None = None,
        readouts: Mapping[str, Callable[[Any], Any]] | pd.DataFrame | None = None,
        controls: bool = True,
        store: "str | os.PathLike[str] | None" = None,
        salient: float = 0.05,
        confidence: float = 0.95,
        n_bootstraps: int = 1000,
        n_permutations: int = 2000,
        progress: ProgressOption = False,
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.models = models
        self.X = X
        self.y = y
        self.explainer = explainer
        self.test = test
        self.reference = reference
        self.regions = regions
        self.readouts = readouts
        self.controls = controls
        self.store = store
        self.salient = salient
        self.confidence = confidence
        self.n_bootstraps = n_bootstraps
        self.n_permutations = n_permutations
        self.progress = progress
        self.random_state = random_state

    def run(self) -> "InteractionStudy":
        """Explain every model that is not in the store yet, and make all frames.

        Returns
        -------
        self : InteractionStudy
        """
        self._check_params()
        self.models_ = table_of_models(self.models)
        self.reference_ = self._find_reference()
        self._explain_all()
        draws = Draws.make(
            len(self.explanations_[0]), self.n_bootstraps, self.confidence, self.random_state
        )
        self._measured = Measured(self.models_, self.explanations_, draws)
        self.strength_, self.ranges_ = strength_frame(self._measured)
        self.accuracy_ = accuracy_frame(self._measured, hits_on_test(self.models_, self.test))
        self.differences_, self.tests_, self.consistency_ = difference_frames(
            self._measured, self.reference_
        )
        self.overlap_ = overlap_frame(self._measured, self.salient)
        self.spread_ = spread_frame(self.ranges_)
        self._follow_trends()
        self.transfer_ = transfer_frame(self.models_, self.readouts)
        self.transfer_tests_ = transfer_test_frame(self._measured, self.transfer_, self.reference_)
        self.controls_ = pd.DataFrame()
        if self.controls:
            self.controls_ = control_frame(self.models_, self._make_explainer(), self.X, self.y)
        self.verdict_ = verdict_frame(
            tests=self.tests_,
            consistency=self.consistency_,
            correlation=self.correlation_,
            trends=self.trends_,
            gap_trends=self.gap_trends_,
            transfer_tests=self.transfer_tests_,
        )
        return self

    def explanation(
        self, arm: str, *, seed: Any = None, backbone: str | None = None
    ) -> Explanation:
        """Return the explanation of the first model of an arm, or of one seed or backbone.

        Raises
        ------
        KeyError
            If there is no such model.
        """
        self._check_has_run()
        chosen = self.models_["arm"] == arm
        if seed is not None:
            chosen &= self.models_["seed"] == seed
        if backbone is not None:
            chosen &= self.models_["backbone"] == backbone
        if not chosen.any():
            raise KeyError(f"no model of arm {arm!r}, seed {seed!r}, backbone {backbone!r}.")
        # The fully trained one first, where there are stages or shares of the data.
        best = self.models_[chosen].sort_values(["stage", "fraction"], ascending=False)
        return self.explanations_[best.index[0]]

    def plot(self, kind: str = "orders") -> Any:
        """Draw with matplotlib, laid out like the figures of the published study.

        Parameters
        ----------
        kind : {"orders", "accuracy", "data", "example", "strongest"}, default="orders"
            ``"orders"``: kappa by order, arm against arm, a panel for each backbone.
            ``"accuracy"``: kappa high against accuracy, a dot a model. ``"data"``: lead in
            accuracy and in kappa high against the share of the data. ``"example"``: one
            decision taken apart. ``"strongest"``: strongest low- and high-order sets drawn on
            clouds, the reference beside another arm.

        Returns
        -------
        display : object with ``figure_``
        """
        self._check_has_run()
        from pointinteract import plotting

        displays: dict[str, Any] = {
            "orders": plotting.StudyOrdersDisplay,
            "accuracy": plotting.StudyAccuracyDisplay,
            "data": plotting.StudyDataDisplay,
            "example": plotting.DecompositionDisplay,
            "strongest": plotting.StrongestSetsDisplay,
        }
        return displays[check_option("kind", kind, tuple(displays))].from_study(self).plot()

    def __repr__(self) -> str:
        state = f"{len(self.models_)} models" if hasattr(self, "verdict_") else "not run yet"
        return f"<InteractionStudy of {len(self.X)} clouds: {state}>"

    def _check_has_run(self) -> None:
        if not hasattr(self, "verdict_"):
            raise NotFittedError("this study has not run yet; call run() first.")

    def _check_params(self) -> None:
        check_real("salient", self.salient, maximum=1.0)
        check_int("n_bootstraps", self.n_bootstraps)
        check_int("n_permutations", self.n_permutations)
        if self.readouts is not None and not isinstance(self.readouts, Mapping | pd.DataFrame):
            raise TypeError(
                "readouts must be a mapping of names to functions of a model, or a table with "
                f"columns readout and accuracy; got {type(self.readouts).__name__}."
            )

    def _find_reference(self) -> str:
        arms = self.models_["arm"].unique().tolist()
        reference = arms[0] if self.reference is None else self.reference
        return str(check_option("reference", reference, arms))

    def _make_explainer(self) -> InteractionExplainer:
        return InteractionExplainer() if self.explainer is None else clone(self.explainer)

    def _explain_all(self) -> None:
        """Explain the models in turn, all on the regions of the first."""
        clouds = check_clouds(self.X)
        explainer = self._make_explainer()
        store = ExplanationStore(self.store)
        made = [model for model in self.models_["model"] if isinstance(model, Explanation)]
        self.regions_ = self.regions if self.regions is not None or not made else made[0].regions
        self.explanations_ = []
        with progress_hook(self.progress, len(self.models_), "Explaining models") as advance:
            for row in self.models_.itertuples():
                explanation = row.model
                if not isinstance(explanation, Explanation):
                    explanation = self._explain_one(row, explainer, store, clouds)
                self._check_same(row, explanation)
                self.explanations_.append(explanation)
                advance(1)

    def _explain_one(
        self,
        row: Any,
        explainer: InteractionExplainer,
        store: ExplanationStore,
        clouds: Sequence[np.ndarray],
    ) -> Explanation:
        fingerprint = fingerprint_of(row.model, explainer, clouds, self.y, self.regions_)
        explanation = store.find(row, fingerprint)
        if explanation is None:
            explanation = explainer.explain(row.model, self.X, self.y, regions=self.regions_)
            store.keep(row, explanation, fingerprint)
        return explanation

    def _check_same(self, row: Any, explanation: Explanation) -> None:
        """Take the regions of the first explanation, and refuse others after that."""
        if not explanation.is_exact:
            raise ValueError(
                f"the explanation of {label_of(row)} was made from a sample of the coalitions; a "
                "study needs all of them: lower n_regions to 16 or fewer."
            )
        if self.regions_ is None:
            self.regions_ = explanation.regions
        same = len(explanation.regions) == len(self.regions_) and all(
            np.array_equal(ids, known)
            for ids, known in zip(explanation.regions, self.regions_, strict=True)
        )
        if not same:
            raise ValueError(
                f"the explanation of {label_of(row)} has other clouds or regions than the rest of "
                "the study; explain every model with regions=study.regions_."
            )

    def _follow_trends(self) -> None:
        measured, accuracy = self._measured, self.accuracy_
        self.correlation_ = correlation_frame(
            accuracy, self.ranges_, self.n_permutations, self.random_state
        )
        self.trends_ = trend_frame(measured, accuracy)
        self.gaps_ = gap_frame(measured, accuracy, self.reference_)
        self.gap_trends_ = gap_trend_frame(measured, accuracy, self.reference_)
