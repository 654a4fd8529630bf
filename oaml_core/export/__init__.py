"""The ONNX model: export, its check against torch, and a runtime that needs no torch."""

from oaml_core.inference.onnx_model import OamlOnnx

__all__ = ["OamlOnnx"]
