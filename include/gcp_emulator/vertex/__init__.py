"""Code that all services of Vertex AI share: paths, proto3 JSON, filters, labels, operations."""
