"""Which files are complete, by what is told of them; and real files that are complete or not."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from raypose.inputs.arrivals import BATCH, PATIENCE, Arrivals, Verdict, verdict_of
from raypose.storage.identity import Identity
from tests.videos import make_sound, make_video

SETTLE_S = 10.0


def seen(size: int) -> Identity:
    return Identity(size, (("mtime_ns", size),))


class Judge:
    """Says what it was told of each file, and counts how often it is asked."""

    def __init__(self, **verdicts: Verdict) -> None:
        self.verdicts = verdicts
        self.asked: list[str] = []

    def __call__(self, path: str) -> Verdict:
        self.asked.append(path)
        return self.verdicts.get(path, Verdict("complete"))


def test_a_file_that_grows_is_not_complete() -> None:
    judge = Judge()
    arrivals = Arrivals(judge, settle_s=SETTLE_S)
    for now in range(0, 50, 5):
        arrivals.look({"a": seen(now)}, now)
        assert arrivals.take(now) == []
        assert arrivals.changing == ["a"]
    assert judge.asked == []
    arrivals.look({"a": seen(45)}, 54)
    assert arrivals.take(54) == []
    arrivals.look({"a": seen(45)}, 55)
    assert arrivals.take(55) == ["a"]


def test_each_file_is_taken_once_until_it_changes() -> None:
    arrivals = Arrivals(Judge(), settle_s=SETTLE_S)
    taken = []
    for now in (0, 10, 20, 30):
        arrivals.look({"a": seen(1)}, now)
        taken += arrivals.take(now)
    assert taken == ["a"] == arrivals.taken
    for now in (40, 50, 60):
        arrivals.look({"a": seen(2)}, now)
        taken += arrivals.take(now)
    assert taken == ["a", "a"]


def test_a_file_that_is_removed_is_forgotten() -> None:
    arrivals = Arrivals(Judge(), settle_s=SETTLE_S)
    arrivals.look({"a": seen(1)}, 0)
    arrivals.look({}, 10)
    arrivals.look({"a": seen(1)}, 11)
    assert arrivals.take(11) == [] and arrivals.changing == ["a"]


def test_an_unfinished_file_waits_and_is_opened_once() -> None:
    judge = Judge(a=Verdict("unfinished", "its index is missing"))
    arrivals = Arrivals(judge, settle_s=SETTLE_S)
    for now in (0, 10, 20, 30):
        arrivals.look({"a": seen(1)}, now)
        assert arrivals.take(now) == []
    assert judge.asked == ["a"]
    assert arrivals.unfinished == {"a": "its index is missing"} and arrivals.changing == []
    judge.verdicts.clear()
    for now in (40, 50):
        arrivals.look({"a": seen(2)}, now)
    assert arrivals.take(50) == ["a"]


def test_an_unfinished_file_counts_in_the_end_so_that_it_fails_by_name() -> None:
    arrivals = Arrivals(Judge(a=Verdict("unfinished", "cut")), settle_s=SETTLE_S)
    late = PATIENCE * SETTLE_S
    for now in (0, SETTLE_S, late - 1):
        arrivals.look({"a": seen(1)}, now)
    assert arrivals.take(late - 1) == []
    arrivals.look({"a": seen(1)}, late)
    assert arrivals.take(late) == ["a"]


def test_what_is_no_video_is_never_taken() -> None:
    arrivals = Arrivals(Judge(a=Verdict("no video")), settle_s=SETTLE_S)
    for now in (0, 10, 1000):
        arrivals.look({"a": seen(1)}, now)
        assert arrivals.take(now) == []
    assert arrivals.unfinished == {} and arrivals.changing == []


def test_cameras_that_end_together_are_taken_together() -> None:
    arrivals = Arrivals(Judge(), settle_s=SETTLE_S)
    arrivals.look({"a": seen(1)}, 0)
    for now in (3, 10):
        arrivals.look({"a": seen(1), "b": seen(2)}, now)
        assert arrivals.take(now) == []
    arrivals.look({"a": seen(1), "b": seen(2)}, 13)
    assert arrivals.take(13) == ["a", "b"]


def test_a_camera_that_never_stops_holds_up_the_others_for_a_while_only() -> None:
    arrivals = Arrivals(Judge(), settle_s=SETTLE_S)
    taken_at = None
    for now in range(60):
        arrivals.look({"a": seen(1), "endless": seen(now)}, now)
        if arrivals.take(now) == ["a"]:
            taken_at = now
    assert taken_at == SETTLE_S + BATCH * SETTLE_S


@pytest.fixture
def video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAYPOSE_CACHE_DIR", str(tmp_path / "cache"))
    return make_video(tmp_path / "a.mp4", n_frames=50)


def test_a_complete_video(video: Path) -> None:
    assert verdict_of(str(video)) == Verdict("complete")


def test_an_mp4_that_is_still_written(video: Path) -> None:
    content = video.read_bytes()
    video.write_bytes(content[: content.index(b"moov") - 4])
    verdict = verdict_of(str(video))
    assert verdict.kind == "unfinished" and "moov" in verdict.reason


def test_a_copy_that_is_not_through(tmp_path: Path, video: Path) -> None:
    copy = tmp_path / "b.mp4"
    with (
        av.open(str(video)) as source,
        av.open(str(copy), "w", options={"movflags": "+faststart"}) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    assert verdict_of(str(copy)).kind == "complete"
    copy.write_bytes(copy.read_bytes()[: copy.stat().st_size // 2])
    verdict = verdict_of(str(copy))
    assert verdict.kind == "unfinished" and "truncated" in verdict.reason


def test_an_empty_file_and_one_without_video(tmp_path: Path, video: Path) -> None:
    empty = tmp_path / "c.mp4"
    empty.touch()
    assert verdict_of(str(empty)).kind == "unfinished"
    assert verdict_of(str(make_sound(tmp_path / "d.mp4"))).kind == "no video"
