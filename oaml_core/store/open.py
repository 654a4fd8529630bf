"""Open the store that an address names."""

from __future__ import annotations

from oaml_core.errors import StoreError
from oaml_core.registry import STORES
from oaml_core.store.base import Store
from oaml_core.store.keys import checked_key


def open_store(uri: str) -> Store:
    """Return the store at `s3://bucket/prefix`, `file:///folder` or a folder's path.

    S3 credentials and endpoint come from the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
    OAML_S3_ENDPOINT (`http://host:port`), OAML_S3_CA_BUNDLE (certificates of a private authority).

    Raises:
        StoreError: the address is not one of these, or the store cannot be reached.

    Example:
        >>> import oaml_core as oaml
        >>> store = oaml.open_store("shelf")
        >>> _ = store.write_bytes("a/b", b"1")
        >>> store.exists("a/b")
        True
    """
    scheme, separator, _ = uri.partition("://")
    if not separator:
        scheme = "file"
    if scheme not in STORES.names():
        raise StoreError(f"{uri} is not a store: give s3://bucket/prefix, file:///folder or a folder.")
    store: Store = STORES.get(scheme)(uri)
    return store


def split_uri(uri: str) -> tuple[Store, str]:
    """Return the store that holds the object at `uri`, and its key: `s3://bucket/a/b` gives (bucket, `a/b`)."""
    if uri.startswith("s3://"):
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        return open_store(f"s3://{bucket}"), checked_key(key)
    from oaml_core.store.folder import path_at

    path = path_at(uri)
    return open_store(str(path.parent)), checked_key(path.name)
