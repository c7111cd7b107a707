"""What earlier runs found of damaged frames, told again by every plan that takes their tables."""

from __future__ import annotations

from raypose.planning.model import Problem, SessionPlan, VideoPlan
from raypose.storage import as_path
from raypose.storage.layout import frames_beside
from raypose.video.frames import describe


def damage_problems(session: SessionPlan, *, strict: bool) -> list[Problem]:
    """A note on each video with damaged frames in finished tables; with `strict` an error."""
    return [problem for video in session.videos for problem in _of_video(video, strict=strict)]


def _of_video(plan: VideoPlan, *, strict: bool) -> list[Problem]:
    owners: dict[str, list[str]] = {}
    places: dict[str, str] = {}
    for work in plan.works:
        if work.table.frames:
            said = describe(work.table.frames)
            owners.setdefault(said, []).append(work.owner.name)
            table = as_path(work.table.outputs["table"])
            places.setdefault(said, str(frames_beside(table)))
    return [
        Problem(
            plan.video.path,
            f"{said}, in the predictions of {', '.join(names)}",
            "Copy or record it again, or leave out --strict."
            if strict
            else f"Which ones, {places[said]} says.",
            fatal=strict,
        )
        for said, names in owners.items()
    ]
