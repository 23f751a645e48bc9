"""The Model Registry and endpoints."""
