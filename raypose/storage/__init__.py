"""Files by path or by URL: `s3://`, `gs://`, and `file://`, which is the same as a plain path.

A path is a `pathlib.Path`, a URL a `UPath`, which has the same methods, so that the rooms above
name, join and list both alike. What differs is here: an object is read in ranges and written as
a whole, its identity is the ETag that the store gives it, and what goes wrong on the way is one
named `StorageError`. s3fs and gcsfs try again what may pass by itself (a reset connection, a read
that stands still, 503 SlowDown); what comes out of here is final.

Credentials, region and endpoint come from the environment or the files of the AWS and Google
tools, each process's own. Nothing of them is ever written.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import unquote, urlsplit

from raypose.errors import CancelledError, RayposeError, StorageError, UsageError, from_os_error
from raypose.storage import regular_files as regular

if TYPE_CHECKING:
    from upath import UPath

    AnyPath: TypeAlias = Path | UPath
else:
    AnyPath = Any  # the package of UPath is imported where a URL is opened

EXTRAS = {"s3": "s3", "gs": "gcs", "gcs": "gcs"}
"""Scheme → the extra of raypose that brings its package."""

_URL = re.compile(r"^([A-Za-z][A-Za-z0-9+.]+):/(/?)(.*)$", re.DOTALL)
_BLOCK_BYTES = 16 << 20
_PARALLEL = 4
_MAX_ATTEMPTS = 4

SHARED_VARIABLES = (
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_MAX_ATTEMPTS",
    "AWS_RETRY_MODE",
    "STORAGE_EMULATOR_HOST",
)
"""Variables that say where a store is; none of them is a secret, and workers get the driver's."""


@dataclass(frozen=True, slots=True)
class Stat:
    """A file as it is now.

    Attributes:
        size: bytes.
        mark: what changes with the content: `{"mtime_ns": …}` of a file, `{"etag": …}` of an
            object.
    """

    size: int
    mark: Mapping[str, Any]


def is_url(text: str | os.PathLike[str]) -> bool:
    """Whether this names an object in a store (a `file://` URL does not)."""
    match = _URL.match(str(text))
    if match is None:
        return False
    return match[1].lower() != "file" and (bool(match[2]) or match[1] in EXTRAS)


def as_path(text: str | os.PathLike[str] | AnyPath) -> AnyPath:
    """An absolute local path, or the URL's path.

    Raises:
        UsageError: a URL that raypose does not know, or one with credentials in it.
        StorageError: the package for this kind of URL is not installed.
    """
    if not isinstance(text, str | os.PathLike):
        return text
    match = _URL.match(os.fspath(text))
    if match is None or not (match[2] or match[1] in EXTRAS):
        return Path(os.path.abspath(os.path.expanduser(text)))
    scheme, rest = match[1].lower(), match[3]
    if scheme == "file":
        name = unquote(rest.partition("/")[2], errors="surrogateescape")
        return Path(os.path.abspath(f"/{name}"))
    if scheme not in EXTRAS:
        raise UsageError(
            f"raypose knows no {scheme}:// URLs",
            path=text,
            hint="It knows s3://, gs:// and file://.",
        )
    if "@" in rest.partition("/")[0]:
        raise UsageError(
            "there are credentials in this URL",
            hint="Put them in the environment or in ~/.aws/credentials.",
        )
    return _open_url(f"{scheme}://{rest.rstrip('/')}")


def _open_url(url: str) -> UPath:
    with speaking_of(url):
        from upath import UPath

        path: UPath = UPath(url, **_options(url.partition(":")[0]))
        path.fs  # noqa: B018  (imports the store's package)
        return path


def _options(scheme: str) -> dict[str, Any]:
    # Listings are not remembered: a run must see what another has just written.
    options: dict[str, Any] = {"use_listings_cache": False}
    if scheme == "s3":
        # Reads side by side are not tried again by s3fs when they break off; `fetch` has its own.
        config: dict[str, Any] = {}
        if "AWS_MAX_ATTEMPTS" not in os.environ:
            config["retries"] = {"mode": "standard", "max_attempts": _MAX_ATTEMPTS}
        options |= {"config_kwargs": config, "max_concurrency": 1}
        # Named here, and so part of what tells one store from another.
        options["endpoint_url"] = _endpoint_url()
        # botocore itself reads AWS_DEFAULT_REGION alone; all other tools read both.
        region = os.environ.get("AWS_REGION")
        if region:
            options["client_kwargs"] = {"region_name": region}
    return options


def shared_environment() -> dict[str, str]:
    """The driver's word on where the stores are, for workers whose nodes say nothing of it."""
    return {name: os.environ[name] for name in SHARED_VARIABLES if name in os.environ}


def apply_environment(values: Mapping[str, str]) -> None:
    """Take over a driver's `shared_environment`; what this process has been told stays."""
    for name, value in values.items():
        os.environ.setdefault(name, value)


