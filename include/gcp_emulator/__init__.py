"""A local Google Cloud: as much of Cloud Storage and Vertex AI as retraining a Gemini model speaks, over REST."""
