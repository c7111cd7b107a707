"""Writing outputs: a file under its final name is whole, and has a record of how it was made.

An output is written under a temporary name, brought to disk, and renamed; then its record is
written. For a URL the file is written in scratch and becomes an object in one step. A file in the
way that is not exactly as raypose committed it is kept as a backup in the hidden folder.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from raypose._version import __version__
from raypose.errors import OutputError, from_os_error
from raypose.storage import scratch
from raypose.storage.digests import digest_of_file, digest_of_json
from raypose.storage.files import store_of, write_text
from raypose.storage.layout import HIDDEN
from raypose.storage.origins import VideoRead
from raypose.storage.paths import AnyPath
from raypose.storage.provenance import Provenance
from raypose.storage.records import is_as_committed, read_record, record_path
from raypose.storage.temporary_files import shortened, temporary_name, touch
from raypose.text import json_text


@contextmanager
def committing(
    output: AnyPath,
    provenance: Provenance,
    *,
    source: str = "",
    stats: dict[str, Any] | None = None,
    videos: Callable[[], Iterable[VideoRead]] = tuple,
) -> Iterator[Path]:
    """Write an output under a temporary name, and commit it unless the block raises.

    Args:
        output: the final path.
        provenance: for the record, like `source`, the path of the video.
        stats: what to record about it; may be filled inside the block.
        videos: asked for the videos that were read, just before the commit; nothing is committed
            if it raises because one has changed.

    Yields:
        The temporary path to write to, a local one with the suffix of `output`.

    Raises:
        OutputError: the file can't be written (disk full, no permission, …).
        StorageError: the object can't be written.
    """
    folder = store_of(output).temporary_folder(output) or scratch.current().outgoing
    temporary = folder / temporary_name(output.stem, output.suffix)
    try:
        try:
            touch(temporary)
            yield temporary
            made = {
                "source": source,
                "recipe": digest_of_json(provenance),
                "made_from": dict(provenance),
                "videos": [video.as_dict() for video in videos()],
                "facts": stats or {},
            }
            _commit(temporary, output, made)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        named = from_os_error(error)
        if named is None:
            raise
        # The temporary file is gone, and users do not know its name.
        path = str(output) if named.path in ("", str(temporary)) else named.path
        raise OutputError(named.message, path=path, hint=named.hint) from error


def _commit(temporary: Path, output: AnyPath, made: dict[str, Any]) -> None:
    store = store_of(output)
    digest = digest_of_file(temporary)
    if store.exists(output):
        old = read_record(output)
        if old is None or not is_as_committed(output, store.identity(output), old):
            _back_up(output)
    identity = store.put(temporary, output)
    record = {
        "file": output.name,
        **made,
        **identity.kept_by_rename(),
        "digest": digest,
        "made_at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "raypose": __version__,
    }
    if store.is_folder(record_path(output)):
        _back_up(record_path(output))
    write_text(record_path(output), json_text(record, indent=1))


def _back_up(path: AnyPath) -> None:
    """Keep a file that raypose did not make, under a name that is free."""
    store = store_of(path)
    stem = f"{shortened(path.stem, 100)}.{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    folder = path.parent / HIDDEN / "replaced"
    names = (folder / f"{stem}-{n}{path.suffix}" for n in itertools.count())
    store.back_up(path, next(name for name in names if not store.exists(name)))
