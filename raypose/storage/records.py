"""The record beside an output: what it was made from, and whether that still holds.

An output is done when its record, in a hidden folder beside it, names the expected provenance
(fingerprints of video and checkpoint, settings), and the file is still the one that was committed.
What is not exactly a record counts as none. `commits` writes records.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raypose.limits import MAX_RECORD_BYTES
from raypose.storage import regular_files
from raypose.storage.digests import digest_of_file, digest_of_json
from raypose.storage.files import list_files, store_of
from raypose.storage.identity import Identity
from raypose.storage.layout import HIDDEN
from raypose.storage.listing import Kind, Listing
from raypose.storage.paths import AnyPath, as_path
from raypose.storage.provenance import Provenance

SUFFIX = ".json"
SMOOTHED = "smoothed"
TABLE_KINDS = ("predictions", SMOOTHED)
"""What `made_from` has as the `kind` of tables of keypoints."""
_TYPES: dict[str, type] = {
    "recipe": str, "size": int, "digest": str, "made_from": dict, "facts": dict, "source": str,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Status:
    """Whether an output is done, and if not, why it must be made."""

    done: bool  # whether the file is the committed one, made from an accepted provenance
    reason: str = ""  # why not
    stats: Mapping[str, Any] | None = None  # what was recorded about it, where done
    source: str = ""  # path of the video that it was made from, as recorded
    changed: tuple[str, ...] = ()  # parts of the provenance that differ from the recorded one
    untracked: bool = False  # whether there is a file that raypose has no record of
    provenance: Provenance | None = None  # the accepted one that it was made from, where done
    digest: str = ""  # of the file's bytes, where done


def record_path(output: AnyPath) -> AnyPath:
    return output.parent.joinpath(HIDDEN, f"{output.name}{SUFFIX}")


def _record_name(output: str) -> str:
    """As `record_path`, of paths as strings."""
    folder, _, name = output.rpartition("/")
    return f"{folder}/{HIDDEN}/{name}{SUFFIX}"


def read_record(output: AnyPath) -> dict[str, Any] | None:
    """The record of an output; None where there is none that can be used.

    It has `recipe`, `size`, `digest`, `made_from`, `facts` and `source`, each of the right type.

    Raises:
        StorageError: the store can't be asked.
    """
    path = record_path(output)
    try:
        # A larger one is cut, and so is none.
        content = store_of(path).read_head(path, MAX_RECORD_BYTES)
    except OSError:
        return None
    return _record_in(content)


def _record_in(content: bytes) -> dict[str, Any] | None:
    try:
        # Names of files need not be UTF-8.
        record = json.loads(content.decode(errors="surrogateescape"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    record = {"made_from": {}, "facts": {}, "source": "", **record}
    fits = all(type(record.get(name)) is kind for name, kind in _TYPES.items())
    return record if fits else None


def check(
    output: AnyPath,
    provenance: Provenance,
    *others: Provenance,
    why_stale: Callable[[Mapping[str, Any]], str] = lambda record: "",
) -> Status:
    """Whether `output` is done: recorded as made from `provenance`, and unchanged since.

    Args:
        output: path or URL.
        provenance: what a new one would be made from; `others` are accepted too.
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
    return _compare(str(output), identity, record, (provenance, *others), why_stale)


def are_all_missing(outputs: Iterable[str], listing: Listing) -> bool:
    """Whether there is neither a file nor a record of any of these outputs."""
    return all(
        listing.kind(output) is Kind.MISSING and listing.kind(_record_name(output)) is Kind.MISSING
        for output in outputs
    )


def check_listed(
    output: str,
    listing: Listing,
    provenance: Provenance,
    *others: Provenance,
    why_stale: Callable[[Mapping[str, Any]], str] = lambda record: "",
) -> Status:
    """As `check`, of one of many outputs: what the listing tells is not asked again."""
    record_name = _record_name(output)
    kinds = listing.kind(output), listing.kind(record_name)
    if kinds == (Kind.MISSING, Kind.MISSING):
        return Status(False, "missing")
    if kinds != (Kind.FILE, Kind.FILE):
        return check(as_path(output), provenance, *others, why_stale=why_stale)
    try:
        record = _record_in(_content(record_name))
        identity = listing.identity(output)
    except OSError:  # one of them is gone by now
        return check(as_path(output), provenance, *others, why_stale=why_stale)
    if record is None:
        return Status(False, "not made by raypose", untracked=True)
    return _compare(output, identity, record, (provenance, *others), why_stale)


def _content(record: str) -> bytes:
    if not record.startswith("/"):
        path = as_path(record)
        return store_of(path).read_head(path, MAX_RECORD_BYTES)
    handle = os.open(record, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(handle)
        regular_files.check_mode(status.st_mode, record)
        return os.read(handle, min(status.st_size, MAX_RECORD_BYTES))
    finally:
        os.close(handle)


def _compare(
    output: str,
    identity: Identity,
    record: Mapping[str, Any],
    accepted: Sequence[Provenance],
    why_stale: Callable[[Mapping[str, Any]], str],
) -> Status:
    """The status of a file that has a record."""
    source = record["source"]
    recorded, recipe = record["made_from"], record["recipe"]
    made_from = next((r for r in accepted if r == recorded), None)  # most are, and it is quick
    made_from = made_from or next((r for r in accepted if digest_of_json(r) == recipe), None)
    if made_from is None:
        old, provenance = record["made_from"], accepted[0]
        keys = sorted({*old, *provenance})
        changed = tuple(key for key in keys if old.get(key) != provenance.get(key))
        return Status(False, f"made with another {', '.join(changed)}", None, source, changed)
    marks = identity.kept_by_rename()
    if any(record.get(name) != value for name, value in marks.items()) and not is_as_committed(
        as_path(output), identity, record
    ):
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
        self._listed: set[str] = set()
        self._recorded: set[str] = set()

    def __contains__(self, path: AnyPath) -> bool:
        text = str(path)
        folder = text.rpartition("/")[0] or "/"
        if folder not in self._listed:
            self._listed.add(folder)
            # Of a single level, s3fs lists the folder above again where there is none.
            recursive = not isinstance(path, Path)
            self.add_listing(list_files(path.parent / HIDDEN, recursive=recursive))
        return text in self._recorded

    def add_listing(self, paths: Iterable[AnyPath | str]) -> None:
        """Take in a recursive listing, so that its folders need not be listed again."""
        for path in map(str, paths):
            output = _output_of(path)
            self._listed.add((output or path).rpartition("/")[0])
            self._recorded.add(output)


def recorded_below(folder: AnyPath, listed: Iterable[AnyPath | str] | None = None) -> set[str]:
    """Paths below a folder, relative to it, of all files that have a record.

    `listed` are all files below the folder, if they are known.
    """
    files = list_files(folder, recursive=True) if listed is None else listed
    outputs = (_output_of(str(path)) for path in files)
    return {output[len(str(folder)) + 1 :] for output in outputs if output}


def _output_of(record: str) -> str:
    """The path of the output that a record stands for; empty for any other file."""
    folder, hidden, name = record.rpartition(f"/{HIDDEN}/")
    is_record = hidden and "/" not in name and name.endswith(SUFFIX)
    return f"{folder}/{name.removesuffix(SUFFIX)}" if is_record else ""
