"""A worker's copies: held while its task runs, the next one brought meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from raypose.errors import CancelledError, Failure
from raypose.storage import scratch
from raypose.worker.video_check import Staging
from tests.stores import Fault, Store

MB = 1_000_000


@pytest.fixture
def staging() -> Iterator[Staging]:
    made = Staging(lambda: False)
    yield made
    made.close()


def came(store: Store) -> list[str]:
    """Names of the videos that were brought, in order."""
    gets = [r.rpartition("/")[2] for r in store.requests if r.startswith("GET /lab/v/")]
    return list(dict.fromkeys(gets))


def test_a_path_is_used_where_it_is(staging: Staging, tmp_path: Path) -> None:
    scratch.configure(scratch.ScratchSettings(str(tmp_path / "scratch")))
    staging.expect([str(tmp_path / "b.mp4")])
    with staging.task():
        assert staging.local(str(tmp_path / "a.mp4")) == str(tmp_path / "a.mp4")
    assert not (tmp_path / "scratch").exists()


def test_the_next_comes_while_a_task_runs(store: Store, staging: Staging) -> None:
    a, b, c = (store.put(f"v/{name}", name.encode() * MB) for name in "abc")
    staging.expect([a, b, c])
    with staging.task():
        assert Path(staging.local(a)).read_bytes() == b"a" * MB
        store.wait_for(lambda: came(store) == ["a", "b"])
        staging._pool.submit(int).result()  # whatever was to be brought has come
        assert came(store) == ["a", "b"], "one ahead and no more"
    before = len(store.requests)
    with staging.task():
        staging.local(b)
        assert not [r for r in store.requests[before:] if r == "GET /lab/v/b"]
        store.wait_for(lambda: came(store) == ["a", "b", "c"])


def test_all_views_of_the_next_recording_come(store: Store, staging: Staging) -> None:
    a1, a2, b1, b2, c1 = (
        store.put(f"v/{name}", b"x" * 100) for name in ("a1", "a2", "b1", "b2", "c")
    )
    staging.expect([a1, a2, b1, b2, c1])
    with staging.task():
        staging.local(a1)
        staging.local(a2)
        store.wait_for(lambda: came(store) == ["a1", "a2", "b1", "b2"])


def test_what_is_passed_over_is_not_brought(store: Store, staging: Staging) -> None:
    a, b, c, d = (store.put(f"v/{name}", b"x" * 100) for name in "abcd")
    with staging.task():
        staging.local(a)
        staging.expect([a, b, c, d])
        store.wait_for(lambda: came(store) == ["a", "b"])
    with staging.task():
        staging.local(c)
        store.wait_for(lambda: came(store) == ["a", "b", "c", "d"])


def test_what_can_not_be_brought_ahead_fails_in_its_own_task(
    store: Store, staging: Staging
) -> None:
    a = store.put("v/a", b"x" * 100)
    staging.expect([a, "s3://lab/v/none", "s3://lab/v/none2"])
    with staging.task():
        staging.local(a)
    with staging.task(), pytest.raises(Exception, match="s3://lab/v/none: there is no such"):
        staging.local("s3://lab/v/none")


def test_failures_name_the_url(store: Store, staging: Staging) -> None:
    a = store.put("v/a", b"x")
    with staging.task():
        copy = staging.local(a)
        failure = staging.named(Failure("predict", f"can't decode {copy}", copy, "Leave it out."))
        assert (failure.path, failure.message) == (a, f"can't decode {a}")
        assert staging.named(3) == 3


def test_a_stopped_run_waits_for_no_download(store: Store) -> None:
    a = store.put("v/a", b"x" * MB)
    store.faults.append(Fault("slow", "GET /lab/v/a"))
    staging = Staging(lambda: True)
    with staging.task(), pytest.raises(CancelledError):
        staging.local(a)
    staging.close()
