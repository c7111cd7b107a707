"""How much each video of a run needs a look: a score from 0 to 100, and what it is made of.

Nothing here knows the truth. Damage and low likelihood are shares of the video and count as they
are. Distances in pixels depend on camera and animal, so they count by how far they exceed what is
usual in the same run. docs/report.md explains the formula to users; keep both the same.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

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


@dataclass(frozen=True, slots=True)
class Numbers:
    """The numbers of one table, from its quality; None where there is none.

    Attributes:
        n_frames: rows of the table.
        damage: share of the frames that are corrupt or missing, and half of those suspect.
        unlikely: share of keypoints below the confidence threshold.
        temporal_norm, pca_singleview, pca_multiview: 99th percentile, in pixels.
        disagreement: standard deviation among the members, 99th percentile, in pixels; of the
            smoothed ensemble alone.
        not_ok: frames of each status that is not ok.
    """

    n_frames: int | None = None
    damage: float | None = None
    unlikely: float | None = None
    temporal_norm: float | None = None
    pca_singleview: float | None = None
    pca_multiview: float | None = None
    disagreement: float | None = None
    not_ok: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, quality: Mapping[str, Any]) -> Numbers:
        """The numbers in a quality file; what is not as it should be there counts as unknown."""
        counts = {
            str(word): n
            for word, n in _mapping(quality.get("frames")).items()
            if isinstance(n, int) and n >= 0
        }
        variance = _p99(quality, "ensemble_variance")
        n_frames = quality.get("n_frames")
        return cls(
            n_frames=n_frames if isinstance(n_frames, int) else sum(counts.values()) or None,
            damage=_share_damaged(counts),
            unlikely=_number(_mapping(quality.get("below_threshold")).get("share")),
            temporal_norm=_p99(quality, TEMPORAL_NORM),
            pca_singleview=_p99(quality, PCA_SINGLEVIEW),
            pca_multiview=_p99(quality, PCA_MULTIVIEW),
            disagreement=None if variance is None else math.sqrt(max(0.0, variance)),
            not_ok={word: n for word, n in counts.items() if word != "ok" and n},
        )


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a score.

    Attributes:
        points: what it adds to the score.
        value: the number behind it, as in `Numbers`; None where nothing is known.
        usual: the median of the run, where `value` counts relative to it.
        owner: name of the model whose table has it.
    """

    points: float = 0.0
    value: float | None = None
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


def _usual(videos: Sequence[Tables]) -> dict[tuple[str, str], float]:
    """The median over the videos of each owner's numbers that count relative to it."""
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for tables in videos:
        for owner, numbers in tables.items():
            for fields in _RELATIVE.values():
                for name in fields:
                    value = getattr(numbers, name)
                    if value is not None:
                        found[owner, name].append(value)
    return {key: statistics.median(values) for key, values in found.items()}


def _parts(tables: Tables, usual: Mapping[tuple[str, str], float]) -> dict[str, Part]:
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
                parts[name].append(Part(points, share, None, owner))
        for name, fields in _RELATIVE.items():
            for field_name in fields:
                value = getattr(numbers, field_name)
                if value is not None:
                    median = usual[owner, field_name]
                    points = WEIGHTS[name] * _excess(value, median)
                    parts[name].append(Part(points, value, median, owner))
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


def _p99(quality: Mapping[str, Any], name: str) -> float | None:
    return _number(_mapping(quality.get(name)).get("p99"))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(value: Any) -> float | None:
    known = isinstance(value, int | float) and math.isfinite(value)
    return float(value) if known else None
