"""Commands of `vertex-tuning`, one module each. A module adds its parser, whose default `run` carries it out."""
