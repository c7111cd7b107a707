"""Commits and checks of outputs in an object store."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from raypose.errors import StorageError
from raypose.steps.ranges import finished_ranges, read_range, remove_ranges, write_range
from raypose.storage import AnyPath, as_path, commits, records, scratch
from tests.frames import make_frames
from tests.stores import Fault, Store

PROVENANCE = {"kind": "predictions", "video": "v"}
URL = "s3://lab/out/m/video_preds/cam.csv"
KEY = "out/m/video_preds/cam.csv"
RECORD = "out/m/video_preds/.raypose/cam.csv.json"


def commit(text: str, url: str = URL) -> None:
    with commits.committing(as_path(url), PROVENANCE, source="s3://lab/cam.mp4") as temporary:
        temporary.write_text(text)


def in_scratch() -> list[Path]:
    return list(scratch.current().outgoing.iterdir())


def test_the_output_is_one_put_and_the_record_comes_after_it(store: Store) -> None:
    commit("1,2\n")
    puts = [request for request in store.requests if request.startswith(("PUT", "POST"))]
    assert puts == [f"PUT /lab/{KEY}", f"PUT /lab/{RECORD}"]
    assert store.get(KEY) == b"1,2\n"
    assert store.keys() == [RECORD, KEY]
    assert in_scratch() == []
    status = records.check(as_path(URL), PROVENANCE)
    assert status.done and status.source == "s3://lab/cam.mp4"
    assert json.loads(store.get(RECORD))["etag"]


def test_a_check_asks_for_single_objects(store: Store) -> None:
    commit("1,2\n")
    store.requests.clear()
    assert records.check(as_path(URL), PROVENANCE).done
    assert store.requests == [f"GET /lab/{RECORD}", f"HEAD /lab/{KEY}"]
    store.requests.clear()
    assert (
        records.check(as_path("s3://lab/out/m/video_preds/b.csv"), PROVENANCE).reason == "missing"
    )
    lists = [request for request in store.requests if "list-type" in request]
    assert all("prefix=out%2Fm%2Fvideo_preds%2Fb.csv%2F" in r for r in lists), lists


def test_an_upload_that_fails_leaves_nothing(store: Store) -> None:
    store.faults.append(Fault("denied", "PUT", times=99))
    with pytest.raises(StorageError, match=f"{URL}: access is denied"):
        commit("1,2\n")
    assert store.keys() == [] and in_scratch() == []


def test_a_block_that_fails_leaves_nothing(store: Store) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        commits.committing(as_path(URL), PROVENANCE) as temporary,
    ):
        temporary.write_text("half")
        raise ZeroDivisionError
    assert store.keys() == [] and in_scratch() == []


def test_an_object_without_its_record_is_not_done(store: Store) -> None:
    store.faults.append(Fault("denied", f"PUT /lab/{RECORD}", times=99))
    with pytest.raises(StorageError):
        commit("1,2\n")
    assert store.keys() == [KEY]
    assert records.check(as_path(URL), PROVENANCE).untracked


@pytest.mark.parametrize("content", [b"1,", b"1,3\n", b""])
def test_an_object_that_is_not_what_was_committed(store: Store, content: bytes) -> None:
    commit("1,2\n")
    store.put(KEY, content)
    status = records.check(as_path(URL), PROVENANCE)
    assert not status.done and "changed" in status.reason


def test_the_same_bytes_uploaded_again_are_done(store: Store, tmp_path: Path) -> None:
    """As after a copy to another bucket by parts, which changes the ETag."""
    commit("1,2\n")
    record = json.loads(store.get(RECORD))
    store.put(RECORD, json.dumps({**record, "etag": "another-2"}).encode())
    assert records.check(as_path(URL), PROVENANCE).done


def test_what_is_somebody_elses_is_kept(store: Store) -> None:
    store.put(KEY, b"by hand\n")
    commit("1,2\n")
    (kept,) = store.keys("out/m/video_preds/.raypose/replaced/")
    assert store.get(kept) == b"by hand\n"
    assert store.get(KEY) == b"1,2\n"
    commit("3,4\n")
    assert len(store.keys("out/m/video_preds/.raypose/replaced/")) == 1


def test_a_store_that_denies_is_not_a_store_without_outputs(store: Store) -> None:
    store.faults.append(Fault("denied", "lab/out", times=99))
    with pytest.raises(StorageError, match="denied"):
        records.check(as_path(URL), PROVENANCE)


def test_finished_ranges(store: Store) -> None:
    folder: AnyPath = as_path("s3://lab/out/m/video_preds/.raypose/ranges/cam")
    values = np.arange(60, dtype=np.float32).reshape(10, 2, 3)
    write_range(folder, 0, values, PROVENANCE, frames=make_frames(10, missing=[4]), source="")
    write_range(folder, 20, values, PROVENANCE, frames=make_frames(10, first=20), source="")
    found = finished_ranges(folder, PROVENANCE)
    assert [(start, stop) for start, stop, _ in found] == [(0, 10), (20, 30)]
    got, frames = read_range(as_path(found[0][2]))
    np.testing.assert_array_equal(got, values)
    assert frames.counts == {"ok": 9, "missing": 1}
    assert finished_ranges(folder, {"kind": "another"}) == ()
    store.put("out/m/video_preds/.raypose/ranges/cam2/x", b"another video's")
    remove_ranges(folder)
    assert store.keys() == ["out/m/video_preds/.raypose/ranges/cam2/x"]
