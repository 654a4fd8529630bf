"""Load a model that compares faces, exported or trained."""

from __future__ import annotations

from pathlib import Path

from oaml_core.inference.backends import Backend
from oaml_core.inference.comparer import Comparer


def load_model(
    path: str | Path,
    metrics: str | Path | None = None,
    *,
    backend: Backend = "onnxruntime",
    int8: bool = False,
) -> Comparer:
    """Load an exported model or a checkpoint behind the same methods.

    Args:
        path: `model.onnx`, which needs no torch, or a checkpoint of training.
        metrics: `metrics.json` of a checkpoint, for its combined score and thresholds; None: the one beside it, if
            there is one. Exported models carry theirs.
        backend: what runs an exported model: `onnxruntime`, `openvino`, or `auto` for the faster of the two where they
            agree. Checkpoints are run by torch.
        int8: `model.int8.onnx` beside the model may answer, where it is quicker and its accuracy is on record.

    Returns:
        A recogniser for `match` and `identify`.

    Raises:
        ExportError: the ONNX file is missing or no OAML model. CheckpointError: the checkpoint cannot be read.

    Example:
        >>> import oaml_core as oaml
        >>> model = oaml.load_model("model.onnx")
        >>> model.records(oaml.load_face("a.png")[None]).embedding.shape
        (1, 32)
    """
    path = Path(path)
    if path.suffix == ".onnx":
        from oaml_core.inference.onnx_model import OamlOnnx

        if int8:
            from oaml_core.inference.quickest import quickest_file

            path = quickest_file(path, backend)
        return OamlOnnx(path, backend=backend)
    from oaml_core.evaluation.own_faces.checkpoint_comparer import CheckpointComparer
    from oaml_core.stages.addresses import read_metrics_json
    from oaml_core.training.trained import load_trained

    trained = load_trained(path)
    beside = path.with_name("metrics.json")
    measured = metrics or (beside if beside.is_file() else None)
    evaluate = trained.config.evaluate
    return CheckpointComparer(
        trained.recogniser,
        trained.config.data.image_size,
        None if measured is None else read_metrics_json(str(measured)),
        saw_cutouts=trained.config.data.occluders is not None,
        weights=(evaluate.adaface_weight, evaluate.qaconv_weight),
        lacks_strangers=measured is None and evaluate.strangers > 0,
    )
