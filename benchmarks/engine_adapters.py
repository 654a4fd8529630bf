"""Embedded vector stores behind one interface: what `benchmarks.gallery_engines` measures.

Each keeps a key, a name and a unit vector per face in a folder, and finds the nearest by inner product. Each is told to
write in the way that its documentation shows, with its defaults where nothing is said.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from datetime import timedelta
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from oaml_core.inference.comparer import GlobalOnly
from oaml_core.inference.gallery.database import Gallery
from oaml_core.inference.gallery.packing import pack_record
from oaml_core.inference.gallery.search import GallerySearch
from oaml_core.inference.records import FaceRecords

Floats = NDArray[np.float32]
AT_ONCE = 5000
"""Faces per call of a bulk write."""
TABLE = "faces"


def name_of(key: int) -> str:
    """Return the name of a face's person, which no other text contains."""
    return f"person-{key:08d}."


class Engine:
    """A store in a folder, open.

    Args:
        folder: of the store; it is made if it is missing.
        size: numbers per vector.
    """

    package: ClassVar[str]
    """Distribution whose version counts."""
    module: ClassVar[str]
    most: ClassVar[int | None] = None
    """Faces beyond which the store itself advises against its use; None: it names no number."""
    indexed: ClassVar[bool] = False
    """True of a store that stands here once more, with an index: its writers are not killed again."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder, self.size = folder, size
        folder.mkdir(parents=True, exist_ok=True)

    def build(self, rows: Floats) -> None:
        """Write all vectors [n, size], under the keys 0 to n − 1, and make the index if there is one."""
        raise NotImplementedError

    def add(self, key: int, row: Floats) -> None:
        """Write one vector [size]; it is acknowledged once this returns."""
        raise NotImplementedError

    def nearest(self, probe: Floats, count: int) -> list[int]:
        """Return the keys of the nearest vectors to one [size], best first."""
        raise NotImplementedError

    def remove(self, keys: Sequence[int]) -> None:
        """Delete faces."""
        raise NotImplementedError

    def compact(self) -> None:
        """Do what the store offers for getting rid of deleted content."""

    def rewrite(self) -> None:
        """Do what else there is for it, which the store's own compaction does not do."""

    def keys(self) -> set[int]:
        """Return the keys of all faces; of few faces only."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the store."""


class Described(GlobalOnly):
    """A recogniser that was never asked to describe an image."""

    image_size = 112

    def records(self, images: NDArray[np.uint8]) -> FaceRecords:
        """Raise: vectors come from the benchmark."""
        raise NotImplementedError


def record_of(row: Floats) -> FaceRecords:
    """Return the record of a wholly visible face of a model without local features."""
    none = np.zeros((1, 0, 1, 1), np.float32)
    return FaceRecords(row[None], np.ones((1, 1, 1, 1), np.float32), none)


class OamlGallery(Engine):
    """OAML's gallery: SQLite, vectors searched in memory, chosen by codes from 20,000 faces on."""

    package, module = "oaml", "oaml_core"

    def __init__(self, folder: Path, size: int) -> None:
        super().__init__(folder, size)
        self._gallery = Gallery(folder / "people.gallery", "drawn")
        self._search: GallerySearch | None = None

    def build(self, rows: Floats) -> None:
        for start in range(0, len(rows), AT_ONCE):
            with self._gallery.change() as db:
                for key, row in enumerate(rows[start : start + AT_ONCE], start):
                    name = name_of(key)
                    db.execute("INSERT INTO people VALUES (?, ?)", (key + 1, name))
                    self._gallery.insert_face(db, (key + 1, "", name, "", ""), None, pack_record(record_of(row)), None)

    def add(self, key: int, row: Floats) -> None:
        self._gallery.add(name_of(key), record_of(row), source="", digest=name_of(key))

    def nearest(self, probe: Floats, count: int) -> list[int]:
        if self._search is None:
            self._search = GallerySearch(self._gallery, Described(), count)
        return [key - 1 for key in self._search.shortlisted(record_of(probe), count)[0]]

    def remove(self, keys: Sequence[int]) -> None:
        for key in keys:
            self._gallery.remove_person(name_of(key))

    def keys(self) -> set[int]:
        return {int(one.name.removeprefix("person-").rstrip(".")) for one in self._gallery.people()}

    def close(self) -> None:
        self._gallery.close()


