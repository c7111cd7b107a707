"""The record beside an output: what it was made from, and whether that still holds.

An output is done when its record, in a hidden folder beside it, names the expected provenance
(fingerprints of video and checkpoint, settings), and the file is still the one that was committed.
What is not exactly a record counts as none. `commits` writes records.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from raypose.storage.digests import digest_of_file, digest_of_json
from raypose.storage.files import list_files, store_of
from raypose.storage.identity import Identity
from raypose.storage.layout import HIDDEN
from raypose.storage.origins import Origin, videos_of
from raypose.storage.paths import AnyPath
from raypose.storage.provenance import Provenance

SUFFIX = ".json"
_MAX_BYTES = 16 << 20
_TYPES: dict[str, type] = {
    "recipe": str, "size": int, "digest": str, "made_from": dict, "facts": dict, "source": str,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Status:
    """Whether an output is done, and if not, why it must be made.

    Attributes:
        done: whether the file is the committed one, made from this provenance.
        reason: why not.
        stats: what was recorded about the output.
        source: path of the video it was made from, as recorded.
        changed: parts of the provenance that differ from the recorded one.
        untracked: whether there is a file that raypose has no record of.
        provenance: the accepted one that it was made from, where done.
        digest: of the file's bytes, where done.
    """

    done: bool
    reason: str = ""
    stats: Mapping[str, Any] | None = None
    source: str = ""
    changed: tuple[str, ...] = ()
    untracked: bool = False
    provenance: Provenance | None = None
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the record of an output says about how it was made; `digest` is that of its bytes."""

    digest: str
    made_from: Provenance
    origin: Origin


def record_path(output: AnyPath) -> AnyPath:
    return output.parent / HIDDEN / f"{output.name}{SUFFIX}"


def read_record(output: AnyPath) -> dict[str, Any] | None:
    """The record of an output; None where there is none that can be used.

    It has `recipe`, `size`, `digest`, `made_from`, `facts` and `source`, each of the right type.

    Raises:
        StorageError: the store can't be asked.
    """
    path = record_path(output)
    try:
        content = store_of(path).read(path, _MAX_BYTES)
        # Names of files need not be UTF-8.
        record = json.loads(content.decode(errors="surrogateescape"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    record = {"made_from": {}, "facts": {}, "source": "", **record}
    fits = all(type(record.get(name)) is kind for name, kind in _TYPES.items())
    return record if fits else None


def recorded_digest(output: AnyPath) -> str:
    """Digest of a file as raypose committed it; empty where there is no record of it."""
    return str((read_record(output) or {}).get("digest", ""))


def recorded(output: AnyPath) -> Recorded | None:
    """What an output was made from by its record; None where there is no record.

    Raises:
        StorageError: the store can't be asked.
    """
    record = read_record(output)
    if record is None:
        return None
    origin = Origin(record["recipe"], videos_of(record) or ())
    return Recorded(record["digest"], record["made_from"], origin)


def source_of(output: AnyPath) -> str:
    """Path of the video that an output was made from, as recorded; empty where it is unknown."""
    return str((read_record(output) or {}).get("source", ""))


def check(
    output: AnyPath,
    provenance: Provenance,
    *others: Provenance,
    why_stale: Callable[[Mapping[str, Any]], str] = lambda record: "",
) -> Status:
    """Whether `output` is done: recorded as made from `provenance`, and unchanged since.

    Args:
        output: the file.
        provenance: what a new one would be made from.
        others: further provenances that are acceptable.
        why_stale: why, by its record, the output does not belong to the present videos, if so.

    Raises:
        StorageError: the store can't be asked.
    """
    record = read_record(output)
    store = store_of(output)
    try:
        identity = store.identity(output)
    except OSError:
        return Status(False, "missing", source=(record or {}).get("source", ""))
    if record is None or not store.is_file(output):
        return Status(False, "not made by raypose", untracked=True)
    source = record["source"]
    accepted = (provenance, *others)
    made_from = next((r for r in accepted if digest_of_json(r) == record["recipe"]), None)
    if made_from is None:
        old = record["made_from"]
        keys = sorted({*old, *provenance})
        changed = tuple(key for key in keys if old.get(key) != provenance.get(key))
        return Status(False, f"made with another {', '.join(changed)}", None, source, changed)
    if not is_as_committed(output, identity, record):
        return Status(False, "changed since it was made", source=source)
    if stale := why_stale(record):
        return Status(False, stale, source=source)
    return Status(True, "", record["facts"], source, provenance=made_from, digest=record["digest"])


def is_as_committed(output: AnyPath, identity: Identity, record: Mapping[str, Any]) -> bool:
    """Whether a file is still the one that its record was written for; reads it if in doubt."""
    if identity.size != record["size"] or not store_of(output).is_file(output):
        return False
    if all(record.get(name) == value for name, value in identity.kept_by_rename().items()):
        return True
    try:
        return digest_of_file(output) == str(record["digest"])
    except OSError:
        return False  # it can't be read, so it can't be relied on


class RecordedFiles:
    """Tells raypose's own files from others by name; each folder is listed once."""

    def __init__(self) -> None:
        self._names: dict[str, set[str]] = {}

    def __contains__(self, path: AnyPath) -> bool:
        folder = str(path.parent)
        if folder not in self._names:
            hidden = list_files(path.parent / HIDDEN)
            names = [record.name for record in hidden if record.suffix == SUFFIX]
            self._names[folder] = {name.removesuffix(SUFFIX) for name in names}
        return path.name in self._names[folder]

    def add_listing(self, paths: Iterable[AnyPath]) -> None:
        """Take in a recursive listing, so that its folders need not be listed again."""
        for path in map(str, paths):
            folder, _, name = path.rpartition("/")
            above, _, last = folder.rpartition("/")
            if last != HIDDEN:
                self._names.setdefault(folder, set())
            elif name.endswith(SUFFIX):
                self._names.setdefault(above, set()).add(name.removesuffix(SUFFIX))


def recorded_below(folder: AnyPath) -> set[str]:
    """Paths below a folder, relative to it, of all files that have a record."""
    found = set()
    for path in list_files(folder, recursive=True):
        *above, name = str(path)[len(str(folder)) + 1 :].split("/")
        if above and above[-1] == HIDDEN and name.endswith(SUFFIX):
            found.add("/".join((*above[:-1], name.removesuffix(SUFFIX))))
    return found
