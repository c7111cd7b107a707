"""Which members of an ensemble can be smoothed together, and why others can't."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from raypose.errors import Failure, SmoothingError
from raypose.predictions import KeypointTable


@dataclass(frozen=True, eq=False)
class Members:
    """The members of one recording that fit each other.

    Attributes:
        tables: for each view, for each member by name its table; the same keypoints everywhere.
        left_out: member → why it is not among them.
    """

    tables: dict[str, dict[str, KeypointTable]]
    left_out: dict[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        """The members that are left, in their order."""
        return tuple(next(iter(self.tables.values())))


def fitting_members(
    tables: Mapping[str, Mapping[str, KeypointTable | Failure]],
    *,
    keypoints: Sequence[str] = (),
    min_members: int | None = None,
) -> Members:
    """Sorts out members that failed, lack keypoints, or are of another length than the others.

    Args:
        tables: for each view, for each member its table, or why there is none.
        keypoints: those to smooth; by default those that most members have.
        min_members: members that are enough; None for all of them.

    Returns:
        the members that fit each other.

    Raises:
        SmoothingError: too few of them do.
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
        raise SmoothingError(
            f"{len(usable)} of {len(names)} members can be smoothed together: {parts}",
            hint="Make them alike and run again"
            + (
                ", or let fewer do with --min-members."
                if len(usable) >= 2 and min_members is None
                else "."
            ),
        )
    return Members(
        {view: {name: usable[name][view].select(wanted) for name in usable} for view in tables},
        {name: reasons[name] for name in names if name in reasons},
    )


def _usual(names: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The keypoints that most tables have, in the order of the first of these."""
    if not names:
        return ()
    usual = Counter(frozenset(n) for n in names).most_common(1)[0][0]
    return next(n for n in names if frozenset(n) == usual)


def _misfit(views: Mapping[str, KeypointTable], wanted: Sequence[str], *, exactly: bool) -> str:
    """Why a member's tables can't be used; empty where they can."""
    lengths = {view: table.n_frames for view, table in views.items()}
    for table in views.values():
        lacks = [name for name in wanted if name not in table.keypoint_names]
        more = [name for name in table.keypoint_names if name not in wanted] if exactly else []
        if lacks or more:
            what = [f"lacks {', '.join(lacks[:5])}"] if lacks else []
            what += [f"has {', '.join(more[:5])} besides"] if more else []
            return " and ".join(what)
    if len(set(lengths.values())) > 1:
        return "has views of unlike lengths " + ", ".join(f"{v}: {n}" for v, n in lengths.items())
    return ""