def stat(path: AnyPath) -> Stat:
    """Size and identity, from one request where it is an object.

    Raises:
        FileNotFoundError: it is not there.
        StorageError: the store can't be asked.
    """
    if isinstance(path, Path):
        status = path.stat()
        return Stat(status.st_size, {"mtime_ns": status.st_mtime_ns})
    with speaking_of(path, missing_is_an_error=False):
        info = path.fs.info(path.path)
        if info["type"] != "file":
            raise FileNotFoundError(str(path))
        etag = info.get("ETag") or info.get("etag") or info.get("generation") or ""
        return Stat(int(info["size"]), {"etag": str(etag).strip('"')})


def exists(path: AnyPath) -> bool:
    """Whether a file or an object is there.

    Raises:
        StorageError: the store can't be asked.
    """
    if isinstance(path, Path):
        return path.exists()
    try:
        stat(path)
    except FileNotFoundError:
        return False
    return True


def read_if_there(path: AnyPath) -> bytes | None:
    """The whole content, None where there is nothing; errors as `read_bytes`."""
    try:
        if isinstance(path, Path):
            return regular.read_file(path)
        with speaking_of(path, missing_is_an_error=False):
            content: bytes = path.fs.cat_file(path.path)
            return content
    except FileNotFoundError:
        return None


def read_bytes(path: AnyPath) -> bytes:
    """The whole content.

    Raises:
        OSError: a local file can't be read.
        StorageError: an object can't be read.
    """
    with speaking_of(path):
        content = read_if_there(path)
        if content is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return content


def read_head(path: AnyPath, n_bytes: int) -> bytes:
    """The first bytes, fewer where there are fewer; errors as `read_bytes`."""
    with speaking_of(path):
        if isinstance(path, Path):
            with path.open("rb") as file:
                return file.read(n_bytes)
        data: bytes = path.fs.cat_file(path.path, start=0, end=n_bytes)
        return data


def blocks(path: AnyPath) -> Iterator[bytes]:
    """The content piece by piece, never all of it in memory; errors as `read_bytes`."""
    if isinstance(path, Path):
        with regular.open_file(path) as file:
            while block := file.read(_BLOCK_BYTES):
                yield block
        return
    size = stat_of_existing(path).size
    for start in range(0, size, _BLOCK_BYTES):
        yield read_range(path, start, min(start + _BLOCK_BYTES, size))


def stat_of_existing(url: UPath) -> Stat:
    """As `stat`, where a missing object is a `StorageError`."""
    with speaking_of(url):
        return stat(url)


def fetch(url: UPath, target: Path, expected: Stat, should_stop: Callable[[], bool]) -> None:
    """Copy an object into a local file.

    Args:
        url: the object.
        target: written over.
        expected: what the object was when the copy was decided upon.
        should_stop: asked between the pieces.

    Raises:
        StorageError: it can't be read, or is no longer what was expected.
        CancelledError: `should_stop` said so.
    """

    def copy(start: int) -> None:
        if should_stop():
            raise CancelledError("the run was stopped", path=str(url))
        data = read_range(url, start, min(start + _BLOCK_BYTES, expected.size))
        os.pwrite(file.fileno(), data, start)

    with target.open("r+b" if target.exists() else "wb") as file:
        file.truncate(expected.size)
        pool = ThreadPoolExecutor(_PARALLEL, thread_name_prefix="fetch")
        try:
            for _ in pool.map(copy, range(0, expected.size, _BLOCK_BYTES)):
                pass
        finally:
            pool.shutdown(cancel_futures=True)
    if stat_of_existing(url) != expected:
        raise StorageError(
            "it was changed while it was read",
            path=str(url),
            hint="Run again when nobody writes to it.",
        )


def read_range(url: UPath, start: int, stop: int) -> bytes:
    """Some bytes of an object.

    Raises:
        StorageError: it can't be read, or is shorter.
    """
    with speaking_of(url):
        data: bytes = url.fs.cat_file(url.path, start=start, end=stop)
        if len(data) != stop - start:
            raise OSError(f"{len(data)} of {stop - start} bytes came")
        return data


def put(local: Path, url: UPath) -> Stat:
    """Make a complete file an object, in one step: one PUT, or a multipart upload completed.

    Raises:
        StorageError: it can't be written.
    """
    with speaking_of(url):
        side_by_side = {"max_concurrency": _PARALLEL} if url.protocol == "s3" else {}
        url.fs.put_file(os.fspath(local), url.path, **side_by_side)
    there = stat_of_existing(url)
    if there.size != local.stat().st_size:
        raise StorageError(
            f"{there.size} of {local.stat().st_size} bytes arrived",
            path=str(url),
            hint="Run the same command again.",
        )
    return there


