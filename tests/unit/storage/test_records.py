"""Records of any content, and anything in the place of a record or an output: redone, no crash."""

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

from raypose.errors import OutputError
from raypose.inputs.ensembles import describe_ensemble
from raypose.storage import ledger
from raypose.storage.records import read_record, record_path

RECIPE = {"kind": "predictions", "video": "v1"}


def commit(output: Path, text: str = "a,b\n1,2\n") -> Path:
    with ledger.committing(output, RECIPE, source="/videos/v1.mp4") as temporary:
        temporary.write_text(text)
    return output


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return commit(tmp_path / "a.csv")


def redone(output: Path) -> None:
    """The output counts as not done, and one commit puts all right."""
    assert not ledger.check(output, RECIPE).done
    commit(output)
    assert ledger.check(output, RECIPE).done


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
    verdict = ledger.check(output, RECIPE)
    assert (verdict.done, verdict.facts, verdict.source) == (True, {}, "")


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
        patch.setattr(ledger, "digest_file", refuse)
        assert ledger.check(output, RECIPE).reason == "changed since it was made"


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
        verdict = ledger.check(output, RECIPE)
        assert isinstance(verdict.source, str)
        assert verdict.facts is None or isinstance(verdict.facts, dict)
    finally:
        place.write_bytes(intact)


def test_a_run_whose_log_is_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "events.jsonl")
    os.mkfifo(tmp_path / "run.json")
    with pytest.raises(OutputError, match="a named pipe"):
        ledger.RunLog(tmp_path)
    with pytest.raises(OutputError, match="not the directory of a run"):
        list(ledger.read_events(tmp_path))
    assert ledger.read_run(tmp_path) == {}
    (tmp_path / "run.json").unlink()
    (tmp_path / "run.json").write_text("[" * 100_000)
    assert ledger.read_run(tmp_path) == {}


def test_an_ensemble_that_is_a_pipe_is_left_alone(tmp_path: Path) -> None:
    from raypose.config import EksOptions

    os.mkfifo(tmp_path / "ensemble.yaml")
    describe_ensemble(tmp_path, ["/m1"], (), EksOptions())
    assert (tmp_path / "ensemble.yaml").is_fifo()
