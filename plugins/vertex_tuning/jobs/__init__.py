"""Tuning jobs: specification, creation, and what follows when one ends. Pure."""
