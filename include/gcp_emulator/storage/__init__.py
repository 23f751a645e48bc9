"""Cloud Storage: the JSON API, its uploads, and the multipart uploads of the XML API."""
