"""Tables put together into sessions: members of one video, views of one recording."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raypose.errors import UsageError
from raypose.inputs.sessions import Grouping, Recording
from raypose.inputs.tables import FoundTable
from raypose.planning import Problem
from raypose.planning.tables_by_recording import TableRecording, group_tables, one_recording

VIEWS = ("top", "side")


def table(path: str, label: str = "") -> FoundTable:
    """`FOLDER/KEY`, or `FOLDER//KEY` for a key with folders."""
    folder, _, key = path.rpartition("//") if "//" in path else path.rpartition("/")
    file = Path("/data", folder, f"{key}{label}.csv")
    return FoundTable(file, Path("/data", folder), key, label)


def group(*tables: FoundTable, **values: Any) -> tuple[list[TableRecording], list[Problem]]:
    return group_tables(tables, **values)


def folders(*paths: str) -> list[FoundTable]:
    return [table(path) for path in paths]


def good(result: tuple[list[TableRecording], list[Problem]]) -> list[TableRecording]:
    sessions, problems = result
    assert not problems
    return sessions


class TestMembers:
    def test_of_several_directories(self) -> None:
        first, second = good(group(*folders("m1/a", "m1/b", "m2/a", "m2/b")))
        assert (first.name, first.views, first.keys) == ("a", ("",), ("a",))
        assert first.members == ("m1", "m2")
        assert first.tables == ((Path("/data/m1/a.csv"), Path("/data/m2/a.csv")),)
        assert second.name == "b"

    def test_directories_of_one_name_are_told_apart(self) -> None:
        (only,) = good(group(*folders("x/2026-01-01/10-00-00/a", "y/2026-01-01/10-00-00/a")))
        assert only.members == ("x_2026-01-01_10-00-00", "y_2026-01-01_10-00-00")

    def test_of_several_scorers(self) -> None:
        tables = [table("d/a", label) for label in ("DLC_1", "DLC_2", "DLC_3")]
        (only,) = good(group(*tables))
        assert only.members == ("DLC_1", "DLC_2", "DLC_3")

    def test_of_directories_and_scorers(self) -> None:
        tables = [table(f"{d}/a", label) for d in "xy" for label in ("DLC_1", "DLC_2")]
        (only,) = good(group(*tables))
        assert only.members == ("x_DLC_1", "x_DLC_2", "y_DLC_1", "y_DLC_2")

    def test_names_differ(self) -> None:
        (only,) = good(group(*[table("d/a", label) for label in ("", ".1", "_1", "1", "d")]))
        assert len(set(only.members)) == 5

    def test_videos_of_one_stem_in_different_folders(self) -> None:
        sessions = good(group(*folders("m1//d1/a", "m1//d2/a", "m2//d1/a", "m2//d2/a")))
        assert [s.name for s in sessions] == ["d1/a", "d2/a"]

    def test_a_single_member_is_no_ensemble(self) -> None:
        with pytest.raises(UsageError, match="one table of each video"):
            group(*folders("m1/a", "m1/b"))

    def test_a_missing_member_is_named(self) -> None:
        tables = folders("m1/a", "m2/a", "m3/a", "m1/b", "m3/b", "m1/c")
        sessions, problems = group(*tables)
        assert [s.name for s in sessions] == ["a"]
        assert [(p.subject, p.message, p.fatal) for p in problems] == [
            ("b", "has 2 of 3 members: m1, m3", True),
            ("c", "has 1 of 3 members: m1", True),
        ]
        assert "--min-members" in problems[0].hint
        assert "--min-members" not in problems[1].hint

    def test_fewer_members_may_do(self) -> None:
        tables = folders("m1/a", "m2/a", "m3/a", "m1/b", "m3/b", "m1/c")
        sessions, problems = group(*tables, min_members=2)
        assert [s.name for s in sessions] == ["a", "b"]
        assert [p.fatal for p in problems] == [False, True]

    def test_a_second_table_of_a_member(self) -> None:
        again = FoundTable(Path("/data/m1/infer/a.csv"), Path("/data/m1"), "a")
        sessions, problems = group(*folders("m1/a", "m2/a"), again)
        assert len(sessions[0].members) == 2
        assert "second table of a" in problems[0].message
        assert not problems[0].fatal


class TestViews:
    def test_by_name(self) -> None:
        tables = folders(*(f"{m}/r_{v}" for m in ("m1", "m2") for v in ("side", "top")))
        (only,) = good(group(*tables, views=VIEWS))
        assert (only.name, only.views, only.keys) == ("r", VIEWS, ("r_top", "r_side"))
        assert only.members == ("m1", "m2")
        assert [[t.name for t in of_view] for of_view in only.tables] == [
            ["r_top.csv"] * 2,
            ["r_side.csv"] * 2,
        ]

    @pytest.mark.parametrize("pattern", ["{m}/{v}/r", "{v}/{m}/r"])
    def test_by_folder(self, pattern: str) -> None:
        tables = folders(*(pattern.format(m=m, v=v) for v in VIEWS for m in ("m1", "m2")))
        (only,) = good(group(*tables, views=VIEWS))
        assert (only.name, only.keys) == ("r", ("top/r", "side/r"))
        assert only.members == ("m1", "m2")

    def test_members_that_are_trained_for_one_view(self) -> None:
        tables = [table(f"d/r_{v}", f"DLC_{v}{n}") for v in VIEWS for n in (1, 2)]
        (only,) = good(group(*tables, views=VIEWS))
        assert only.members == ("DLC_top1 + DLC_side1", "DLC_top2 + DLC_side2")

    def test_members_are_in_one_order(self) -> None:
        tables = folders("m1/r_top", "m2/r_top", "m2/r_side", "m1/r_side")
        (only,) = good(group(*tables, views=VIEWS))
        assert [t.parent.name for t in only.tables[1]] == ["m1", "m2"]

    def test_a_missing_view(self) -> None:
        tables = folders("m1/r_top", "m2/r_top", "m1/s_top", "m2/s_top", "m1/s_side", "m2/s_side")
        sessions, problems = group(*tables, views=VIEWS)
        assert [s.name for s in sessions] == ["s"]
        assert [(p.subject, p.message) for p in problems] == [
            ("r", "there is no table of its view side")
        ]
        assert problems[0].fatal

    def test_views_with_different_members(self) -> None:
        tables = folders("m1/r_top", "m2/r_top", "m1/r_side")
        sessions, problems = group(*tables, views=VIEWS)
        assert not sessions
        assert problems[0].message == "its views differ in members: top has 2, side has 1"

    def test_strays_are_named(self) -> None:
        tables = folders("m1/x", "m2/x", "m1/r_top", "m2/r_top", "m1/r_side", "m2/r_side")
        sessions, problems = group(*tables, views=VIEWS)
        assert len(sessions) == 1
        assert [p.subject for p in problems] == ["/data/m1/x.csv"]
        assert "names none of the views" in problems[0].message


class TestList:
    def test_videos_or_tables(self) -> None:
        tables = [table(f"d/{k}", f"DLC_{n}") for k in ("a", "b", "c") for n in (1, 2)]
        tables += [table("d//d1/e", f"DLC_{n}") for n in (1, 2)]
        listed = Grouping(
            VIEWS,
            (
                Recording("r1", (("top", Path("/v/a.mp4")), ("side", Path("/data/d/bDLC_2.csv")))),
                Recording("r2", (("top", Path("/v/d1/e.mp4")), ("side", Path("/v/no.mp4")))),
            ),
        )
        sessions, problems = group(*tables, listed=listed)
        assert [(s.name, s.keys) for s in sessions] == [("r1", ("a", "b"))]
        assert [(p.subject, p.message) for p in problems] == [
            (
                "/data/d/cDLC_1.csv",
                "belongs to no recording (nor do those of 1 other members): it is not in the list",
            ),
            ("r2", "there is no table of its view side"),
        ]
        assert problems[0].hint == "Add it to the list."


class TestOneRecording:
    @pytest.mark.parametrize(
        ("stems", "name"),
        [
            (("fly_seed0", "fly_seed1"), "fly"),
            (("fly.m-1", "fly.m-2"), "fly.m"),
            (("a_fly top", "b_fly top"), "fly top"),
            (("a", "b"), "day1"),
            (("fly1", "fly2"), "day1"),
        ],
    )
    def test_is_called_by_what_the_names_share(self, stems: tuple[str, ...], name: str) -> None:
        (session,) = one_recording([table(f"day1/{stem}") for stem in stems])
        assert (session.name, session.keys, session.views) == (name, (name,), ("",))
        assert session.members == stems
        assert session.tables == (tuple(Path(f"/data/day1/{stem}.csv") for stem in stems),)

    def test_of_one_name_in_several_folders(self) -> None:
        (session,) = one_recording(folders("m1/fly", "m2/fly", "m3/fly"))
        assert session.name == "fly"
        assert session.members == ("m1_fly", "m2_fly", "m3_fly")

    def test_needs_two(self) -> None:
        with pytest.raises(UsageError, match="two or more tables"):
            one_recording(folders("m1/fly"))

    def test_is_offered_where_names_tell_nothing(self) -> None:
        with pytest.raises(UsageError) as caught:
            group(*folders("d/a", "d/b", "d/c"))
        assert "add --members" in caught.value.hint
        with pytest.raises(UsageError) as caught:
            group(*folders("d/a"))
        assert "--members" not in caught.value.hint
