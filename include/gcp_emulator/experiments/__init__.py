"""Metadata and TensorBoard, which hold the metrics."""
