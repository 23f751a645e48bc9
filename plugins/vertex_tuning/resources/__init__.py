"""Names and addresses of Google Cloud resources."""
