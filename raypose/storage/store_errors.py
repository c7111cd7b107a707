"""Errors of the packages that talk to object stores, as one `StorageError` that names the URL.

s3fs and gcsfs retry what may pass by itself (a connection that is reset, a read that stalls, 503
SlowDown). What arrives here is final.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from raypose.errors import RayposeError, StorageError, from_os_error
from raypose.storage.connection import EXTRAS, endpoint_url

_NO_CREDENTIALS = ("NoCredentialsError", "DefaultCredentialsError", "PartialCredentialsError")
_UNREACHABLE = ("EndpointConnectionError", "ConnectTimeoutError", "ClientConnectorError")


@contextmanager
def map_store_errors(path: object, *, missing_is_an_error: bool = True) -> Iterator[None]:
    """Turn what a store's package raises into a `StorageError` that names the URL.

    Errors about a local path pass unchanged.

    Args:
        path: the path or URL that the block reads or writes.
        missing_is_an_error: whether a missing object becomes a `StorageError` too, or stays a
            `FileNotFoundError`.
    """
    try:
        yield
    except (RayposeError, MemoryError):
        raise
    except FileNotFoundError as error:
        if isinstance(path, Path) or not missing_is_an_error:
            raise
        raise missing_object(path) from error
    except Exception as error:  # s3fs and gcsfs raise those of five libraries
        if isinstance(path, Path):
            raise
        raise _named(str(path), error) from error


def missing_object(path: object) -> StorageError:
    """The error for an object that is not there."""
    message = "there is no such object, or no such bucket"
    return StorageError(message, path=str(path), hint="Check the URL.")


def _named(url: str, error: Exception) -> RayposeError:
    if isinstance(error, OSError) and error.filename:
        local = from_os_error(error)  # about the local file
        if local is not None:
            return local
    message, hint = _explained(url.partition("://")[0], error)
    return StorageError(message, path=url, hint=hint)


def _explained(scheme: str, error: Exception) -> tuple[str, str]:
    """What went wrong, and what to do about it."""
    kind = type(error).__name__
    reason = " ".join(str(error).split())[:200] or kind
    if isinstance(error, ImportError):
        return (
            f"the package for {scheme}:// URLs is not installed here",
            f"Install it on every node: pip install 'raypose[{EXTRAS.get(scheme, 's3')}]'.",
        )
    if isinstance(error, PermissionError):
        return (
            f"access is denied ({reason})",
            "Check the credentials here, and that they may list, read and write there.",
        )
    if kind in _NO_CREDENTIALS:
        return (
            "there are no credentials for it here",
            "Give this machine a role, or set AWS_PROFILE or GOOGLE_APPLICATION_CREDENTIALS.",
        )
    if kind in _UNREACHABLE:
        return (
            f"the store can't be reached{_endpoint(scheme)}",
            "Check AWS_ENDPOINT_URL, AWS_REGION and the network.",
        )
    return (
        f"the store refused the request, after several attempts ({kind}: {reason})",
        "Run the same command again: finished outputs are kept.",
    )


def _endpoint(scheme: str) -> str:
    value = endpoint_url()
    if scheme != "s3" or not value:
        return ""
    parts = urlsplit(value)  # without the password that may be in it
    return f" at {parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}"
