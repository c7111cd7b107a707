"""What counts as done. Whatever is in the place of a record or an output: redone, no crash."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raypose.limits import MAX_RECORD_BYTES
from raypose.storage import records
from raypose.storage.records import read_record, record_path
from tests.unit.storage.outputs import PROVENANCE, commit


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return commit(tmp_path / "a.csv", source="/videos/v1.mp4")


def redone(output: Path) -> None:
    """The output counts as not done, and one commit puts all right."""
    assert not records.check(output, PROVENANCE).done
    commit(output)
    assert records.check(output, PROVENANCE).done


def test_committed_is_done(tmp_path: Path) -> None:
    output = commit(tmp_path / "cam.csv", source="/videos/cam.mp4", stats={"n_rows": 1})
    status = records.check(output, PROVENANCE)
    assert status.done
    assert status.stats == {"n_rows": 1}
    assert status.source == "/videos/cam.mp4"


def test_missing(tmp_path: Path) -> None:
    status = records.check(tmp_path / "cam.csv", PROVENANCE)
    assert (status.done, status.reason) == (False, "missing")


def test_a_file_that_merely_exists_is_not_done(tmp_path: Path) -> None:
    (tmp_path / "cam.csv").write_text("x")
    status = records.check(tmp_path / "cam.csv", PROVENANCE)
    assert not status.done
    assert status.untracked


def test_deleted_afterwards(tmp_path: Path) -> None:
    output = commit(tmp_path / "cam.csv")
    output.unlink()
    assert records.check(output, PROVENANCE).reason == "missing"


@pytest.mark.parametrize("text", ["a,b\n1", "", "a,b\n1,3\n", "a,b\n1,2\n\n"])
def test_changed_afterwards(tmp_path: Path, text: str) -> None:
    output = commit(tmp_path / "cam.csv")
    output.write_text(text)
    status = records.check(output, PROVENANCE)
    assert not status.done
    assert "changed" in status.reason
    assert not status.untracked


def test_a_copy_with_another_time_is_still_done(tmp_path: Path) -> None:
    output = commit(tmp_path / "cam.csv")
    os.utime(output, (1, 1))
    assert records.check(output, PROVENANCE).done


def test_another_recipe_is_named_by_what_differs(tmp_path: Path) -> None:
    output = commit(tmp_path / "cam.csv")
    status = records.check(output, {**PROVENANCE, "model": "m2", "precision": "fp16"})
    assert not status.done
    assert status.changed == ("model", "precision")
    assert "model, precision" in status.reason


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"recipe": "x"}', "\udcff"])
def test_a_broken_record_is_none(tmp_path: Path, text: str) -> None:
    output = commit(tmp_path / "cam.csv")
    record_path(output).write_text(text, errors="surrogateescape")
    assert records.check(output, PROVENANCE).untracked


def test_record_of_another_file_does_not_do(tmp_path: Path) -> None:
    a, b = commit(tmp_path / "a.csv"), commit(tmp_path / "b.csv", "other\n")
    a.write_bytes(b.read_bytes())
    assert not records.check(a, PROVENANCE).done


@pytest.mark.parametrize(
    "changes",
    [
        {"size": "8"},
        {"size": True},
        {"size": None},
        {"size": 8.0},
        {"recipe": ["x"]},
        {"recipe": 5},
        {"digest": {}},
        {"facts": 5},
        {"facts": None},
        {"facts": [1]},
        {"made_from": None},
        {"made_from": "x"},
        {"source": 5},
        {"source": None},
    ],
    ids=str,
)
def test_values_of_other_types(output: Path, changes: dict[str, Any]) -> None:
    place = record_path(output)
    place.write_text(json.dumps({**json.loads(place.read_text()), **changes}))
    assert read_record(output) is None
    redone(output)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"5",
        b"null",
        b'"text"',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"size": ' + b"9" * 5000 + b"}",
        b"\xff\xfe\x00",
        b"{}" * 2,
    ],
    ids=lambda content: content[:8],
)
def test_content_that_is_no_record(output: Path, content: bytes) -> None:
    record_path(output).write_bytes(content)
    redone(output)


def test_a_record_without_facts_still_counts(output: Path) -> None:
    place = record_path(output)
    record = json.loads(place.read_text())
    del record["facts"], record["source"]
    place.write_text(json.dumps(record))
    status = records.check(output, PROVENANCE)
    assert (status.done, status.stats, status.source) == (True, {}, "")


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_folder(path: Path) -> None:
    path.mkdir()
    (path / "inside").write_text("something")


def a_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # names of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(here)


def a_link_to_a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def a_link_to_nowhere(path: Path) -> None:
    path.symlink_to(path.parent / "nowhere" / "at all")


def a_link_to_itself(path: Path) -> None:
    path.symlink_to(path)


ANYTHING = [a_pipe, a_folder, a_socket, a_link_to_a_device, a_link_to_nowhere, a_link_to_itself]


@pytest.mark.parametrize("put", ANYTHING)
def test_anything_in_the_place_of_a_record(output: Path, put: Callable[[Path], None]) -> None:
    record_path(output).unlink()
    put(record_path(output))
    redone(output)
    assert output.read_text() == "a,b\n1,2\n"


@pytest.mark.parametrize("put", ANYTHING)
def test_anything_in_the_place_of_an_output(output: Path, put: Callable[[Path], None]) -> None:
    output.unlink()
    put(output)
    redone(output)
    assert output.is_file() and not output.is_symlink()


def test_an_output_that_cannot_be_read(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.utime(output, (1, 1))

    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:  # root may read everything
        patch.setattr(records, "digest_of_file", refuse)
        assert records.check(output, PROVENANCE).reason == "changed since it was made"


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.one_of(
        st.binary(max_size=60),
        st.dictionaries(
            st.sampled_from(["recipe", "size", "digest", "facts", "made_from", "source", "x"]),
            _json,
            min_size=1,
        ),
    )
)
def test_any_content_is_redone_or_says_the_same(
    output: Path, content: bytes | dict[str, Any]
) -> None:
    place = record_path(output)
    intact = place.read_bytes()
    try:
        if isinstance(content, dict):
            content = json.dumps({**json.loads(intact), **content}).encode()
        place.write_bytes(content)
        status = records.check(output, PROVENANCE)
        assert isinstance(status.source, str)
        assert status.stats is None or isinstance(status.stats, dict)
    finally:
        place.write_bytes(intact)


def test_the_largest_record(output: Path) -> None:
    path = record_path(output)
    path.write_bytes(path.read_bytes().ljust(MAX_RECORD_BYTES))
    assert records.check(output, PROVENANCE).done
    # The end is cut off: no record is as large, so half of one is as good as none.
    path.write_bytes(b'{"a": "' + b"x" * MAX_RECORD_BYTES + b'"}')
    redone(output)
