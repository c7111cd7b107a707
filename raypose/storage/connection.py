"""How to reach object stores, and their packages' errors as one `StorageError` that names the URL.

Credentials, region and endpoint come from the environment or from the files of the AWS and Google
tools, in each process. raypose never writes them anywhere. s3fs and gcsfs retry by themselves
what may pass (a connection that is reset, a read that stalls, 503 SlowDown): their errors are
final.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from raypose.errors import RayposeError, StorageError, from_os_error
from raypose.text import without_secrets

EXTRAS = {"s3": "s3", "gs": "gcs", "gcs": "gcs"}
"""URL scheme → the extra of raypose that installs its package."""

SHARED_VARIABLES = (
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_MAX_ATTEMPTS",
    "AWS_RETRY_MODE",
    "STORAGE_EMULATOR_HOST",
)
"""Variables that say where a store is, which workers get from the driver."""

_MAX_ATTEMPTS = 4
_NO_CREDENTIALS = ("NoCredentialsError", "DefaultCredentialsError", "PartialCredentialsError")
_UNREACHABLE = ("EndpointConnectionError", "ConnectTimeoutError", "ClientConnectorError")


def shared_environment() -> dict[str, str]:
    """The driver's variables that say where stores are, for workers whose nodes lack them.

    One with a password in it stays here: Ray shows the environment of its workers.
    """
    given = {name: os.environ[name] for name in SHARED_VARIABLES if name in os.environ}
    return {name: value for name, value in given.items() if without_secrets(value) == value}


def _endpoint_url() -> str | None:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")


def options(scheme: str) -> dict[str, Any]:
    """Options of `UPath` for URLs of this scheme."""
    # Listings are not cached: a run must see what another one has just written.
    chosen: dict[str, Any] = {"use_listings_cache": False}
    if scheme == "s3":
        retries = {"retries": {"mode": "standard", "max_attempts": _MAX_ATTEMPTS}}
        chosen["config_kwargs"] = {} if "AWS_MAX_ATTEMPTS" in os.environ else retries
        # s3fs does not retry concurrent reads that break off; `object_store.fetch` has its own.
        chosen["max_concurrency"] = 1
        # Named here, so that it is part of what tells one store from another.
        chosen["endpoint_url"] = _endpoint_url()
        # botocore itself reads only AWS_DEFAULT_REGION; all other tools read both.
        if region := os.environ.get("AWS_REGION"):
            chosen["client_kwargs"] = {"region_name": region}
    return chosen


@contextmanager
def map_store_errors(path: object, *, missing_is_an_error: bool = True) -> Iterator[None]:
    """Turn what a store's package raises into a `StorageError` that names the URL.

    Errors about a local path pass unchanged, and a `FileNotFoundError` about an object does so
    unless `missing_is_an_error`.
    """
    try:
        yield
    except (RayposeError, MemoryError):
        raise
    except FileNotFoundError as error:
        if isinstance(path, Path) or not missing_is_an_error:
            raise
        message = "there is no such object, or no such bucket"
        raise StorageError(message, path=str(path), hint="Check the URL.") from error
    except Exception as error:  # s3fs and gcsfs raise those of five libraries
        if isinstance(path, Path):
            raise
        raise _named(str(path), error) from error


def _named(url: str, error: Exception) -> RayposeError:
    if isinstance(error, OSError) and error.filename:
        local = from_os_error(error)  # about the local file
        if local is not None:
            return local
    scheme, kind = url.partition("://")[0], type(error).__name__
    reason = " ".join(str(error).split())[:200] or kind
    if isinstance(error, ImportError):
        message = f"the package for {scheme}:// URLs is not installed here"
        extra = EXTRAS.get(scheme, "s3")
        hint = f"Install it on every node: uv sync --extra {extra} in the clone of raypose."
    elif isinstance(error, PermissionError):
        message = f"access is denied ({reason})"
        hint = "Check the credentials here, and that they may list, read and write there."
    elif kind in _NO_CREDENTIALS:
        message = "there are no credentials for it here"
        hint = "Give this machine a role, or set AWS_PROFILE or GOOGLE_APPLICATION_CREDENTIALS."
    elif kind in _UNREACHABLE:
        message = f"the store can't be reached{_endpoint(scheme)}"
        hint = "Check AWS_ENDPOINT_URL, AWS_REGION and the network."
    else:
        message = f"the store refused the request, after several attempts ({kind}: {reason})"
        hint = "Run the same command again: finished outputs are kept."
    return StorageError(message, path=url, hint=hint)


def _endpoint(scheme: str) -> str:
    value = _endpoint_url()
    if scheme != "s3" or not value:
        return ""
    parts = urlsplit(value)  # without the password that may be in it
    return f" at {parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}"
