"""Images of templates described by shards: each process describes some, and whoever pools them reads what all found.

A shard is a run of whole batches, and its embeddings are kept as the model gave them: pooled in the list's order, they
make the same templates to the last bit.
"""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from oaml_core.errors import EvaluationError
from oaml_core.evaluation.scoring.shard import EvaluationShard
from oaml_core.evaluation.scoring.shard_parts import ShardPart, ShardParts
from oaml_core.evaluation.templates.lists import TemplateLists
from oaml_core.evaluation.templates.pooling import BATCH, DescribedRows, describe

if TYPE_CHECKING:
    from oaml_core.inference.comparer import Comparer

PART = "images"


def digest_of(lists: TemplateLists) -> str:
    """Return the digest of all that pooling depends on, the images' content among it: 16 hexadecimal digits.

    Raises:
        DataError: an image cannot be read.
    """
    found = hashlib.sha256("\n".join(lists.names).encode("utf-8", "surrogateescape"))
    found.update(lists.content.encode())
    for column in (lists.template, lists.medium, lists.points, lists.detection, lists.ids):
        found.update(b"none" if column is None else np.ascontiguousarray(column).tobytes())
    return found.hexdigest()[:16]


def describe_shard(model: Comparer, lists: TemplateLists, parts: ShardParts, shard: EvaluationShard) -> bool:
    """Describe a shard's images, unless that was done before; return True if it was done now.

    Args:
        model: describes faces.
        lists: of the images.
        parts: of the benchmark.
        shard: whose images are described.

    Raises:
        ModelInputError: an image is damaged, or not aligned although there are no points.
    """
    if parts.has(PART, shard):
        return False
    began, rows = time.perf_counter(), shard.rows(len(lists.names), BATCH)
    found = list(describe(model, lists, rows))
    embedding, norm = (
        np.concatenate([getattr(some, name) for some in found]) if found else np.empty(0, np.float32)
        for name in ("embedding", "norm")
    )
    seconds = time.perf_counter() - began
    parts.write(PART, shard, ShardPart({"embedding": embedding, "norm": norm}, rows, seconds, platform.machine()))
    return True


def described_by_shards(lists: TemplateLists, parts: ShardParts) -> Iterator[DescribedRows]:
    """Yield what all shards found, one at a time.

    Raises:
        EvaluationError: a part is missing, or of another model or list. StoreError: it is damaged.
    """
    parts.require([PART])
    for shard in EvaluationShard.all(parts.of):
        rows = shard.rows(len(lists.names), BATCH)
        part = parts.read(PART, shard, rows)
        embedding, norm = (part.arrays.get(name) for name in ("embedding", "norm"))
        if embedding is None or norm is None or len(embedding) != rows.stop - rows.start:
            where = parts.store.url(parts.key(PART, shard))
            raise EvaluationError(f"Embeddings of its images are not in {where}. {parts.remedy(shard)}")
        if len(embedding):
            yield DescribedRows(rows.start, embedding, norm)
