"""Compare and identify faces with an exported model: numpy, Pillow, onnxruntime or OpenVINO, never torch."""

__all__ = [
    "any_onnx",
    "backends",
    "compared_pair",
    "comparer",
    "decision",
    "drawing",
    "face_files",
    "fusion",
    "gallery",
    "graph_shapes",
    "identify",
    "match",
    "model_files",
    "onnx_model",
    "onnx_outputs",
    "photo_records",
    "proof",
    "quickest",
    "records",
    "verdict",
]
