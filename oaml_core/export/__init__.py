"""Export recognisers as ONNX, checked against torch.

The package can be called: `oaml.export(config, dataset, checkpoint, metrics)` runs the export stage, see
`oaml_core.stages.export`.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

from oaml_core.inference.onnx_model import OamlOnnx

__all__ = [
    "OamlOnnx",
    "accuracy",
    "calibration",
    "checks",
    "global_only",
    "model_card",
    "onnx_export",
    "pixel_range",
    "published_weights",
]


class _Callable(ModuleType):
    """A package whose name is that of a stage too."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        # By name: a stage stands above this package and must not be imported by it.
        return import_module("oaml_core.stages").export(*arguments, **options)


sys.modules[__name__].__class__ = _Callable
