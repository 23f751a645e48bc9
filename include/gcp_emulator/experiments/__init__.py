"""Where metrics are read: Metadata and TensorBoard."""
