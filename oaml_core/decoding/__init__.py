"""Read image files and encoded images: the one decoder of training, evaluation, inference and restoration."""
