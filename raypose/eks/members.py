"""Which members of an ensemble can be smoothed together, and why others can't."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from raypose.errors import Failure, SmoothingError
from raypose.tables.keypoints import KeypointTable


@dataclass(frozen=True, eq=False)
class Members:
    """The members of one recording that fit each other.

    Attributes:
        tables: view → member → its table; the same keypoints everywhere.
        excluded: member → why it can't be smoothed.
        notes: what was added to tables that end before the others.
    """

    tables: dict[str, dict[str, KeypointTable]]
    excluded: dict[str, str]
    notes: tuple[str, ...] = ()

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
    usable, notes = _with_ends(usable)
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


def _with_ends(
    members: Mapping[str, Mapping[str, KeypointTable]],
) -> tuple[dict[str, dict[str, KeypointTable]], tuple[str, ...]]:
    """The members, open-ended tables extended to the length of the others, and notes about that.

    Tables that name every frame tell how many there are; without any, the longest table does.
    """
    tables = [table for views in members.values() for table in views.values()]
    whole = Counter(table.n_frames for table in tables if not table.open_ended)
    longest = max((table.n_frames for table in tables), default=0)
    n_frames = whole.most_common(1)[0][0] if whole else longest
    ended: dict[str, dict[str, KeypointTable]] = {}
    notes = []
    for name, views in members.items():
        ended[name] = dict(views)
        for view, table in views.items():
            n_missing = n_frames - table.n_frames
            if not table.open_ended or n_missing <= 0:
                continue
            ended[name][view] = table.extended(n_missing)
            whose = f"{name}, view {view}" if view else name
            notes.append(
                f"{whose}: SLEAP's table ends after {table.n_frames} frames, where the animal was "
                f"last found; {n_missing} more, without keypoints, bring it to the {n_frames} of "
                "the others"
            )
    return ended, tuple(notes)


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
