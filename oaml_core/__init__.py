"""Occlusion-aware face recognition: train, prove, export, retrain.

    import oaml_core as oaml

    model = oaml.load_model("model.onnx")
    print(oaml.match(model, "a.jpg", "b.jpg", far=1e-2))

Names are imported when they are first used: `import oaml_core` alone loads neither torch nor numpy. `PUBLIC` says which
module each name comes from.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # as in `typing`, whose import takes longer than this module's
if TYPE_CHECKING:
    from typing import Any

__version__ = "0.1.0"

PUBLIC = {
    # models that run
    "OamlOnnx": "oaml_core.inference.onnx_model",
    "FaceRecords": "oaml_core.inference.records",
    "Comparison": "oaml_core.inference.decision",
    "load_model": "oaml_core.stages.load_model",
    "load_face": "oaml_core.inference.face_files",
    "match": "oaml_core.inference.match",
    "identify": "oaml_core.inference.identify",
    # stages; `oaml.export` is the package `oaml_core.export`, which can be called like the others
    "prepare": "oaml_core.stages",
    "train": "oaml_core.stages",
    "evaluate": "oaml_core.stages",
    # configuration and stores
    "Config": "oaml_core.config",
    "load_config": "oaml_core.settings",
    "Store": "oaml_core.store",
    "open_store": "oaml_core.store",
    # protocols
    "ten_fold": "oaml_core.evaluation.statistics.protocols",
    "roc": "oaml_core.evaluation.statistics.roc",
    "tar_at_far": "oaml_core.evaluation.statistics.roc",
    "IdentityBootstrap": "oaml_core.evaluation.statistics.bootstrap",
    # parts of a recogniser
    "build_backbone": "oaml_core.models.build",
    "build_recogniser": "oaml_core.models.recogniser",
    "QAConv": "oaml_core.models.qaconv",
    "TransMatcher": "oaml_core.models.transmatcher",
    "Pooled": "oaml_core.models.pooled",
    "PooledAlone": "oaml_core.models.pooled",
    "AdaFace": "oaml_core.models.margin",
    "ArcFace": "oaml_core.models.margin",
    "CosFace": "oaml_core.models.margin",
    "MarginHead": "oaml_core.models.margin_heads",
    # transforms and samplers
    "Augmenter": "oaml_core.data.augment.augmenter",
    "TrainTransform": "oaml_core.data.augment.transforms",
    "MedicalMaskOcclusion": "oaml_core.data.augment.occlusion_transforms",
    "SyntheticOcclusion": "oaml_core.data.augment.occlusion_transforms",
    "PKBatchSampler": "oaml_core.data.batches.samplers",
    "RandomIdentityBatchSampler": "oaml_core.data.batches.samplers",
    "ShuffleBatchSampler": "oaml_core.data.batches.samplers",
    # names for implementations of one's own
    "register_backbone": "oaml_core.registry",
    "register_margin": "oaml_core.registry",
    "register_matcher": "oaml_core.registry",
    "register_occluder": "oaml_core.registry",
    "register_sampler": "oaml_core.registry",
    "register_store": "oaml_core.registry",
    "register_detector": "oaml_core.registry",
    "register_metric": "oaml_core.registry",
}
"""Module of each public name."""
_RENAMED = {"match": "match_files"}


def __getattr__(name: str) -> Any:
    if name == "export":
        return import_module("oaml_core.export")
    if name not in PUBLIC:
        raise AttributeError(f"oaml_core has no public name {name!r}")
    value = getattr(import_module(PUBLIC[name]), _RENAMED.get(name, name))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*PUBLIC, "__version__", "export"])