class Lance(Engine):
    """LanceDB on a folder, all vectors compared."""

    package, module = "lancedb", "lancedb"

    def __init__(self, folder: Path, size: int) -> None:
        super().__init__(folder, size)
        self._arrow = import_module("pyarrow")
        self._db = import_module("lancedb").connect(folder)
        names = self._db.list_tables().tables
        schema = self._arrow.schema(
            [("key", self._arrow.int64()), ("name", self._arrow.string()), ("vector", self._of_vectors())]
        )
        self._table = self._db.open_table(TABLE) if TABLE in names else self._db.create_table(TABLE, schema=schema)

    def _of_vectors(self) -> Any:
        return self._arrow.list_(self._arrow.float32(), self.size)

    def _rows(self, first: int, rows: Floats) -> Any:
        keys = list(range(first, first + len(rows)))
        vectors = self._arrow.FixedSizeListArray.from_arrays(self._arrow.array(rows.ravel()), self.size)
        return self._arrow.table({"key": keys, "name": list(map(name_of, keys)), "vector": vectors})

    def build(self, rows: Floats) -> None:
        self._table.add(self._rows(0, rows))

    def add(self, key: int, row: Floats) -> None:
        self._table.add(self._rows(key, row[None]))

    def nearest(self, probe: Floats, count: int) -> list[int]:
        return self._found(self._table.search(probe).distance_type("dot").limit(count))

    def _found(self, query: Any) -> list[int]:
        found: list[int] = query.select(["key", "_distance"]).to_arrow()["key"].to_pylist()
        return found

    def remove(self, keys: Sequence[int]) -> None:
        self._table.delete(f"key IN ({', '.join(map(str, keys))})")

    def compact(self) -> None:
        self._table.optimize(cleanup_older_than=timedelta(0), delete_unverified=True)

    def rewrite(self) -> None:
        # LanceDB rewrites files from a tenth of deleted rows on; only pylance takes another share.
        if find_spec("lance") is not None:
            data = import_module("lance").dataset(str(self.folder / f"{TABLE}.lance"))
            data.optimize.compact_files(materialize_deletions=True, materialize_deletions_threshold=0.0)
            data.cleanup_old_versions(older_than=timedelta(0), delete_unverified=True)

    def keys(self) -> set[int]:
        return set(self._table.to_arrow()["key"].to_pylist())


