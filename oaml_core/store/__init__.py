"""The artifact store: a folder or S3, one interface."""

from oaml_core.store.base import MissingObject, ObjectInfo, Store
from oaml_core.store.open import open_store, split_uri

__all__ = [
    "MissingObject",
    "ObjectInfo",
    "Store",
    "base",
    "cache",
    "keys",
    "lease",
    "local_file",
    "open_store",
    "s3",
    "s3_streams",
    "split_uri",
    "stored_arrays",
    "traffic",
]
