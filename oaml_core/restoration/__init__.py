"""A diffusion prior learnt from clean tiles, and posterior sampling that knows how a measurement was made."""
