"""What is told of the videos behind a table, and whether ranges are of one file."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from raypose.storage.identity import Identity
from raypose.storage.origins import Origin, VideoRead, merged, union, videos_of

FILE = Identity(9, mtime_ns=1, ctime_ns=2, inode=3)
ELSEWHERE = Identity(9, mtime_ns=1, ctime_ns=2, inode=4)
READ = VideoRead("v", FILE, "abc", 2)


def test_there_and_back() -> None:
    record = json.loads(json.dumps({"videos": [READ.as_dict()]}))
    assert videos_of(record) == (READ,)


@pytest.mark.parametrize(
    "videos",
    [
        None, [], {}, "x", [None], [[]], [{}], [{"fingerprint": "v"}], [READ.as_dict(), 1],
        [{**READ.as_dict(), "n_bad": "2"}], [{**READ.as_dict(), "content": None}],
        [{**READ.as_dict(), "inode": None}],
    ],
)  # fmt: skip
def test_what_can_not_be_understood_is_none(videos: object) -> None:
    assert videos_of({"videos": videos}) is None
    assert videos_of({}) is None


class TestMerged:
    def test_ranges_of_one_file(self) -> None:
        assert merged([replace(READ, content="", n_bad=1), READ]) == (replace(READ, n_bad=3),)

    def test_another_file_without_a_digest(self) -> None:
        assert merged([READ, replace(READ, identity=ELSEWHERE, content="")]) is None

    def test_another_file_with_the_same_bytes(self) -> None:
        made = merged([READ, replace(READ, identity=ELSEWHERE)])
        assert made == (replace(READ, n_bad=4),)

    def test_other_bytes(self) -> None:
        assert merged([READ, replace(READ, identity=ELSEWHERE, content="def")]) is None
        assert merged([READ, replace(READ, content="def")]) is None

    def test_each_view_by_itself(self) -> None:
        other = VideoRead("w", ELSEWHERE)
        assert merged([READ, other, other]) == (READ, other)

    def test_nothing(self) -> None:
        assert merged([]) == ()


def test_union_names_each_video_once() -> None:
    other = VideoRead("w", ELSEWHERE)
    origins = [Origin("a", (READ,)), None, Origin("b", (READ, other))]
    assert union(origins) == (READ, other)
