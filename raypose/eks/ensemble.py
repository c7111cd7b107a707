"""The first step of smoothing: which members fit each other, and their averages and variances."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from raypose.config import EksOptions
from raypose.eks.parameter import Float64
from raypose.errors import Failure, SmoothingError
from raypose.tables.keypoints import EKS_COORDS, EKS_SCORER, FloatArray, KeypointTable

# Columns of the table that hold the ensemble's average and variance, x and y.
AVERAGE = slice(3, 5)
VARIANCE = slice(5, 7)
POSTERIOR = slice(7, 9)

# `eks` gives this variance, in pixels squared, where none can be computed.
_UNKNOWN_VARIANCE = 1000.0
_CHUNK_FRAMES = 16_384


@dataclass(frozen=True, eq=False)
class Members:
    """The members of one recording that fit each other."""

    # View → member → its table; the same keypoints and numbers of frames everywhere.
    tables: dict[str, dict[str, KeypointTable]]
    excluded: dict[str, str]  # member → why it can't be smoothed
    notes: tuple[str, ...] = ()  # what was added to tables that end before the others

    @property
    def names(self) -> tuple[str, ...]:
        """The members that are smoothed, in their order."""
        return tuple(next(iter(self.tables.values())))


def fitting_members(
    tables: Mapping[str, Mapping[str, KeypointTable | Failure]],
    *,
    keypoints: Sequence[str] = (),
    min_members: int | None = None,
) -> Members:
    """Exclude members that failed, lack keypoints, or are of another length than the others.

    SLEAP's tables end at the last frame with an animal; they get the frames that others have after
    it, without keypoints.

    Args:
        tables: view → member → its table, or why there is none.
        keypoints: those to smooth; by default those that most members have.
        min_members: members that are enough; None for all of them.

    Raises:
        SmoothingError: too few members fit each other.
    """
    names = list(next(iter(tables.values())))
    reasons: dict[str, str] = {}
    usable: dict[str, dict[str, KeypointTable]] = {}
    for name in names:
        views = {view: members[name] for view, members in tables.items()}
        failed = next((t for t in views.values() if isinstance(t, Failure)), None)
        if failed is not None:
            reasons[name] = f"failed ({failed.message})"
        else:
            usable[name] = {v: t for v, t in views.items() if not isinstance(t, Failure)}
    wanted = tuple(keypoints) or _usual(
        [t.keypoint_names for m in usable.values() for t in m.values()]
    )
    notes = _extend(usable)
    for name, views_of in list(usable.items()):
        reason = _misfit(views_of, wanted, exactly=not keypoints)
        if reason:
            reasons[name] = reason
            del usable[name]
    lengths = {name: next(iter(m.values())).n_frames for name, m in usable.items()}
    usual = Counter(lengths.values()).most_common(1)[0][0] if lengths else 0
    for name, n_frames in lengths.items():
        if n_frames != usual:
            reasons[name] = f"has {n_frames} frames, and the others have {usual}"
            del usable[name]
    least = min_members or len(names)
    if len(usable) < least:
        parts = "; ".join(f"{name} {reasons[name]}" for name in names if name in reasons)
        enough = len(usable) >= 2 and not min_members
        fewer = ", or accept fewer with --min-members" if enough else ""
        raise SmoothingError(
            f"{len(usable)} of {len(names)} members can be smoothed together: {parts}",
            hint=f"Make them alike and run again{fewer}.",
        )
    return Members(
        {view: {name: usable[name][view].select(wanted) for name in usable} for view in tables},
        {name: reasons[name] for name in names if name in reasons},
        notes,
    )


def _extend(members: dict[str, dict[str, KeypointTable]]) -> tuple[str, ...]:
    """Extend open-ended tables to the length of the others; returns notes about that.

    Tables that name every frame tell how many there are; without any, the longest table does.
    """
    tables = [table for views in members.values() for table in views.values()]
    whole = Counter(table.n_frames for table in tables if not table.open_ended)
    longest = max((table.n_frames for table in tables), default=0)
    n_frames = whole.most_common(1)[0][0] if whole else longest
    notes = []
    for name, views in members.items():
        for view, table in views.items():
            n_missing = n_frames - table.n_frames
            if not table.open_ended or n_missing <= 0:
                continue
            views[view] = table.extended(n_missing)
            whose = f"{name}, view {view}" if view else name
            notes.append(
                f"{whose}: SLEAP's table ends after {table.n_frames} frames, where the animal was "
                f"last found; {n_missing} more, without keypoints, bring it to the {n_frames} of "
                "the others"
            )
    return tuple(notes)


def _usual(names: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The keypoints that most tables have, in the order of the first of these."""
    counted = Counter(frozenset(n) for n in names).most_common(1)
    return next(n for n in names if frozenset(n) == counted[0][0]) if counted else ()


