"""The connection to an S3 server: where it is, with which credentials, what is tried again, and what errors say."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from oaml_core.errors import ConfigError, StoreError
from oaml_core.store.base import MissingObject
from oaml_core.store.s3_credentials import ANONYMOUS, credentials_provider, is_anonymous, ways_to_keys
from oaml_core.store.s3_identity import SERVER, NoSuchWay
from oaml_core.store.s3_profiles import environment_keys, profile_region
from oaml_core.store.traffic import count_traffic
from oaml_core.web_addresses import web_address

T = TypeVar("T")


class LostUpload(StoreError):
    """An upload in parts that the server knows no longer."""


TRIES = 8
"""Half a minute in all: a server that restarts is waited for."""
OPEN_TRIES = 3
"""A second in all: when a store is opened, a wrong address is likelier than a server that restarts."""
FIRST_WAIT = 0.3
"""Seconds before the second try; each further wait is twice as long, and jittered."""
LONGEST_WAIT = 10.0
BODY_SHA256 = "x-amz-content-sha256"
"""Header of the SHA-256 of what a request sends."""
REFUSED = ("bucket name", "object name", "invalid region", "not supported")
"""Words of the client about what it refuses before it is sent; its other faults are of an answer."""
MISSING = ("NoSuchKey", "NoSuchObject")
PASSING = (
    *("InternalError", "ServiceUnavailable", "SlowDown", "SlowDownRead", "SlowDownWrite", "RequestTimeout"),
    *("IncompleteBody", "OperationAborted", "Throttling", "ThrottlingException", "ThrottledException"),
    *("RequestThrottled", "RequestLimitExceeded", "TooManyRequests", "TooManyRequestsException", "BadDigest"),
)
"""Error codes of faults that may pass."""
NO_REASON = "BadRequest"
"""The client's own code for status 400 without a body, as answers about an object have none."""
PASSING_STATUS = (429, 500, 502, 503, 504)
"""Their HTTP statuses, for servers with codes of their own."""
REMEDIES = {
    "InvalidAccessKeyId": "AWS_ACCESS_KEY_ID is not known there",
    "SignatureDoesNotMatch": "AWS_SECRET_ACCESS_KEY is wrong, or belongs to another key",
    "AccessDenied": "these credentials do not allow it; check AWS_ACCESS_KEY_ID and the bucket's policy",
    "ExpiredToken": "the temporary credentials have run out: get new ones, AWS_SESSION_TOKEN with them",
    "InvalidToken": "the server does not know AWS_SESSION_TOKEN: it belongs to other keys, or has run out",
    "NoSuchBucket": "the bucket does not exist: create it, or correct the store's address",
    "InvalidBucketName": "bucket names have 3 to 63 lower-case letters, digits and hyphens",
    "RequestTimeTooSkewed": "the clock of this machine is off by minutes: set it",
    "XMinioStorageFull": "the server's disk is full",
    "InternalError": "the server failed, as one does whose disk is full: look at its log",
}
MOST_MINUTES_OFF = 5
"""A request that is signed by a clock further off is refused by S3's 15 minutes, or soon will be."""


