"""The small language model: text, training in a separate process, sampling. It knows nothing of the APIs."""
