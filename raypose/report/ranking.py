"""How much each video of a run needs a look: a score from 0 to 100, and what it is made of.

Nothing here knows the truth. Damage and low likelihood are shares of the video and count as they
are. Distances in pixels depend on camera and animal, so they count by how far they exceed what is
usual in the same run. docs/report.md explains the formula to users; keep both the same.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from raypose.metrics.compute import PCA_MULTIVIEW, PCA_SINGLEVIEW, TEMPORAL_NORM

DAMAGE, LIKELIHOOD, MOTION = "damage", "likelihood", "temporal_norm"
PCA, DISAGREEMENT = "pca", "disagreement"

WEIGHTS = {DAMAGE: 30, LIKELIHOOD: 25, MOTION: 15, PCA: 15, DISAGREEMENT: 15}
"""Points of each part where it is as bad as can be; together 100."""

_HALF_DAMAGE = 0.02
_HALF_UNLIKELY = 0.2
"""Shares that give half of a part's points."""

FAILED = 100.0
"""Score of a video without any predictions."""


class Spread(NamedTuple):
    """Two numbers of many: the median tells a video that is odd as a whole, the percentile one
    that is odd now and then."""

    median: float
    p99: float


@dataclass(frozen=True, slots=True)
class Numbers:
    """The numbers of one table, from its quality; None where there is none.

    Attributes:
        n_frames: rows of the table.
        damage: share of the frames that are corrupt or missing, and half of those suspect.
        unlikely: share of keypoints below the confidence threshold.
        temporal_norm, pca_singleview, pca_multiview: in pixels.
        disagreement: standard deviation among the members, in pixels; of the smoothed ensemble
            alone.
        not_ok: frames of each status that is not ok.
    """

    n_frames: int | None = None
    damage: float | None = None
    unlikely: float | None = None
    temporal_norm: Spread | None = None
    pca_singleview: Spread | None = None
    pca_multiview: Spread | None = None
    disagreement: Spread | None = None
    not_ok: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, quality: Mapping[str, Any]) -> Numbers:
        """The numbers in a quality file; what is not as it should be there counts as unknown."""
        counts = {
            str(word): n
            for word, n in _mapping(quality.get("frames")).items()
            if isinstance(n, int) and n >= 0
        }
        variance = _spread(quality, "ensemble_variance")
        n_frames = quality.get("n_frames")
        return cls(
            n_frames=n_frames if isinstance(n_frames, int) else sum(counts.values()) or None,
            damage=_share_damaged(counts),
            unlikely=_number(_mapping(quality.get("below_threshold")).get("share")),
            temporal_norm=_spread(quality, TEMPORAL_NORM),
            pca_singleview=_spread(quality, PCA_SINGLEVIEW),
            pca_multiview=_spread(quality, PCA_MULTIVIEW),
            disagreement=variance and Spread(*(math.sqrt(max(0.0, value)) for value in variance)),
            not_ok={word: n for word, n in counts.items() if word != "ok" and n},
        )


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a score.

    Attributes:
        points: what it adds to the score.
        value: the number behind it, as in `Numbers`; None where nothing is known.
        of: `median` or `p99`, where the number is one of these.
        usual: the median of the run, where `value` counts relative to it.
        owner: name of the model whose table has it.
    """

    points: float = 0.0
    value: float | None = None
    of: str = ""
    usual: float | None = None
    owner: str = ""


Tables = Mapping[str, Numbers]
"""The tables of one video by the name of their owner."""


def rank(videos: Sequence[Tables]) -> list[dict[str, Part]]:
    """The parts of the score of each video, in the order of `WEIGHTS`.

    A part is that of the video's worst table. A video without tables has no parts.
    """
    usual = _usual(videos)
    return [_parts(tables, usual) for tables in videos]


def score(parts: Mapping[str, Part]) -> float:
    """The score of a video, 0 to 100."""
    return sum(part.points for part in parts.values()) if parts else FAILED


_RELATIVE = {
    MOTION: ("temporal_norm",),
    PCA: ("pca_singleview", "pca_multiview"),
    DISAGREEMENT: ("disagreement",),
}


_Key = tuple[str, str, str]
"""Owner, field of `Numbers`, and field of its spread."""


def _relative(tables: Tables, fields: Sequence[str]) -> Iterator[tuple[_Key, float]]:
    """The numbers of some fields that count relative to the usual."""
    for owner, numbers in tables.items():
        for name in fields:
            spread: Spread | None = getattr(numbers, name)
            if spread is not None:
                yield from (((owner, name, of), v) for of, v in spread._asdict().items())


def _usual(videos: Sequence[Tables]) -> dict[_Key, float]:
    """The median over the videos of each number that counts relative to it."""
    found: dict[_Key, list[float]] = defaultdict(list)
    for tables in videos:
        for fields in _RELATIVE.values():
            for key, value in _relative(tables, fields):
                found[key].append(value)
    return {key: statistics.median(values) for key, values in found.items()}


def _parts(tables: Tables, usual: Mapping[_Key, float]) -> dict[str, Part]:
    if not tables:
        return {}
    parts: dict[str, list[Part]] = {name: [Part()] for name in WEIGHTS}
    for owner, numbers in tables.items():
        shares = (
            (DAMAGE, numbers.damage, _HALF_DAMAGE),
            (LIKELIHOOD, numbers.unlikely, _HALF_UNLIKELY),
        )
        for name, share, half in shares:
            if share is not None:
                points = WEIGHTS[name] * share / (share + half)
                parts[name].append(Part(points, share, owner=owner))
    for name, fields in _RELATIVE.items():
        for key, value in _relative(tables, fields):
            points = WEIGHTS[name] * _excess(value, usual[key])
            parts[name].append(Part(points, value, key[2], usual[key], key[0]))
    return {name: max(found, key=_weight_of) for name, found in parts.items()}


def _weight_of(part: Part) -> tuple[float, float]:
    return part.points, -1.0 if part.value is None else part.value


def _excess(value: float, usual: float) -> float:
    """0 for what is usual or less, 0.5 for twice as much, towards 1 for far more."""
    return max(0.0, 1 - usual / value) if value > 0 else 0.0


def _share_damaged(counts: Mapping[str, int]) -> float | None:
    total = sum(counts.values())
    if not total:
        return None
    bad = counts.get("corrupt", 0) + counts.get("missing", 0) + 0.5 * counts.get("suspect", 0)
    return bad / total


def _spread(quality: Mapping[str, Any], name: str) -> Spread | None:
    known = _mapping(quality.get(name))
    median, p99 = _number(known.get("median")), _number(known.get("p99"))
    return None if median is None or p99 is None else Spread(median, p99)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(value: Any) -> float | None:
    known = isinstance(value, int | float) and math.isfinite(value)
    return float(value) if known else None
