"""The service with a model that answers at once: what the service itself costs. Started by `benchmarks.serving`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.told import run
from oaml_core.inference.backends import Tensor
from oaml_core.inference.comparer import GlobalOnly
from oaml_core.inference.records import FaceRecords
from oaml_core.photos.faces import FaceFinder
from oaml_core.serve.app import create_app
from oaml_core.serve.faces import FaceService
from oaml_core.serve.keys import Keys, read_keys
from oaml_core.serve.limits import Limits
from oaml_core.serve.server import open_socket, serve


class Stub(GlobalOnly):
    """A recogniser whose every embedding is the same."""

    version, image_size = "stub", 112
    input_tensors = (Tensor("images", "tensor(uint8)", (-1, 112, 112, 3)),)
    output_tensors = (Tensor("embedding", "tensor(float)", (-1, 128)),)

    def infer(self, feeds: dict[str, np.ndarray], outputs: Any) -> list[np.ndarray]:
        return [np.full((len(feeds["images"]), 128), 128**-0.5, np.float32)]

    def records(self, images: np.ndarray) -> FaceRecords:
        count = len(images)
        embedding = np.full((count, 128), 128**-0.5, np.float32)
        return FaceRecords(embedding, np.ones((count, 1, 7, 7), np.float32), np.zeros((count, 0, 7, 7), np.float32))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int)
    parser.add_argument("--key_file", type=Path)
    parser.add_argument("--per_minute", type=int)
    options = parser.parse_args()
    limits = Limits(per_minute=options.per_minute)
    faces = FaceService(Stub(), FaceFinder(aligned=True), None, pixels=limits.pixels, most=limits.faces)
    listening = open_socket("127.0.0.1", options.port)
    print(f"http://127.0.0.1:{listening.getsockname()[1]}/", flush=True)
    serve(create_app(faces, Keys(read_keys(options.key_file), limits.per_minute), limits), listening)


if __name__ == "__main__":
    run(main)
