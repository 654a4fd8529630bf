"""A model card in Markdown, from configuration and metrics: what the model is, how it did, what it is not for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from oaml_core.amounts import amount
from oaml_core.inference.onnx_outputs import outputs_of


def model_card(metadata: Mapping[str, Any], metrics: Mapping[str, Any] | None = None) -> str:
    """Return the model card as Markdown.

    Args:
        metadata: what `export_onnx` returned.
        metrics: content of `metrics.json`; None: the card says that the model was not evaluated.
    """
    config = metadata["config"]
    return "\n".join(
        [
            f"# {config['name']}: occlusion-aware face recognition",
            "",
            "| | |",
            "|---|---|",
            f"| Backbone | {metadata['arch']} |",
            f"| Matcher | {config['model']['matcher']}, weighting `{config['model']['weighting']}` |",
            f"| Margin head in training | {config['model']['head']} |",
            f"| Input | {_input(metadata)} |",
            f"| Outputs | {', '.join(f'`{name}`' for name in outputs_of(metadata))} |",
            f"| ONNX operator set | {metadata['opset']} |",
            f"| Data set fingerprint | `{metadata['fingerprint'] or 'not stated'}` |",
            f"| Configuration digest | `{metadata['config_digest']}` |",
            f"| Licence of the weights | {metadata['licence']} |",
            "",
            "## How it did",
            "",
            *_drawn(metadata),
            *_results(metrics),
            "",
            *_files(metadata),
            "## Deciding",
            "",
            *_thresholds(metadata, metrics),
            "",
            "## Using it",
            "",
            *_use(metadata),
            "",
            "## What it is not for",
            "",
            "Faces must be aligned to the 112 × 112 template; the model finds and aligns none. It was measured on the "
            "sets above and on drawn occluders alone: measure it on people and coverings like yours before it decides "
            "anything about a person, and let a person look at what it refuses.",
            "",
        ]
    )


def _drawn(metadata: Mapping[str, Any]) -> list[str]:
    """Say that the faces were drawn, where they were: nothing below then tells of real people."""
    checked = metadata.get("checked_on")
    if checked is None or not checked["drawn"]:
        return []
    return ["**All faces were drawn by OAML, in training and in what follows: this says nothing of real people.**", ""]


def _input(metadata: Mapping[str, Any]) -> str:
    size = metadata["image_size"]
    if metadata["preprocessing"]:
        return f"`images`, uint8 RGB [B, {size}, {size}, 3]"
    return f"`images`, float RGB [B, 3, {size}, {size}], pixel / 127.5 − 1"


def _results(metrics: Mapping[str, Any] | None) -> list[str]:
    if not metrics or not metrics.get("sets"):
        return ["It was not evaluated."]
    lines = [
        "10-fold accuracy in %, in brackets its 95 % interval over identities. Occluders, where a condition names one, "
        "were drawn from artwork that training never draws.",
        "",
        "| set | condition | covered | global | local | combined |",
        "|---|---|---|---|---|---|",
    ]
    for name, found in metrics["sets"].items():
        measured = f"{name} ({amount(found['pairs'], 'pair')} of {found['identities']['count']:,} people)"
        for condition, result in found["conditions"].items():
            cells = [_accuracy(result["scores"][score]) for score in ("global", "local", "combined")]
            covered = f"{100 * result['covered_share']:.0f} %"
            lines.append(f"| {measured} | {condition} | {covered} | {' | '.join(cells)} |")
    return lines


def _accuracy(score: Mapping[str, Any]) -> str:
    low, high = score["accuracy_interval"]
    return f"{100 * score['accuracy']:.2f} ({100 * low:.2f} … {100 * high:.2f})"


def _files(metadata: Mapping[str, Any]) -> list[str]:
    """Return the exported models, how accurate on the same pairs and how fast; nothing where that was not measured."""
    if "accuracy" not in metadata:
        return []
    trained = metadata["accuracy"]["trained"]
    rows = [("model.onnx", metadata), *((f"model.{name}.onnx", one) for name, one in metadata["variants"].items())]
    cells = [
        f"| `{name}` | {100 * one['accuracy']['exported']['global']:.2f} % | "
        f"{100 * one['accuracy']['exported']['local']:.2f} % | {one['images_per_second']:.0f} |"
        for name, one in rows
    ]
    return [
        "## The files",
        "",
        f"10-fold accuracy on {amount(metadata['accuracy']['pairs'], 'pair')}, and faces per second on the CPU that "
        "exported them.",
        "",
        "| file | global | local | faces per second |",
        "|---|---|---|---|",
        f"| before export | {100 * trained['global']:.2f} % | {100 * trained['local']:.2f} % | |",
        *cells,
        "",
        *_tar_by_file(rows),
    ]


def _tar_by_file(rows: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """Return TAR of every file by every library, where it was recorded."""
    recorded = [(name, one["tar"]) for name, one in rows if "tar" in one]
    if not recorded:
        return []
    first = recorded[0][1]
    lines = [
        f"TAR of the global score in %, over all pairs of {first['images']} images of {first['people']} people of "
        f"{first['set']}. Covered: one image of each pair wears a drawn {', '.join(first['covers'])} in turn, of the "
        "artwork that training never draws.",
        "",
        "| file | library | clean, FAR 1e-3 | clean, 1e-4 | covered, 1e-3 | covered, 1e-4 |",
        "|---|---|---|---|---|---|",
    ]
    for name, record in recorded:
        for library, found in record["by"].items():
            if "refused" in found:
                lines.append(f"| `{name}` | {library} | differs or is refused: not used | | | |")
                continue
            points = [found[condition][rate] for condition in ("clean", "covered") for rate in ("0.001", "0.0001")]
            cells = ["not measurable" if point is None else f"{100 * point:.1f}" for point in points]
            lines.append(f"| `{name}` | {library} | {' | '.join(cells)} |")
    return [*lines, ""]


def _thresholds(metadata: Mapping[str, Any], metrics: Mapping[str, Any] | None) -> list[str]:
    rows = [
        f"| {score} | {far} | {value:.4f} | {_tar(metrics, score, float(far))} |"
        for score, points in metadata["thresholds"].items()
        for far, value in points.items()
    ]
    if not rows:
        return ["No threshold was measured; calibrate one on pairs of your own."]
    found = next(iter((metrics or {}).get("sets", {}).values()), None)
    impostors = "" if found is None else f", {found['impostors']:,} of them impostors,"
    return [
        f"Thresholds measured on the clean pairs of the first set{impostors} and the share of the genuine pairs "
        "accepted there (95 % interval over identities). Covered faces score lower: more of them are refused.",
        "",
        "| score | false accept rate | threshold | accepted in % |",
        "|---|---|---|---|",
        *rows,
    ]


def _tar(metrics: Mapping[str, Any] | None, score: str, far: float) -> str:
    found = next(iter((metrics or {}).get("sets", {}).values()), None)
    points = [] if found is None else found["conditions"]["clean"]["scores"][score]["tar_at_far"]
    point = next((point for point in points if point["far"] == far and point["measurable"]), None)
    if point is None:
        return "–"
    low, high = point["interval"]
    return f"{100 * point['tar']:.1f} ({100 * low:.1f} … {100 * high:.1f})"


def _use(metadata: Mapping[str, Any]) -> list[str]:
    """Return an example with a rate that the model has a threshold for."""
    rates = metadata["thresholds"].get("combined") or metadata["thresholds"].get("global") or {"0.001": 0.0}
    return [
        "With onnxruntime and numpy alone"
        + ("." if metadata.get("local_score") else "; `model.matcher.onnx` lies beside `model.onnx`."),
        "",
        "```python",
        "from oaml_core.inference.face_files import load_face",
        "from oaml_core.export import OamlOnnx",
        "",
        'recogniser = OamlOnnx("model.onnx")',
        f'found = recogniser.compare(load_face("a.jpg"), load_face("b.jpg"), far={min(rates, key=float)})',
        "print(found.same, found.score, found.visible_share)",
        "```",
    ]
