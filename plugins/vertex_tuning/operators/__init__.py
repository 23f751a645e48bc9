"""Operators, one module per subject: dataset, tuning job, evaluation."""
