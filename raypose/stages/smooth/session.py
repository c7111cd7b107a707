"""One session smoothed: checks the members, chooses the mode, calls the smoother of that mode."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from raypose.errors import SmoothingError
from raypose.predictions import KeypointTable
from raypose.stages.smooth.ensemble import aligned, ensemble_table
from raypose.stages.smooth.options import SmoothOptions, SmoothResult
from raypose.stages.smooth.singlecam import smooth_singlecam


def smooth_session(
    members: Sequence[KeypointTable],
    options: SmoothOptions | None = None,
    *,
    on_progress: Callable[[int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> SmoothResult:
    """Smooths the members' predictions of one video.

    Args:
        members: one table a member, of the same frames and keypoints (in any order).
        options: of the smoother.
        on_progress: called with the frames done so far.
        should_stop: asked now and then.

    Raises:
        SmoothingError: the members do not fit each other or the options.
        CancelledError: `should_stop` said so.
    """
    started = time.perf_counter()
    options = options or SmoothOptions()
    if options.mode not in ("auto", "singlecam"):
        raise SmoothingError(f"mode {options.mode} is not for one view")
    table = ensemble_table(aligned(members, options.min_members), options)
    params = smooth_singlecam(table, options, on_progress, should_stop)
    reason = "one view" if options.mode == "auto" else "asked for"
    return SmoothResult(table, params, "singlecam", reason, time.perf_counter() - started)