class LanceIndexed(Lance):
    """LanceDB with its index IVF-PQ, 20 lists looked at and 5 times as many compared exactly."""

    indexed = True

    def build(self, rows: Floats) -> None:
        super().build(rows)
        pq = import_module("lancedb.index").IvfPq(distance_type="dot", num_sub_vectors=self.size // 8)
        self._table.create_index("vector", config=pq)

    def nearest(self, probe: Floats, count: int) -> list[int]:
        query = self._table.search(probe).distance_type("dot").limit(count).nprobes(20).refine_factor(5)
        return self._found(query)


class Milvus(Engine):
    """milvus-lite in this process, behind its client, all vectors compared."""

    package, module = "milvus-lite", "milvus_lite"
    index: ClassVar[str] = "FLAT"
    parameters: ClassVar[dict[str, int]] = {}
    searching: ClassVar[dict[str, int]] = {}

    def __init__(self, folder: Path, size: int) -> None:
        super().__init__(folder, size)
        library = import_module("pymilvus")
        self._client = library.MilvusClient(str(folder / "faces.db"))
        if not self._client.has_collection(TABLE):
            schema = self._client.create_schema()
            schema.add_field("key", library.DataType.INT64, is_primary=True)
            schema.add_field("name", library.DataType.VARCHAR, max_length=64)
            schema.add_field("vector", library.DataType.FLOAT_VECTOR, dim=size)
            index = self._client.prepare_index_params()
            index.add_index("vector", index_type=self.index, metric_type="IP", params=self.parameters)
            self._client.create_collection(TABLE, schema=schema, index_params=index)
        self._client.load_collection(TABLE)

    def build(self, rows: Floats) -> None:
        for start in range(0, len(rows), AT_ONCE):
            part = rows[start : start + AT_ONCE]
            made = [{"key": key, "name": name_of(key), "vector": row} for key, row in enumerate(part, start)]
            self._client.insert(TABLE, made)
        self._client.flush(TABLE)

    def add(self, key: int, row: Floats) -> None:
        self._client.insert(TABLE, [{"key": key, "name": name_of(key), "vector": row}])

    def nearest(self, probe: Floats, count: int) -> list[int]:
        found = self._client.search(TABLE, [probe], limit=count, search_params={"params": self.searching})
        return [one["key"] for one in found[0]]

    def remove(self, keys: Sequence[int]) -> None:
        self._client.delete(TABLE, ids=list(keys))

    def compact(self) -> None:
        self._client.flush(TABLE)
        self._client.compact(TABLE)

    def keys(self) -> set[int]:
        return {row["key"] for row in self._client.query(TABLE, filter="key >= 0", output_fields=["key"], limit=16384)}

    def close(self) -> None:
        self._client.close()
        import_module("milvus_lite.server_manager").server_manager_instance.release_all()


class MilvusIndexed(Milvus):
    """milvus-lite with HNSW: 16 links per vector, a width of 128 in the search."""

    index, indexed = "HNSW", True
    parameters: ClassVar[dict[str, int]] = {"M": 16, "efConstruction": 40}
    searching: ClassVar[dict[str, int]] = {"ef": 128}


class Qdrant(Engine):
    """Qdrant's client in its local mode, which has no index."""

    package, module = "qdrant-client", "qdrant_client"
    most = 20_000

    def __init__(self, folder: Path, size: int) -> None:
        super().__init__(folder, size)
        library = import_module("qdrant_client")
        self._models = library.models
        self._client = library.QdrantClient(path=str(folder))
        if not self._client.collection_exists(TABLE):
            vectors = self._models.VectorParams(size=size, distance=self._models.Distance.DOT)
            self._client.create_collection(TABLE, vectors_config=vectors)

    def _write(self, first: int, rows: Floats) -> None:
        keys = list(range(first, first + len(rows)))
        named = [{"name": name_of(key)} for key in keys]
        self._client.upsert(TABLE, self._models.Batch(ids=keys, vectors=rows.tolist(), payloads=named))

    def build(self, rows: Floats) -> None:
        for start in range(0, len(rows), AT_ONCE):
            self._write(start, rows[start : start + AT_ONCE])

    def add(self, key: int, row: Floats) -> None:
        self._write(key, row[None])

    def nearest(self, probe: Floats, count: int) -> list[int]:
        return [point.id for point in self._client.query_points(TABLE, query=probe.tolist(), limit=count).points]

    def remove(self, keys: Sequence[int]) -> None:
        self._client.delete(TABLE, points_selector=list(keys))

    def keys(self) -> set[int]:
        return {point.id for point in self._client.scroll(TABLE, limit=16384, with_payload=False)[0]}

    def close(self) -> None:
        with contextlib.suppress(ImportError):
            self._client.close()


ENGINES: dict[str, Callable[[Path, int], Engine]] = {
    "OAML's gallery": OamlGallery,
    "LanceDB, all compared": Lance,
    "milvus-lite, all compared": Milvus,
    "Qdrant, local mode": Qdrant,
    "LanceDB, IVF-PQ": LanceIndexed,
    "milvus-lite, HNSW": MilvusIndexed,
}


def is_installed(name: str) -> bool:
    """Return True if what an engine needs is installed."""
    engine: Any = ENGINES[name]
    return find_spec(engine.module) is not None
