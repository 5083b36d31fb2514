"""Everything between a model and a fitted estimator."""

from pointinteract.training.data import augment
from pointinteract.training.loop import TrainingRun
from pointinteract.training.schedules import cosine_schedule, parameter_groups, step_schedule

__all__ = ["TrainingRun", "augment", "cosine_schedule", "parameter_groups", "step_schedule"]
