"""How the outputs of a step stand: finished and verified, or why they must be made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from raypose.planning.model import OutputPlan, Planned, Problem, RecordingPlan
from raypose.steps.base import NOTES, OutputStep
from raypose.steps.frame_files import frames_provenance, recorded_damage
from raypose.storage import as_path, exists, records
from raypose.storage.layout import frames_beside, frames_beside_name
from raypose.storage.listing import Listing
from raypose.storage.provenance import Provenance
from raypose.video.frames import describe


def planned(
    step: OutputStep,
    *,
    overwrite: bool,
    listing: Listing,
    why_stale: Callable[[Mapping[str, Any]], str] = lambda record: "",
    alternatives: Sequence[Provenance] = (),
) -> Planned:
    """The step with its status.

    Args:
        step: with the provenance of a new output.
        overwrite: whether finished outputs are redone.
        listing: what lies in the output folders.
        why_stale: as in `records.check`.
        alternatives: other provenances that a finished output may have, for a step with a single
            output. The step then gets that of the output.

    Raises:
        StorageError: the store can't be asked.
    """
    if overwrite:
        return Planned(step, False, "--overwrite")
    if records.are_all_missing(step.outputs.values(), listing):
        return Planned(step, False, "missing")
    reason, clash = "", None
    digests: dict[str, str] = {}
    damage: dict[str, Mapping[str, int]] = {}
    notes: dict[str, None] = {}
    accepted: Provenance | None = None
    for path, provenance, video in step.expected():
        found = records.check_listed(path, listing, provenance, *alternatives, why_stale=why_stale)
        why = found.reason
        notes.update(dict.fromkeys(recorded_notes(found)))
        if alternatives:
            accepted = found.provenance
        is_other = found.source not in ("", video.path)
        if "video" in found.changed and is_other and exists(as_path(found.source)):
            clash = clash or (path, found.source)
        if path in step.tables and found.provenance is not None:
            digests[path] = found.digest
            counts = recorded_damage(found.stats)
            # Without the file that says which rows to trust, the table is not complete.
            if counts:
                made_from = frames_provenance(found.provenance)
                beside = records.check_listed(frames_beside_name(path), listing, made_from)
                why = beside.reason and f"its file of frames is {beside.reason}"
                if not why:
                    damage[path] = counts
        reason = reason or why
    if reason:
        return Planned(step, False, reason, clash, damage=damage)
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


def damage_problems(recording: RecordingPlan, *, strict: bool) -> list[Problem]:
    """A note on each video with damaged frames in finished tables; with `strict` an error.

    It is told by every plan that takes these tables.
    """
    problems = []
    for plan in recording.videos:
        by_damage: dict[str, list[OutputPlan]] = {}
        for output in plan.outputs:
            if output.damage:
                by_damage.setdefault(describe(output.damage), []).append(output)
        for said, outputs in by_damage.items():
            message = f"{said}, in the predictions of {', '.join(o.owner.name for o in outputs)}"
            hint = f"Which ones, {frames_beside(as_path(outputs[0].path))} says."
            if strict:
                hint = "Copy or record it again, or leave out --strict."
            problems.append(Problem(plan.video.path, message, hint, fatal=strict))
    return problems
