"""What a training run measured: series of points, their summary, over-fitting. Pure."""
