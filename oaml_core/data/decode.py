"""The decoder at its former place; `oaml_core.decoding.decode` has it."""

from oaml_core.decoding.decode import decode_image, decode_mask, encode_jpeg, fit_square

__all__ = ["decode_image", "decode_mask", "encode_jpeg", "fit_square"]
