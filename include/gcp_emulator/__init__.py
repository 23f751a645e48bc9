"""A local Google Cloud: the parts of Cloud Storage and Vertex AI that retraining a Gemini model uses, over REST."""
