"""Tuning jobs: their specification, their creation and the decision when they end. Pure."""
