"""The small language model: text, training in a process of its own, sampling. It knows nothing of the APIs."""
