"""Where a service finds its models: in production, or in a file that is replaced."""

from __future__ import annotations

from pathlib import Path

from oaml_core.config import Config
from oaml_core.inference.onnx_model import OamlOnnx
from oaml_core.stages.added_model import fetch_recogniser, find_record
from oaml_core.stages.addresses import fetch_model


class ProductionModels:
    """The model in production, or else the one that was added last.

    Args:
        config: names the store.
        threads: threads per request inside the model; 0: onnxruntime's choice, all cores.
    """

    def __init__(self, config: Config, threads: int = 0) -> None:
        self._config, self._threads = config, threads

    def newest(self) -> str:
        """Return the address of the model that is in production now.

        Raises:
            OamlError: there is none, or the store cannot be reached.
        """
        return str(find_record(self._config)[0]["model_uri"])

    def load(self, address: str = "") -> OamlOnnx:
        """Load the model that is in production now, or the one at an address.

        Raises:
            OamlError: it is not there, or cannot be loaded.
        """
        found, config = find_record(self._config)
        return _versioned(fetch_recogniser(config, address or found["model_uri"], threads=self._threads))

    def address(self) -> str:
        """Return the address of the model that is in production now."""
        return self.newest()


class FileModels:
    """A model in a file or at another address, which may be replaced.

    Args:
        config: names caches and keys of stores.
        model: path or address of `model.onnx`.
        threads: threads per request inside the model; 0: onnxruntime's choice, all cores.
    """

    def __init__(self, config: Config, model: str, threads: int = 0) -> None:
        self._config, self._model, self._threads = config, model, threads

    def newest(self) -> str:
        """Name the state of the file: another one once it was replaced. An address stays as it is."""
        if "://" in self._model:
            return self._model
        try:
            about = Path(self._model).stat()
        except OSError:
            return self._model  # loading it names the trouble
        return f"{self._model} {about.st_mtime_ns} {about.st_size} {about.st_ino}"

    def load(self, address: str = "") -> OamlOnnx:
        """Load the model, or the one at an address.

        Raises:
            OamlError: it is not there, or cannot be loaded.
        """
        return _versioned(OamlOnnx(fetch_model(self._config, address or self._model), threads=self._threads))

    def address(self) -> str:
        """Return where the model lies, from the root of the file system."""
        return self._model if "://" in self._model else str(Path(self._model).absolute())


def _versioned(model: OamlOnnx) -> OamlOnnx:
    """Return the model once its version was read, before its file may be replaced."""
    assert model.version
    return model
