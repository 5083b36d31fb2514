"""Layers that know shapes but no task; channels last."""
