"""Metrics of a training run: series of points, their summary, over-fitting. Pure."""
