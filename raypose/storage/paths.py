"""Paths and URLs: `s3://`, `gs://`, and `file://`, which is the same as a plain path.

A path is a `pathlib.Path`, a URL a `UPath` with the same methods, so that the rest of raypose
names, joins and lists both alike. Nothing is read or written here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import unquote

from raypose.errors import UsageError
from raypose.storage import connection
from raypose.storage.connection import EXTRAS, map_store_errors

if TYPE_CHECKING:
    from upath import UPath

    AnyPath: TypeAlias = Path | UPath
else:
    AnyPath = Any  # the package of UPath is imported only when a URL is opened

StrPath: TypeAlias = str | os.PathLike[str]
_URL = re.compile(r"^([A-Za-z][A-Za-z0-9+.]+):/(/?)(.*)$", re.DOTALL)


def as_path(text: StrPath | AnyPath, *, base: StrPath = "") -> AnyPath:
    """An absolute local path, relative to `base` or the working directory, or the path of a URL.

    Raises:
        UsageError: raypose does not know this kind of URL, or there are credentials in it.
        StorageError: the package for this kind of URL is not installed.
    """
    if not isinstance(text, str | os.PathLike):
        return text
    match = _match(text)
    if match is None:
        return Path(os.path.abspath(os.path.join(base, os.path.expanduser(text))))
    scheme, rest = match[1].lower(), match[3]
    if scheme == "file":
        name = unquote(rest.partition("/")[2], errors="surrogateescape")
        return Path(os.path.abspath(f"/{name}"))
    if scheme not in EXTRAS:
        message = f"raypose does not know {scheme}:// URLs"
        raise UsageError(message, path=text, hint="It knows s3://, gs:// and file://.")
    host = rest.partition("/")[0]
    # A slash may be part of a secret key. The name of an access point has colons.
    if "@" in host or (":" in host and not host.startswith("arn:")):
        hint = "Put them in the environment or in ~/.aws/credentials."
        raise UsageError("there are credentials in this URL", hint=hint)
    return open_url(f"{scheme}://{rest.rstrip('/')}")


def local_path(path: StrPath | AnyPath) -> Path | None:
    """The absolute path of a file on a file system; None for an object in a store."""
    if not isinstance(path, str | os.PathLike):
        return None
    match = _match(path)
    if match is not None and match[1].lower() != "file":
        return None
    local = as_path(path)
    assert isinstance(local, Path)
    return local


def parts(path: AnyPath) -> tuple[str, ...]:
    """The names along a path from the root; the scheme and the bucket of a URL are two of them."""
    if isinstance(path, Path):
        return path.parts[1:]
    return tuple(name for name in str(path).replace("://", "/").split("/") if name)


def common_folder(paths: Iterable[AnyPath]) -> str:
    """The deepest folder that holds all of these files; of objects, the first one's folder."""
    folders = [path.parent for path in paths]
    if all(isinstance(folder, Path) for folder in folders):
        return os.path.commonpath(list(map(str, folders)))
    return str(folders[0])


def open_url(url: str) -> UPath:
    """The path of a URL that is known to be well-formed."""
    with map_store_errors(url):
        from upath import UPath

        path: UPath = UPath(url, **connection.options(url.partition(":")[0]))
        path.fs  # noqa: B018  (imports the store's package)
        return path


def _match(text: StrPath) -> re.Match[str] | None:
    """The parts of a URL. One slash is enough after a known scheme: `Path` swallows the other."""
    match = _URL.match(os.fspath(text))
    return match if match is not None and (match[2] or match[1] in EXTRAS) else None
