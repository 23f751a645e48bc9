"""Operators, a sensor and a hook that retrain Gemini models on Vertex AI."""
