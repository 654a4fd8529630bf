"""No file of others makes a parser fail without naming it, nor take more time or memory than a whole file may.

`make fuzz` looks much longer, with other damage on every run.
"""

from __future__ import annotations

import ast
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from fuzzing.bounds import read_within_bounds
from fuzzing.damage import Edit, damaged
from fuzzing.parsers import PARSERS
from fuzzing.places import write_files
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

EXAMPLES = 6
FEW = {"recipes": 1, "forms": 3, "checkpoints": 3}
"""Examples of parsers that take long for a whole file."""
edits = st.lists(
    st.builds(Edit, st.integers(0, 255), st.integers(0, 65535), st.integers(0, 64), st.integers(0, 255)),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize("name", PARSERS)
def test_whole_files_are_read(name: str, tmp_path: Path) -> None:
    parser = PARSERS[name]
    write_files(parser.files(), tmp_path)
    for target in parser.targets:
        try:
            assert read_within_bounds(lambda folder, target=target: parser.read(folder, target), tmp_path) == "read"
        except AssertionError as error:
            raise AssertionError(f"{target}: {error}") from error


@pytest.mark.parametrize("name", PARSERS)
def test_damaged_files_are_read_or_refused_by_name(name: str) -> None:
    parser = PARSERS[name]
    files = parser.files()

    @given(target=st.integers(0, 63), damage=edits)
    @settings(
        max_examples=FEW.get(name, EXAMPLES),
        derandomize=True,  # the same files on every run; `make fuzz` draws others
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    def read(target: int, damage: list[Edit]) -> None:
        chosen = parser.targets[target % len(parser.targets)]
        with TemporaryDirectory() as folder:
            write_files(files | {chosen: damaged(files[chosen], damage, list(files.values()))}, Path(folder))
            read_within_bounds(lambda folder: parser.read(folder, chosen), Path(folder))

    read()


RAW = {
    *("numpy.load", "numpy.loadtxt", "tarfile.open", "csv.reader", "gzip.open", "zipfile.ZipFile", "sqlite3.connect"),
    *(
        "torch.load",
        "safetensors.torch.load_file",
        "onnx.load",
        "onnxruntime.InferenceSession",
        "open_session",
        "pickle.load",
    ),
    *("pickle.loads", "Image.open", "Image.frombytes", "pyarrow.parquet.ParquetFile", "pyarrow.parquet.read_table"),
}
"""Calls of libraries that take files of others apart."""
READERS = {
    "array_files.py": "arrays, scores, memfiles",
    "data/sources/image_list.py": "list in Parquet",
    "data/sources/image_parquet.py": "images in Parquet",
    "data/sources/inventory_rows.py": "inventories of S3",
    "data/sources/recordio_index.py": "RecordIO",
    "data/sources/text.py": "table",
    "data/sources/verification_shards.py": "pairs in tar",
    "data/sources/webdataset.py": "images in tar",
    "data/prepare/fingerprint.py": "checksums",
    "data/prepare/shard_files.py": "shards of a preparation",
    "decoding/decode.py": "images",
    "evaluation/templates/lists.py": "lists of templates",
    "evaluation/templates/rosters.py": "lists of templates",
    "inference/any_onnx.py": "ONNX graphs",
    "inference/backends.py": "ONNX graphs, metadata of models",
    "inference/gallery/file.py": "gallery",
    "models/tensor_archive.py": "checkpoints, weights, tiles",
    "models/weights_file.py": "weights",
    "onnx_session.py": "ONNX graphs",
    "tracking.py": "pointers",
    # Files that this program wrote a moment before, or that come with it:
    "data/augment/camera.py": "",
    "export/checks.py": "",
    "export/eight_bits.py": "",
    "export/global_only.py": "",
    "export/metadata.py": "",
    "export/variants.py": "",
    "forgetting/caches.py": "",
    "photos/yunet.py": "",
    # Networks that users name, whose reading errors are one `except` around all calls:
    "models/onnx_weights.py": "",
    "models/published_graph.py": "",
    "photos/five_points.py": "",
    # Opens an image once more for its EXIF, after the decoder in the table has taken it:
    "restoration/photographs.py": "",
}
"""Modules that call such libraries, and the rows of the table that fuzz them."""


def test_every_module_that_takes_files_apart_stands_in_the_table() -> None:
    top = Path(__file__).parents[2] / "oaml_core"
    found = {path.relative_to(top).as_posix() for path in top.rglob("*.py") if _calls(path) & RAW}
    assert found == set(READERS), "add the module's parser to fuzzing/parsers.py, or read by one that is there"
    assert {row for rows in READERS.values() if rows for row in rows.split(", ")} - {"memfiles"} <= set(PARSERS)


def _calls(path: Path) -> set[str]:
    names = {ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)}
    return {name.replace("np.", "numpy.") for name in names} | (
        {"safetensors.torch.load_file"} if "load_file" in names else set()
    )
