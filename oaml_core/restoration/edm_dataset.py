"""A folder of tiles as EDM's own training loops take it: `(image, label)` by number.

    tiles = EDMPTDataset("processed/photography_pt", "processed/metadata_photography.json", split="train")
    image, label = tiles[0]  # float32 [3, 256, 256] in [-1, 1], float32 [0]

`oaml restore train` reads the same folder by `restoration.tiles` and `restoration.metadata`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from oaml_core.restoration.tiles import TileFolder

Floats = NDArray[np.float32]


class EDMPTDataset(Dataset[tuple[Floats, Floats]]):
    """Clean tiles of one split; noisy ones are left out (`oaml_core.restoration.tiles` says by which rules).

    Args:
        data_root: folder of the `.pt` tiles.
        metadata_json: file that lists them; None: `metadata.json` in the folder.
        split: `train`, `validation` (`val` too) or `test`.
        use_labels: give each tile's domain as a one-hot label; False: labels are empty, for an unconditional prior.
        domain: tiles of this domain alone; None: all.

    Raises:
        DataError: the metadata are missing or damaged, or no tile of the split is clean.
    """

    def __init__(
        self,
        data_root: str | Path,
        metadata_json: str | Path | None = None,
        split: str = "train",
        use_labels: bool = False,
        domain: str | None = None,
    ) -> None:
        metadata = None if metadata_json is None else Path(metadata_json)
        self._tiles = TileFolder(
            Path(data_root),
            "validation" if split == "val" else split,
            domain,
            use_labels=use_labels,
            metadata=metadata,
        )

    def __getitem__(self, index: int) -> tuple[Floats, Floats]:
        """Return the tile, float32 [C, H, W] in [-1, 1], and its label, float32 [L].

        Raises:
            DataError: the file is damaged.
        """
        return self._tiles.read(index).numpy().astype(np.float32, copy=False), self._tiles.label(index).numpy()

    def __len__(self) -> int:
        return len(self._tiles)

    @property
    def label_dim(self) -> int:
        """Numbers per label; 0 without labels."""
        return len(self._tiles.domains)
