"""What the section of a video shows, as text in the page: compressed, and within a limit.

A page of hundreds of videos must stay small, so detail is given out by rank. Every video has a
thumbnail. Traces have as many keypoints and buckets as fit for all videos alike; pictures of the
worst moments go to the first videos in full, and then to all, one after the other.
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from raypose.metrics.review import Review
from raypose.metrics.traces import N_BUCKETS, Codes, coarser
from raypose.report.html.outputs import TableFacts, VideoFacts
from raypose.text import json_text, shown

TRACE_BYTES = 9_000_000
PICTURE_BYTES = 8_000_000
"""What traces and pictures may take in a page."""

_IN_FULL = 20  # videos whose worst moments all have a picture, where there is room
_BYTES_PER_CODE = 2.2  # compressed, in base 64; measured on noisy traces
_ALL = 1 << 16
_DETAILS = (
    *((_ALL, 1), (_ALL, 2), (12, 2), (8, 2), (6, 2), (4, 2), (3, 2), (2, 2), (2, 4), (1, 4)),
    (1, 8),
)
"""Numbers of keypoints, and how much wider buckets are than those kept: from fine to coarse."""


@dataclass(frozen=True, slots=True)
class Detail:
    """How much of its traces a page shows of each video.

    Attributes:
        n_keypoints: keypoints per video.
        factor: width of a bucket, in buckets of the reviews.
        n_videos: videos that have traces at all, by rank.
    """

    n_keypoints: int
    factor: int
    n_videos: int


def choose_detail(videos: Sequence[VideoFacts], budget: int = TRACE_BYTES) -> Detail:
    """The finest detail that fits for all videos; with the coarsest, as many as fit."""
    sizes = [_sizes(video) for video in videos]
    for n_keypoints, factor in _DETAILS:
        costs = [min(n, n_keypoints) * n_codes / factor * _BYTES_PER_CODE for n, n_codes in sizes]
        if sum(costs) <= budget:
            return Detail(n_keypoints, factor, len(videos))
    n_videos = int(np.searchsorted(np.cumsum(costs), budget, side="right"))
    return Detail(n_keypoints, factor, n_videos)


def _sizes(video: VideoFacts) -> tuple[int, int]:
    """The number of keypoints of a video, and of codes per keypoint over all its tables."""
    reviews = [table.review for table in video.tables.values() if table.review]
    n_keypoints = max((len(review.facts["keypoints"]) for review in reviews), default=0)
    return n_keypoints, sum(len(r.facts["rows"]) * len(r.times_s) for r in reviews)


def choose_pictures(
    videos: Sequence[VideoFacts], budget: int = PICTURE_BYTES
) -> list[dict[str, dict[int, bytes]]]:
    """The pictures of worst moments that fit: for each video, owner → frame → picture."""
    chosen: list[dict[str, dict[int, bytes]]] = [{} for _ in videos]
    waiting = [
        (0 if v < _IN_FULL else place, v, owner, frame, picture)
        for v, video in enumerate(videos)
        for owner, table in video.tables.items()
        for place, (frame, picture) in enumerate(_stills(table.review))
    ]
    for _, v, owner, frame, picture in sorted(waiting, key=lambda item: item[:2]):
        budget -= len(picture) * 4 // 3
        if budget < 0:
            break
        chosen[v].setdefault(owner, {})[frame] = picture
    return chosen


def _stills(review: Review | None) -> Iterator[tuple[int, bytes]]:
    """Frame and picture, the worst first."""
    if review is not None:
        for moment in review.facts["moments"]:
            if moment["frame"] in review.stills:
                yield moment["frame"], review.stills[moment["frame"]]


def traces_of(video: VideoFacts, detail: Detail) -> dict[str, Any]:
    """The arrays of a video's section, as JSON; codes are uint16 in base 64.

    Returns:
        `keypoints` (the chosen ones), `n_keypoints` (of all), and for each owner: `times_s`,
        `statuses`, `scores`, `rows` and `traces`, keypoint → row → codes and ends. Times are
        float64 in base 64.
    """
    reviews = {o: t.review for o, t in video.tables.items() if t.review is not None}
    names = list(dict.fromkeys(n for r in reviews.values() for n in r.facts["keypoints"]))
    chosen = _worst_keypoints(reviews, names)[: detail.n_keypoints]
    kept = [name for name in names if name in chosen]
    return {
        "keypoints": [shown(name) for name in kept],
        "worst_keypoint": shown(chosen[0]) if chosen else "",
        "n_keypoints": len(names),
        "tables": {
            shown(owner): _of_review(review, kept, detail.factor)
            for owner, review in reviews.items()
        },
    }


def _of_review(review: Review, keypoints: Sequence[str], factor: int) -> dict[str, Any]:
    # Short videos have few buckets, which need not be wider.
    factor = factor if len(review.times_s) * 2 > N_BUCKETS else 1
    places = np.arange(0, len(review.times_s), factor)
    statuses = np.maximum.reduceat(review.statuses, places) if len(places) else review.statuses
    scores = np.fmax.reduceat(review.scores, places) if len(places) else review.scores
    scored = Codes.of(scores[None])
    rows, all_names = review.facts["rows"], review.facts["keypoints"]
    codes, ends = review.traces.codes, review.traces.ends
    traces = {}
    for name in keypoints:
        if name in all_names:
            first = all_names.index(name) * len(rows)
            traces[shown(name)] = [
                _coded(
                    coarser(codes[first + r], factor, highest=not row.endswith("_min")),
                    ends[first + r],
                )
                for r, row in enumerate(rows)
            ]
    return {
        "times_s": _base64(review.times_s[places].astype("<f8")),
        "statuses": statuses.tolist(),
        "scores": _coded(scored.codes[0], scored.ends[0]),
        "rows": list(rows),
        "traces": traces,
        "distributions": review.facts["distributions"],
    }


def _worst_keypoints(reviews: Mapping[str, Review], names: Sequence[str]) -> list[str]:
    """Keypoints by the share of frames in which they are unlikely, the worst first."""
    worst: dict[str, float] = dict.fromkeys(names, 0.0)
    for review in reviews.values():
        shares = review.facts.get("quality", {}).get("below_threshold", {}).get("keypoints", {})
        for name, share in shares.items():
            if name in worst and isinstance(share, float):
                worst[name] = max(worst[name], share)
    return sorted(names, key=lambda name: -worst[name])


def packed(content: Mapping[str, Any]) -> str:
    """JSON, compressed, in base 64."""
    return base64.b64encode(gzip.compress(json_text(content).encode(), 6, mtime=0)).decode()


def _coded(codes: npt.NDArray[Any], ends: npt.NDArray[Any]) -> dict[str, Any]:
    return {"codes": _base64(codes.astype("<u2")), "ends": ends.tolist()}


def _base64(array: npt.NDArray[Any]) -> str:
    return base64.b64encode(array.tobytes()).decode()


def picture_url(picture: bytes) -> str:
    """A WebP picture as a URL; empty for none."""
    return f"data:image/webp;base64,{base64.b64encode(picture).decode()}" if picture else ""


def thumbnail_of(tables: Mapping[str, TableFacts]) -> bytes:
    """The picture of a video, from the table that has one."""
    pictures = (t.review.thumbnail for t in tables.values() if t.review is not None)
    return next(filter(None, pictures), b"")
