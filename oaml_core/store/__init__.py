"""The artifact store: a folder or S3, one interface."""

from oaml_core.store.base import ObjectInfo, Store, open_store, split_uri

__all__ = ["ObjectInfo", "Store", "open_store", "split_uri"]
