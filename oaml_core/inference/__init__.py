"""Compare and identify faces with an exported model: numpy, Pillow and onnxruntime, never torch."""
