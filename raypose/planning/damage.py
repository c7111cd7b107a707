"""What earlier runs found of damaged frames, told again by every plan that takes their tables."""

from __future__ import annotations

from raypose.planning.model import Problem, RecordingPlan, VideoPlan
from raypose.storage import as_path
from raypose.storage.layout import frames_beside
from raypose.video.frames import describe


def damage_problems(recording: RecordingPlan, *, strict: bool) -> list[Problem]:
    """A note on each video with damaged frames in finished tables; with `strict` an error."""
    return [problem for video in recording.videos for problem in _of_video(video, strict=strict)]


def _of_video(plan: VideoPlan, *, strict: bool) -> list[Problem]:
    owners: dict[str, list[str]] = {}
    places: dict[str, str] = {}
    for output in plan.outputs:
        if output.damage:
            said = describe(output.damage)
            owners.setdefault(said, []).append(output.owner.name)
            places.setdefault(said, str(frames_beside(as_path(output.path))))
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
