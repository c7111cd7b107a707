"""How the outputs of a step stand: finished and verified, or why they must be made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from raypose.planning.model import Planned
from raypose.steps.base import NOTES, OutputStep
from raypose.steps.frame_files import frames_provenance, recorded_damage
from raypose.storage import as_path, exists, records
from raypose.storage.layout import frames_beside
from raypose.storage.provenance import Provenance


def _never_stale(record: Mapping[str, Any]) -> str:
    return ""


def planned(
    step: OutputStep,
    *,
    overwrite: bool,
    why_stale: Callable[[Mapping[str, Any]], str] = _never_stale,
    alternatives: Sequence[Provenance] = (),
) -> Planned:
    """The step with its status.

    Args:
        step: the step, with the provenance of a new output.
        overwrite: whether finished outputs are redone.
        why_stale: says from a record why the output does not belong to the videos as they are
            now; empty where it does.
        alternatives: other provenances that a finished output may have, for a step with a single
            output. The step then gets that of the output.

    Raises:
        StorageError: the store can't be asked.
    """
    if overwrite:
        return Planned(step, False, "--overwrite")
    reason, clash = "", None
    digests: dict[str, str] = {}
    damage: dict[str, Mapping[str, int]] = {}
    notes: dict[str, None] = {}
    accepted: Provenance | None = None
    for path, provenance, video in step.expected():
        output = as_path(path)
        found = records.check(output, provenance, *alternatives, why_stale=why_stale)
        reason = reason or found.reason
        notes.update(dict.fromkeys(recorded_notes(found)))
        if alternatives:
            accepted = found.provenance
        if "video" in found.changed and _is_other_video(found.source, video.path):
            clash = clash or (path, found.source)
        if path in step.tables and found.provenance is not None:
            digests[path] = found.digest
            counts = recorded_damage(found.stats)
            # Without the file that says which rows to trust, the table is not complete.
            if counts:
                damage[path] = counts
                beside = records.check(frames_beside(output), frames_provenance(found.provenance))
                reason = reason or (beside.reason and f"its file of frames is {beside.reason}")
    if reason:
        return Planned(step, False, reason, clash)
    if accepted:
        step = replace(step, provenance=accepted)
    return Planned(step, True, "", None, digests, damage, tuple(notes))


def recorded_notes(of: records.Status) -> list[str]:
    """What the record of a finished output says for people: its notes, and the decoder used."""
    said = (of.stats or {}).get(NOTES)
    notes = [str(note) for note in said] if isinstance(said, list) else []
    made_from = of.provenance or {}
    if made_from.get("decoder_asked") == "nvdec":
        part = "partly " if "nvdec" in str(made_from.get("decoder")) else ""
        notes.append(f"{part}decoded on the CPU, though NVDEC was asked for")
    return notes


def _is_other_video(source: str, path: str) -> bool:
    """True where an output belongs to another video that still exists."""
    return bool(source) and source != path and exists(as_path(source))
