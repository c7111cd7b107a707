"""The run directory: what happened, even after a crash."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from raypose.errors import OutputError, UsageError
from raypose.storage import run_log


def test_events_come_back_in_order(tmp_path: Path) -> None:
    log = run_log.RunLog(tmp_path / "run")
    log.event("planned", n=3, path=tmp_path)
    log.event("ended", name="☃", other=os.fsdecode(b"caf\xe9"))
    log.close()
    first, second = run_log.read_events(tmp_path / "run")
    assert (first["event"], first["n"], first["path"]) == ("planned", 3, str(tmp_path))
    assert (second["name"], second["other"]) == ("☃", os.fsdecode(b"caf\xe9"))
    assert first["time"] <= second["time"]


def test_events_are_on_disk_at_once(tmp_path: Path) -> None:
    log = run_log.RunLog(tmp_path)
    log.event("planned")
    assert [e["event"] for e in run_log.read_events(tmp_path)] == ["planned"]
    log.close()


@pytest.mark.parametrize("torn", [b'{"event": "tas', '{"name": "☃'.encode()[:-1]])
def test_a_torn_line_is_left_out_and_costs_no_other(tmp_path: Path, torn: bytes) -> None:
    log = run_log.RunLog(tmp_path)
    log.event("first")
    log.close()
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write(torn)
    assert [e["event"] for e in run_log.read_events(tmp_path)] == ["first"]
    log = run_log.RunLog(tmp_path)
    log.event("second")
    log.close()
    assert [e["event"] for e in run_log.read_events(tmp_path)] == ["first", "second"]


def test_run_json(tmp_path: Path) -> None:
    log = run_log.RunLog(tmp_path)
    log.describe({"videos": [Path("/v/☃.mp4")]})
    log.close()
    assert run_log.read_description(tmp_path) == {"videos": ["/v/☃.mp4"]}


def test_a_place_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("x")
    with pytest.raises(OutputError, match="--run-dir"):
        run_log.RunLog(tmp_path / "run")


def test_full_disk(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").symlink_to("/dev/full")
    log = run_log.RunLog(tmp_path)
    with pytest.raises(OutputError, match="the disk is full") as caught:
        log.event("planned")
    assert caught.value.path == str(tmp_path / "events.jsonl")
    with pytest.raises(OutputError):
        log.close()


def test_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no run of raypose"):
        list(run_log.read_events(tmp_path))


def test_a_run_whose_log_is_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "events.jsonl")
    with pytest.raises(OutputError, match="a named pipe"):
        run_log.RunLog(tmp_path)
    with pytest.raises(UsageError, match="holds no run of raypose"):
        list(run_log.read_events(tmp_path))


def test_a_description_may_come_item_by_item(tmp_path: Path) -> None:
    content = {"name": "n", "none": [], "items": iter([{"a": 1}, {"a": "☃\udcff"}]), "last": 2}
    log = run_log.RunLog(tmp_path)
    log.describe(content)
    log.close()
    expected = {"name": "n", "none": [], "items": [{"a": 1}, {"a": "☃\udcff"}], "last": 2}
    assert run_log.read_description(tmp_path) == expected
