"""Files by path or URL: reading, writing, listing, and what goes wrong on the way."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from raypose import storage
from raypose.errors import CancelledError, StorageError
from raypose.storage import AnyPath, as_path, identity_of, object_store
from tests.disk import largest_file
from tests.stores import BUCKET, Fault, Store

BIG = os.urandom(40 << 20)  # three ranges


def fetch(url: AnyPath, target: Path, stop: bool = False) -> bytes:
    assert not isinstance(url, Path)
    object_store.fetch(url, target, identity_of(url), lambda: stop)
    return target.read_bytes()


class TestObjects:
    def test_there_and_back(self, store: Store, tmp_path: Path) -> None:
        local = tmp_path / "local"
        local.write_bytes(BIG)
        url = as_path(f"s3://{BUCKET}/a/b c#?ü.bin")
        assert not isinstance(url, Path)
        assert not storage.exists(url)
        made = storage.store_of(url).put(local, url)
        assert made == identity_of(url)
        assert made.size == len(BIG) and made.as_dict()["etag"]
        assert store.get("a/b c#?ü.bin") == BIG
        assert fetch(url, tmp_path / "copy") == BIG
        assert b"".join(storage.blocks(url)) == BIG

    def test_an_empty_object(self, store: Store, tmp_path: Path) -> None:
        assert fetch(as_path(store.put("empty", b"")), tmp_path / "copy") == b""

    def test_a_changed_object_has_another_mark(self, store: Store) -> None:
        url = as_path(store.put("x", b"one"))
        before = identity_of(url)
        store.put("x", b"two")
        assert identity_of(url) != before

    def test_one_that_is_changed_while_it_comes(self, store: Store, tmp_path: Path) -> None:
        url = as_path(store.put("x", b"one"))
        assert not isinstance(url, Path)
        before = identity_of(url)
        store.put("x", b"two")
        with pytest.raises(StorageError, match=r"s3://lab/x: it was changed"):
            object_store.fetch(url, tmp_path / "copy", before, lambda: False)

    def test_a_stopped_run(self, store: Store, tmp_path: Path) -> None:
        url = as_path(store.put("x", b"one"))
        with pytest.raises(CancelledError):
            fetch(url, tmp_path / "copy", stop=True)

    def test_listing_is_of_one_folder(self, store: Store) -> None:
        for key in ("v/b.mp4", "v/a.mp4", "v/deep/c.mp4", "w/d.mp4"):
            store.put(key, b"x")
        folder = as_path("s3://lab/v")
        names = [str(path) for path in storage.list_files(folder)]
        assert names == ["s3://lab/v/a.mp4", "s3://lab/v/b.mp4"]
        below = [str(path) for path in storage.list_files(folder, recursive=True)]
        assert below == [*names, "s3://lab/v/deep/c.mp4"]
        assert storage.list_files(as_path("s3://lab/none")) == []
        store.put("v/new.mp4", b"x")
        assert len(storage.list_files(folder)) == 3, "listings are not remembered"


class TestLocalFiles:
    def test_errors_name_the_file_and_not_the_temporary_one(self, tmp_path: Path) -> None:
        (tmp_path / "report.html").mkdir()
        with pytest.raises(IsADirectoryError) as caught:
            storage.write_text(tmp_path / "report.html", "text")
        assert caught.value.filename == str(tmp_path / "report.html")
        with largest_file(3), pytest.raises(OSError) as too_large:
            storage.write_text(tmp_path / "x", "text")
        assert (too_large.value.errno, too_large.value.filename) == (
            errno.EFBIG,
            str(tmp_path / "x"),
        )
        assert [path.name for path in tmp_path.iterdir()] == ["report.html"]

    @pytest.mark.parametrize("links", [True, False])
    def test_a_new_file_replaces_none(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
    ) -> None:
        def refuse(*_: object) -> None:
            raise PermissionError(errno.EPERM, "no links on this disk")

        if not links:
            monkeypatch.setattr(os, "link", refuse)
        storage.write_new_text(tmp_path / "x", "one")
        with pytest.raises(FileExistsError):
            storage.write_new_text(tmp_path / "x", "two")
        assert (tmp_path / "x").read_text() == "one"
        assert [path.name for path in tmp_path.iterdir()] == ["x"]


class TestHead:
    @pytest.fixture(params=["local", "object"])
    def path(self, request: pytest.FixtureRequest, store: Store, tmp_path: Path) -> AnyPath:
        local = tmp_path / "x"
        local.write_bytes(b"12345")
        return local if request.param == "local" else as_path(store.put("x", b"12345"))

    def test_the_head(self, path: AnyPath) -> None:
        assert storage.read_head(path, 2) == b"12"
        assert storage.read_head(path, 9) == storage.read_bytes(path) == b"12345"

    def test_the_head_of_an_empty_file(self, path: AnyPath) -> None:
        storage.write_text(path, "")
        assert storage.read_head(path, 9) == b""
        assert storage.read_bytes(path) == b""


def test_local_files_are_listed(tmp_path: Path) -> None:
    for name in ("b", "a", "deep/c"):
        storage.write_text(tmp_path / name, "x")
    (tmp_path / "broken").symlink_to("nowhere")
    (tmp_path / "circle").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert storage.list_files(tmp_path) == [tmp_path / "a", tmp_path / "b"]
    below = storage.list_files(tmp_path, recursive=True)
    assert below == [tmp_path / "a", tmp_path / "b", tmp_path / "deep" / "c"]
    assert storage.list_files(tmp_path / "none") == []


class TestFaults:
    @pytest.mark.parametrize("kind", ["slow down", "reset", "slow"])
    def test_what_passes_is_tried_again(self, store: Store, tmp_path: Path, kind: str) -> None:
        url = as_path(store.put("video.mp4", BIG))
        fault = Fault(kind, "GET /lab/video.mp4", times=2)  # type: ignore[arg-type]
        store.faults.append(fault)
        assert fetch(url, tmp_path / "copy") == BIG
        assert fault.n_done == 2

    @pytest.mark.parametrize("kind", ["slow down", "reset"])
    def test_an_upload_is_tried_again(self, store: Store, tmp_path: Path, kind: str) -> None:
        local = tmp_path / "local"
        local.write_bytes(b"x" * 1000)
        store.faults.append(Fault(kind, "PUT /lab/out.csv", times=2))  # type: ignore[arg-type]
        url = as_path("s3://lab/out.csv")
        storage.store_of(url).put(local, url)
        assert store.get("out.csv") == b"x" * 1000

    def test_a_missing_object(self, store: Store) -> None:
        for url in ("s3://lab/none.mp4", "s3://nobody/none.mp4"):
            with pytest.raises(StorageError, match=f"{url}: there is no such object") as raised:
                storage.read_bytes(as_path(url))
            assert raised.value.hint

    def test_denied_access(self, store: Store) -> None:
        url = as_path(store.put("mine.mp4", b"x"))
        store.faults.append(Fault("denied", "mine", times=99))
        for ask in (storage.read_bytes, identity_of, storage.exists):
            with pytest.raises(StorageError, match=r"s3://lab/mine.mp4: access is denied"):
                ask(url)

    def test_a_store_that_never_answers(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        began = time.monotonic()
        with pytest.raises(StorageError, match=r"can't be reached at http://127.0.0.1:9"):
            storage.read_bytes(as_path("s3://lab/x"))
        assert time.monotonic() - began < 30

    def test_without_credentials(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        monkeypatch.setenv("AWS_REGION", "eu-test-1")  # a store of its own, asked for afresh
        with pytest.raises(StorageError, match="no credentials"):
            storage.read_bytes(as_path("s3://lab/x"))
