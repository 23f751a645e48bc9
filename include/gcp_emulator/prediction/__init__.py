"""Answers of tuned models, and counting tokens."""