def connect() -> Any:
    """Return a `minio.Minio` for the server and credentials that the environment names; nothing is sent yet.

    Raises:
        StoreError: the endpoint is missing, or half of a pair of keys. Other credentials are looked for at the first
            request: see `ways_to_keys`. ConfigError: the endpoint is no address.
    """
    endpoint = os.environ.get("OAML_S3_ENDPOINT")
    if not endpoint:
        raise StoreError("An s3:// store needs OAML_S3_ENDPOINT in the environment.")
    address = web_address(endpoint, "OAML_S3_ENDPOINT", SERVER)
    if "@" in address.netloc or address.path.strip("/"):
        raise ConfigError(
            f"OAML_S3_ENDPOINT must read {SERVER}; keys go to AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        )
    if (authority := os.environ.get("OAML_S3_CA_BUNDLE")) and not os.path.isfile(authority):
        raise StoreError(f"OAML_S3_CA_BUNDLE: there is no file {authority}.")
    return _client_class()(
        address.netloc,
        credentials=_credentials(),
        secure=address.scheme == "https",
        region=_region(),
        http_client=_pool(counted=True),
    )


def _credentials() -> Any:
    """Return what gives the client keys, and new ones before they run out; None: requests are not signed."""
    if is_anonymous():
        return None
    with suppress(NoSuchWay):
        environment_keys()  # half a pair is told before anything is sent
    return credentials_provider(ways_to_keys(_pool()))


def _region() -> str:
    names = ("AWS_REGION", "AWS_DEFAULT_REGION")
    return next(filter(None, map(os.environ.get, names)), None) or profile_region() or "us-east-1"


def with_retries(url: str, call: Callable[[], T], most_tries: int = TRIES) -> T:
    """Return `call()`, which is tried again with growing waits where the fault may pass.

    Args:
        url: what error messages say could not be reached.
        most_tries: the last of which raises, whatever the fault.

    Raises:
        MissingObject: the server has no such object. LostUpload: it has no such upload. StoreError: any other fault.
    """
    from xml.etree.ElementTree import ParseError

    from minio.error import MinioException, S3Error
    from urllib3.exceptions import HTTPError

    for tries in range(1, most_tries + 1):
        try:
            return call()
        except S3Error as error:
            if error.code in MISSING:
                raise MissingObject(f"There is no {url}.") from None
            if error.code == "NoSuchUpload":
                raise LostUpload(f"{url}: the server has forgotten the parts that were sent.") from None
            if not _may_pass(error, tries) or tries == most_tries:
                raise StoreError(f"{url}: {error.code}: {_remedy(error)}.") from None
        except HTTPError as error:
            if tries == most_tries or _is_certificate_fault(error):
                raise StoreError(f"{url} cannot be reached: {_why(error)}.") from None
        except MinioException as error:
            if tries == most_tries:
                raise StoreError(f"{url}: no S3 server answers there: {str(error)[:200]}.") from None
        except (ParseError, ValueError) as error:
            if not isinstance(error, ParseError) and any(words in str(error) for words in REFUSED):
                raise StoreError(f"{url} is not an S3 address: {error}.") from None
            if tries == most_tries:
                what = "are cut off" if isinstance(error, ParseError) else f"cannot be read ({str(error)[:100]})"
                raise StoreError(f"{url}: the server's answers {what}: look at its log and at the way.") from None
        time.sleep(min(LONGEST_WAIT, FIRST_WAIT * 2 ** (tries - 1)) * random.SystemRandom().uniform(0.5, 1.5))
    raise AssertionError("the last try returns or raises")


def _may_pass(error: Any, tries: int) -> bool:
    if error.code == NO_REASON:  # throttled, or refused for good: few tries tell
        return tries < OPEN_TRIES
    return error.code in PASSING or getattr(error.response, "status", 0) in PASSING_STATUS


def _remedy(error: Any) -> str:
    if (minutes := _minutes_off(error)) > MOST_MINUTES_OFF:
        return f"the clock of this machine and the server's differ by {minutes:.0f} minutes: set them"
    if error.code == "AccessDenied" and is_anonymous():
        return f"the bucket does not allow it without credentials: unset {ANONYMOUS} and give some"
    return REMEDIES.get(error.code, error.message or "the server gives no reason")


def _minutes_off(error: Any) -> float:
    """Return the minutes between the server's clock and this machine's, which signs requests."""
    from minio.time import utcnow

    try:
        there = parsedate_to_datetime(error.response.headers["Date"])
    except (KeyError, ValueError):
        return 0.0
    return abs((utcnow() - there).total_seconds()) / 60


def _is_certificate_fault(error: Exception) -> bool:
    return "CERTIFICATE_VERIFY_FAILED" in str(error)


def _why(error: Exception) -> str:
    if _is_certificate_fault(error):
        return "its certificate is not trusted here; name the file of its authority in OAML_S3_CA_BUNDLE"
    kind = type(getattr(error, "reason", error)).__name__
    what = "whether OAML_S3_ENDPOINT begins with http:// or https://" if kind == "SSLError" else "OAML_S3_ENDPOINT"
    return f"{kind}; check {what}, and that the server runs"


def _client_class() -> Any:
    """`minio.Minio` that takes the SHA-256 of what it sends from the headers, if it is there, and does not compute it
    again; over TLS it signs none.
    """
    from minio import Minio

    class Client(Minio):
        def _build_headers(self, host: str, headers: Any = None, body: Any = None, creds: Any = None) -> Any:
            known = (headers or {}).get(BODY_SHA256)
            if known is None or creds is None or self._base_url.is_https:
                return super()._build_headers(host, headers, body, creds)
            made, date = super()._build_headers(host, headers, None, creds)
            return made | {"Content-Length": str(len(body)), BODY_SHA256: known}, date

    return Client


def _pool(*, counted: bool = False) -> Any:
    """Connections that call XML errors by the type that the client expects; some servers say text/xml.

    Args:
        counted: add requests and bytes to the traffic of the store.
    """
    import urllib3

    class Pool(urllib3.PoolManager):
        def urlopen(self, *arguments: Any, **options: Any) -> Any:
            if counted:
                count_traffic(requests=1, written=len(options.get("body") or b""))
            response = super().urlopen(*arguments, **options)
            if counted:
                _count_reading(response, options.get("preload_content", True))
            if response.headers.get("Content-Type", "").startswith("text/xml"):
                response.headers["Content-Type"] = "application/xml"
            return response

    return Pool(
        timeout=urllib3.Timeout(connect=5, read=60),
        maxsize=16,
        cert_reqs="CERT_REQUIRED",
        ca_certs=os.environ.get("OAML_S3_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE"),
        retries=urllib3.Retry(total=0),
    )


def _count_reading(response: Any, is_read: bool) -> None:
    """Add to the traffic what is read of an answer: all of it, or each piece when it comes, chunked or not.

    Args:
        response: of urllib3.
        is_read: its content has come already.
    """
    if is_read:
        count_traffic(read=len(response.data))
        return
    read, read_chunked = response.read, response.read_chunked

    def counted_read(*arguments: Any, **options: Any) -> bytes:
        content: bytes = read(*arguments, **options)
        count_traffic(read=len(content))
        return content

    def counted_chunks(*arguments: Any, **options: Any) -> Iterator[bytes]:
        for chunk in read_chunked(*arguments, **options):
            count_traffic(read=len(chunk))
            yield chunk

    response.read, response.read_chunked = counted_read, counted_chunks
