"""The field's protocols, each as one call that reports what happened."""

from pointinteract.protocols._compare import compare
from pointinteract.protocols._compare_errors import NotApplicableError
from pointinteract.protocols._compare_report import ComparisonReport
from pointinteract.protocols._episodes import (
    FewShotEpisode,
    FewShotEpisodes,
    read_few_shot_episodes,
)
from pointinteract.protocols._few_shot import few_shot
from pointinteract.protocols._few_shot_files import convert_few_shot_pickles, load_few_shot
from pointinteract.protocols._few_shot_result import FewShotResult
from pointinteract.protocols._few_shot_split import FewShotSplit
from pointinteract.protocols._frozen_head import FrozenHeadResult, frozen_head
from pointinteract.protocols._heads import HeadClassifier, PrototypeClassifier
from pointinteract.protocols._linear_probe import LinearProbeResult, linear_probe
from pointinteract.protocols._published import PublishedFigure, find_published, published_results
from pointinteract.protocols._robustness import corruption_robustness
from pointinteract.protocols._robustness_result import RobustnessResult, published_robustness
from pointinteract.protocols._transfer import DomainShiftResult, domain_shift
from pointinteract.protocols._unseen import UnseenClassesResult, unseen_classes
from pointinteract.protocols._voting import VotingResult, vote

__all__ = [
    "ComparisonReport",
    "DomainShiftResult",
    "FewShotEpisode",
    "FewShotEpisodes",
    "FewShotResult",
    "FewShotSplit",
    "FrozenHeadResult",
    "HeadClassifier",
    "LinearProbeResult",
    "NotApplicableError",
    "PrototypeClassifier",
    "PublishedFigure",
    "RobustnessResult",
    "UnseenClassesResult",
    "VotingResult",
    "compare",
    "convert_few_shot_pickles",
    "corruption_robustness",
    "domain_shift",
    "few_shot",
    "find_published",
    "frozen_head",
    "linear_probe",
    "load_few_shot",
    "published_results",
    "published_robustness",
    "read_few_shot_episodes",
    "unseen_classes",
    "vote",
]