def write_bytes(url: UPath, content: bytes) -> None:
    """Write a small object in one PUT.

    Raises:
        StorageError: it can't be written.
    """
    with speaking_of(url):
        url.fs.pipe_file(url.path, content)


def copy(url: UPath, target: UPath) -> None:
    """Copy an object within its store, without bringing it here."""
    with speaking_of(url):
        url.fs.cp_file(url.path, target.path)


def list_files(folder: AnyPath, *, recursive: bool = False) -> list[AnyPath]:
    """The files in a folder, in order; none where it is not there.

    Raises:
        StorageError: the store can't be asked.
    """
    if isinstance(folder, Path):
        if not folder.is_dir():
            return []
        entries = folder.rglob("*") if recursive else folder.iterdir()
        return sorted(path for path in entries if path.is_file())
    with speaking_of(folder):
        found = folder.fs.find(folder.path, maxdepth=None if recursive else 1)
        return [_sibling(folder, name) for name in sorted(found)]


def glob_files(pattern: UPath) -> list[AnyPath]:
    """The objects that a pattern stands for, in order.

    Raises:
        StorageError: the store can't be asked.
    """
    with speaking_of(pattern):
        found = pattern.fs.glob(pattern.path, detail=True)
        return [
            _sibling(pattern, n) for n, info in sorted(found.items()) if info["type"] == "file"
        ]


def _sibling(path: UPath, name: str) -> UPath:
    return _open_url(f"{path.protocol}://{name}")


def remove(url: AnyPath) -> None:
    """Remove a file or an object, if it is there."""
    if isinstance(url, Path):
        url.unlink(missing_ok=True)
        return
    with speaking_of(url, missing_is_an_error=False):
        try:
            url.fs.rm_file(url.path)
        except FileNotFoundError:
            return


def check_readable(path: AnyPath) -> None:
    """Read as little of an object as there is to read.

    Raises:
        StorageError: it can't be read.
    """
    if not isinstance(path, Path):
        read_range(path, 0, 1)


def check_writable(path: AnyPath) -> None:
    """Write an empty object and remove it, as far as that is allowed.

    Raises:
        StorageError: it can't be written.
    """
    if not isinstance(path, Path):
        write_bytes(path, b"")
        with suppress(StorageError):  # some may write and not remove; it is empty
            remove(path)


@contextmanager
def speaking_of(url: object, *, missing_is_an_error: bool = True) -> Iterator[None]:
    """Turn what a store's package raises into a `StorageError` that names the URL.

    What is raised about a local path stays as it is.
    """
    try:
        yield
    except (RayposeError, MemoryError):
        raise
    except FileNotFoundError as error:
        if isinstance(url, Path) or not missing_is_an_error:
            raise
        raise StorageError(
            "there is no such object, or no such bucket",
            path=str(url),
            hint="Check the URL.",
        ) from error
    except Exception as error:  # s3fs and gcsfs raise those of five libraries
        if isinstance(url, Path):
            raise
        raise _named(str(url), error) from error


_NO_CREDENTIALS = ("NoCredentialsError", "DefaultCredentialsError", "PartialCredentialsError")
_NOT_REACHED = ("EndpointConnectionError", "ConnectTimeoutError", "ClientConnectorError")


def _named(url: str, error: Exception) -> RayposeError:
    scheme = url.partition("://")[0]
    kind = type(error).__name__
    reason = " ".join(str(error).split())[:200] or kind
    if isinstance(error, ImportError):
        extra = EXTRAS.get(scheme, "s3")
        return StorageError(
            f"the package for {scheme}:// URLs is not installed here",
            path=url,
            hint=f"Install it on every node: pip install 'raypose[{extra}]'.",
        )
    if isinstance(error, OSError) and error.filename:
        local = from_os_error(error)  # of the file on this side
        if local is not None:
            return local
    if isinstance(error, PermissionError):
        return StorageError(
            f"access is denied ({reason})",
            path=url,
            hint="Check the credentials here, and that they may list, read and write there.",
        )
    if kind in _NO_CREDENTIALS:
        return StorageError(
            "there are no credentials for it here",
            path=url,
            hint="Give this machine a role, or set AWS_PROFILE or GOOGLE_APPLICATION_CREDENTIALS.",
        )
    if kind in _NOT_REACHED:
        return StorageError(
            f"the store can't be reached{_endpoint(scheme)}",
            path=url,
            hint="Check AWS_ENDPOINT_URL, AWS_REGION and the network.",
        )
    return StorageError(
        f"the store does not do it, tried several times ({kind}: {reason})",
        path=url,
        hint="Run the same command again: what is done is not done again.",
    )


def _endpoint_url() -> str | None:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")


def _endpoint(scheme: str) -> str:
    value = _endpoint_url()
    if scheme != "s3" or not value:
        return ""
    parts = urlsplit(value)  # without a password that may stand in it
    return f" at {parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}"
