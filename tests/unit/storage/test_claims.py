"""Which of several runs works on what, on disks and in object stores."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raypose.errors import StorageError
from raypose.storage import AnyPath, as_path
from raypose.storage.claims import STALE_S, Claims, Holder, State, runs_in
from raypose.storage.files import list_files, store_of
from tests.stores import Store


@pytest.fixture(params=["disk", "store"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> AnyPath:
    if request.param == "disk":
        return tmp_path / "out" / ".raypose" / "claims"
    request.getfixturevalue("store")
    return as_path("s3://lab/out/.raypose/claims")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def on_node(name: str, *, overwrites: bool = False) -> Holder:
    """A run of this process, as if it were on another machine."""
    return replace(Holder.this_process(overwrites=overwrites), host=name, machine=name)


def claims_on(folder: AnyPath, node: str, clock: Clock | None = None) -> Claims:
    return Claims(
        folder, on_node(node), clock=clock or Clock(), sleep=lambda seconds: None, beat_s=1e6
    )


def everything(folder: AnyPath) -> list[str]:
    return [path.name for path in list_files(folder, recursive=True)]


def test_one_of_two_runs_gets_it(folder: AnyPath) -> None:
    with claims_on(folder, "node1") as first, claims_on(folder, "node2") as second:
        assert first.take("cam").state is State.MINE
        taken = second.take("cam")
        assert taken.state is State.HELD
        assert str(taken.by) == f"node1, process {os.getpid()}"
        assert second.take("another").state is State.MINE
        assert first.take("another").state is State.HELD
    assert everything(folder) == []


def test_what_a_run_has_ended_is_told_to_those_that_planned_before(folder: AnyPath) -> None:
    with claims_on(folder, "node1") as first, claims_on(folder, "node2") as second:
        first.others_seen = True  # as after its next heartbeat
        first.take("cam")
        first.end("cam")
        taken = second.take("cam")
        assert (taken.state, taken.by, taken.is_new) == (State.OVER, first.me, True)
        assert second.take("cam", 1).state is State.MINE  # it has other settings
        assert first.take("cam", 1).state is State.HELD
    assert everything(folder) == []


def test_a_run_that_ends_leaves_its_marks_to_the_others(folder: AnyPath) -> None:
    with claims_on(folder, "node2") as second:
        with claims_on(folder, "node1") as first:
            assert first.others_seen and first.n_others == 1
            first.take("done")
            first.end("done")
            first.take("begun")
        assert runs_in(folder) == {second.me.run}
        assert second.take("done").state is State.OVER
        assert second.take("begun").state is State.OVER  # given back, whatever ended the run
    assert everything(folder) == []


def test_a_single_run_leaves_nothing_behind(folder: AnyPath) -> None:
    with claims_on(folder, "node1") as claims:
        for name in ("a", "b/ü", "c" * 5000):
            assert claims.take(name).state is State.MINE
            claims.end(name)
        assert not claims.others_seen
    assert everything(folder) == []
    if isinstance(folder, Path):
        assert list(folder.parent.parent.iterdir()) == []


def test_in_a_store_a_claim_is_one_request(store: Store) -> None:
    with claims_on(as_path("s3://lab/out/.raypose/claims"), "node1") as claims:
        store.requests.clear()
        claims.take("cam")
        assert [request.split()[0] for request in store.requests] == ["PUT"]
        claims.end("cam")
        assert [request.split()[0] for request in store.requests] == ["PUT", "DELETE"]


def test_a_run_elsewhere_is_dead_when_its_heartbeat_stands_still(folder: AnyPath) -> None:
    clock = Clock()
    dead = claims_on(folder, "node1")
    dead.__enter__()
    dead.take("cam")
    with claims_on(folder, "node2", clock) as claims:
        assert claims.take("cam").state is State.HELD
        clock.now += STALE_S - 1
        assert claims.take("cam").state is State.HELD
        beat = {**json.loads(dead._heartbeat()), "beat": 1}
        store_of(folder).write(dead._run_file(dead.me.run), json.dumps(beat).encode())
        clock.now += STALE_S - 1  # it has changed since: it lives
        assert claims.take("cam").state is State.HELD
        clock.now += STALE_S
        taken = claims.take("cam")
        assert taken.state is State.OVER and not taken.is_new
        assert claims.take("cam", 1).state is State.MINE
        if isinstance(folder, Path):  # it died while it wrote
            (folder / "runs" / f"{dead.me.run}.json.tmp-node1-7-1").touch()
    assert everything(folder) == []  # those of the dead one too
    dead._done.set()
    dead._thread.join()


def test_a_dead_runs_claim_goes_to_one_of_those_that_want_it(folder: AnyPath) -> None:
    with claims_on(folder, "node2") as second, claims_on(folder, "node3") as third:
        with claims_on(folder, "node1") as first:
            first.take("cam")
            store_of(folder).remove(first._run_file(first.me.run))  # as if it had been killed
            assert second.take("cam").state is State.OVER
            assert third.take("cam").state is State.OVER
            assert third.take("cam", 1).state is State.MINE
            assert second.take("cam", 1).state is State.HELD


def test_a_dead_run_is_no_other_run(folder: AnyPath) -> None:
    dead = Claims(folder, replace(Holder.this_process(), started="1"))
    dead.__enter__()
    dead.take("cam")
    dead._done.set()
    with Claims(folder, Holder.this_process()) as claims:
        assert not claims.others_seen and claims.n_others == 0
        assert claims.take("another").state is State.MINE
        claims.end("another")
        assert not claims.others_seen  # what has no claim of the dead one is as it was planned
        assert claims.take("cam").state is State.OVER
    assert everything(folder) == []


def test_the_heartbeat_beats_and_finds_others(tmp_path: Path) -> None:
    folder = tmp_path / "claims"
    with Claims(folder, on_node("node1"), beat_s=0.01) as claims:
        path = folder / "runs" / f"{claims.me.run}.json"
        first = path.read_bytes()
        with claims_on(folder, "node2"):
            deadline = time.monotonic() + 20
            while path.read_bytes() == first or not claims.others_seen:
                assert time.monotonic() < deadline


CHILD = """
import sys
from pathlib import Path
from raypose.storage import as_path
from raypose.storage.claims import Claims, Holder
claims = Claims(as_path(sys.argv[1]), Holder.this_process())
claims.__enter__()
mine = [name for name in map(str, range(40)) if claims.take(name).state.name == "MINE"]
print(*mine, flush=True)
sys.stdin.read()
"""


def start(folder: AnyPath) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, str(folder)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)


def test_two_processes_never_get_the_same_and_a_killed_one_loses_all(folder: AnyPath) -> None:
    children = [start(folder) for _ in range(2)]
    try:
        told = [child.stdout.readline().split() for child in children if child.stdout]
        assert sorted(told[0] + told[1], key=int) == list(map(str, range(40)))
        with Claims(folder, Holder.this_process()) as claims:
            assert claims.take("0").state is State.HELD
            for child in children:
                child.kill()
                child.wait()
            # Of a process of this machine that is known at once.
            assert claims.take("0").state is State.OVER
            assert claims.take("0", 1).state is State.MINE
        assert everything(folder) == []
    finally:
        for child in children:
            child.kill()
            child.communicate()


def test_a_process_of_the_same_number_is_not_the_run(tmp_path: Path) -> None:
    me = Holder.this_process()
    assert not me.is_gone_from(me.machine)
    assert replace(me, started="1").is_gone_from(me.machine)
    assert not replace(me, started="1").is_gone_from("another machine")


def test_claims_that_were_torn_count_as_ended(folder: AnyPath) -> None:
    with claims_on(folder, "node1") as claims:
        claims.take("cam")
        path = claims._open["cam"]
        for content in (b"", b"\0\0\0", b"[]", b'{"run": 1}'):
            store_of(folder).write(path, content)
            with claims_on(folder, "node2") as other:
                taken = other.take("cam")
                assert (taken.state, taken.by) == (State.OVER, None)


def test_a_claim_that_is_being_written_is_not_torn(tmp_path: Path) -> None:
    """Without hard links a new claim is empty for a moment."""
    with claims_on(tmp_path / "claims", "node1") as claims:
        claims.take("cam")
        path = claims._open["cam"]
        content = store_of(path).read(path)
        store_of(path).write(path, b"")
        with Claims(
            tmp_path / "claims",
            on_node("node2"),
            sleep=lambda seconds: store_of(path).write(path, content),
            beat_s=1e6,
        ) as other:
            assert other.take("cam").state is State.HELD


@pytest.mark.parametrize(("number", "ends_well"), [(errno.EPERM, True), (errno.EIO, False)])
def test_only_without_hard_links_a_claim_is_made_in_two_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, ends_well: bool
) -> None:
    def link(*_: object) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(os, "link", link)
    path = tmp_path / "claim"
    with nullcontext() if ends_well else pytest.raises(OSError, match="no"):
        store_of(path).write_new(path, b"mine")
    assert path.exists() == ends_well
    if ends_well:
        with pytest.raises(FileExistsError):
            store_of(path).write_new(path, b"another's")
        assert path.read_bytes() == b"mine"


def test_the_last_of_earlier_runs_leaves_the_claims_of_one_that_comes_meanwhile(
    folder: AnyPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, late = claims_on(folder, "node1"), claims_on(folder, "node2")
    with first:
        first.others_seen = True
        first.take("done")
        first.end("done")
        remove = first._remove_marks

        def come(*args: Any) -> None:
            late.__enter__()
            assert late.take("cam").state is State.MINE
            assert late.take("done").state is State.OVER
            assert late.take("done", 1).state is State.MINE
            remove(*args)

        monkeypatch.setattr(first, "_remove_marks", come)
    with claims_on(folder, "node3") as third:
        assert third.take("cam").state is State.HELD
        assert third.take("done").state is State.OVER  # although its mark is gone
        assert third.take("done", 1).state is State.HELD
    late.__exit__()
    assert everything(folder) == []


def test_a_run_that_can_not_begin_signs_off(
    folder: AnyPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = claims_on(folder, "node1")

    def fail() -> None:
        assert claims._thread.is_alive() and runs_in(folder) == {claims.me.run}
        raise StorageError("it does not answer")

    monkeypatch.setattr(claims, "look", fail)
    with pytest.raises(StorageError):
        claims.__enter__()
    assert everything(folder) == [] and not claims._thread.is_alive()


def test_a_run_signs_off_although_others_can_not_be_looked_for(
    folder: AnyPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise StorageError("it does not answer")

    with claims_on(folder, "node1") as claims:
        monkeypatch.setattr(claims, "look", fail)
    assert everything(folder) == []


def test_an_overwriting_run_leaves_marks_for_others_that_it_has_not_seen(folder: AnyPath) -> None:
    with Claims(folder, on_node("node1", overwrites=True), beat_s=1e6) as first:
        with Claims(folder, on_node("node2", overwrites=True), beat_s=1e6) as second:
            first.take("cam")
            first.end("cam")
            assert not first.others_seen and second.take("cam").is_new
    assert everything(folder) == []


def test_machines_that_can_not_be_told_apart_do_not_judge_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "readlink", refuse)
    me, other = Holder.this_process(), Holder.this_process()
    assert not replace(other, started="1").is_gone_from(me.machine)


def test_only_what_ended_after_an_overwriting_run_began_is_new_to_it(folder: AnyPath) -> None:
    with claims_on(folder, "node1") as first:
        first.others_seen = True
        for name in ("old", "running"):
            first.take(name)
        first.end("old")
        with Claims(folder, on_node("node2", overwrites=True), beat_s=1e6) as second:
            first.end("running")
            assert not second.take("old").is_new
            assert second.take("running").is_new


def test_a_store_that_replaces_what_it_should_refuse_is_not_used(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from raypose.storage.object_store import ObjectStore

    monkeypatch.setattr(ObjectStore, "write_new", ObjectStore.write)
    claims = claims_on(as_path("s3://lab/out/.raypose/claims"), "node1")
    with pytest.raises(StorageError, match="can't refuse to replace"):
        claims.__enter__()
    assert store.keys() == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_an_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OSError):
        claims_on(tmp_path / "claims", "node1").__enter__()