def _misfit(views: Mapping[str, KeypointTable], wanted: Sequence[str], *, exactly: bool) -> str:
    """Why a member's tables can't be used; empty if they can."""
    for table in views.values():
        lacks = [name for name in wanted if name not in table.keypoint_names]
        more = [name for name in table.keypoint_names if name not in wanted] if exactly else []
        what = [f"lacks {', '.join(lacks[:5])}"] if lacks else []
        what += [f"has {', '.join(more[:5])} besides"] if more else []
        if what:
            return " and ".join(what)
    if len({table.n_frames for table in views.values()}) > 1:
        lengths = ", ".join(f"{view}: {table.n_frames}" for view, table in views.items())
        return f"has views of different lengths {lengths}"
    return ""


def check_finite(members: Sequence[KeypointTable], where: str = "") -> None:
    """Refuse members with infinite values, which would spread to other frames."""
    for i, member in enumerate(members, start=1):
        infinite = np.isinf(member.values[..., :3]).any(axis=2)
        if infinite.any():
            frame, k = (int(n) for n in np.argwhere(infinite)[0])
            raise SmoothingError(
                f"{where}member {i} has an infinite value of {member.keypoint_names[k]} in frame "
                f"{frame}",
                hint="Predict the video with this model again.",
            )


def ensemble_table(members: Sequence[KeypointTable], options: EksOptions) -> KeypointTable:
    """Averages and variances of the members, in a table whose smoothed columns are NaN still.

    As `eks.core.ensemble`: NaN are left out of averages and variances, the likelihood is the mean
    of all members', and a variance that can't be computed is 1000.
    """
    first = members[0]
    shape = (first.n_frames, len(first.keypoint_names), len(EKS_COORDS))
    values = np.full(shape, np.nan, dtype=np.float32)
    for start in range(0, first.n_frames, _CHUNK_FRAMES):
        rows = slice(start, start + _CHUNK_FRAMES)
        part = np.stack([member.values[rows] for member in members]).astype(np.float64)
        likelihood = part[..., 2].mean(axis=0)
        average, variance = _average_and_variance(part[..., :2], options.avg_mode)
        if options.var_mode == "confidence_weighted_var":
            with np.errstate(divide="ignore", invalid="ignore"):
                variance /= likelihood[..., None]
        values[rows, :, 2] = likelihood
        values[rows, :, AVERAGE] = average
        values[rows, :, VARIANCE] = np.nan_to_num(
            variance, nan=_UNKNOWN_VARIANCE, posinf=float(np.finfo(np.float32).max)
        )
    return KeypointTable(EKS_SCORER, first.keypoint_names, EKS_COORDS, values)


def _average_and_variance(xy: Float64, avg_mode: str) -> tuple[Float64, Float64]:
    """Over members, the first axis; only entries with gaps take the slow functions for NaN."""
    mean = xy.mean(axis=0)
    variance = np.square(xy - mean).mean(axis=0)
    average = _median(xy) if avg_mode == "median" else mean
    gaps = np.isnan(mean)
    if gaps.any():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # entries without any member
            known = xy[:, gaps]
            over = np.nanmedian if avg_mode == "median" else np.nanmean
            average[gaps] = over(known, axis=0)
            variance[gaps] = np.nanvar(known, axis=0)
    return average, variance


def _median(xy: Float64) -> Float64:
    if len(xy) == 3:  # the usual ensemble; several times as fast as sorting
        low, high = np.minimum(xy[0], xy[1]), np.maximum(xy[0], xy[1])
        return np.asarray(np.maximum(low, np.minimum(high, xy[2])))
    return np.asarray(np.median(xy, axis=0))


def check_smoothed(values: FloatArray, names: Sequence[str], where: str = "") -> None:
    """Refuse (n_frames, n_keypoints, n) positions that a table would show as empty."""
    broken = ~np.isfinite(values).all(axis=2)
    if broken.any():
        frame, k = (int(i) for i in np.argwhere(broken)[0])
        n_frames = len(set(np.nonzero(broken)[0]))
        raise SmoothingError(
            f"the smoother gives no finite position of {names[k]}{where} for {n_frames} frames, "
            f"first for frame {frame}",
            hint="Check the members' tables there, and the calibration if there is one.",
        )
