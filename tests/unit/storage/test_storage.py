"""Paths and URLs alike: names, reading, writing, listing, and what goes wrong on the way."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from raypose import storage
from raypose.errors import CancelledError, StorageError, UsageError
from raypose.storage import AnyPath, as_path, is_url
from tests.stores import BUCKET, Fault, Store

BIG = os.urandom(40 << 20)  # three ranges


def fetch(url: AnyPath, target: Path, stop: bool = False) -> bytes:
    assert not isinstance(url, Path)
    storage.fetch(url, target, storage.stat(url), lambda: stop)
    return target.read_bytes()


class TestNames:
    def test_what_is_a_url(self) -> None:
        assert is_url("s3://b/x") and is_url("gs://b/x") and is_url("S3://b/x")
        for local in ("/a/b", "a", "file:///a", "10:00:00/x", "models:/x", "C:x", "./s3:x"):
            assert not is_url(local), local

    def test_a_file_url_is_a_path(self) -> None:
        assert as_path("file:///data/my%20videos/a.mp4") == Path("/data/my videos/a.mp4")
        assert as_path("file://localhost/data") == Path("/data")
        odd = Path(os.fsdecode(b"/data/m\xff %5"))
        assert as_path(odd.as_uri()) == odd
        assert as_path("~/x") == Path.home() / "x"
        assert as_path("x") == Path.cwd() / "x"

    def test_a_url_has_the_methods_of_a_path(self) -> None:
        url = as_path("s3://lab/day 1/#1 ü?.mp4")
        assert (url.name, url.stem, url.suffix) == ("#1 ü?.mp4", "#1 ü?", ".mp4")
        assert str(url.parent / "x") == "s3://lab/day 1/x"
        assert str(as_path("s3://lab/day/")) == "s3://lab/day"

    def test_a_slash_that_pathlib_swallowed(self) -> None:
        assert str(as_path(Path("s3://lab/out"))) == "s3://lab/out"

    @pytest.mark.parametrize("text", ["http://host/x", "abfs://c/x"])
    def test_a_url_of_another_kind(self, text: str) -> None:
        with pytest.raises(UsageError, match="knows no"):
            as_path(text)

    def test_credentials_in_a_url_are_refused_and_not_repeated(self) -> None:
        with pytest.raises(UsageError) as raised:
            as_path("s3://AKIA:hunter2@lab/x")
        assert "hunter2" not in str(raised.value)


class TestObjects:
    def test_there_and_back(self, store: Store, tmp_path: Path) -> None:
        local = tmp_path / "local"
        local.write_bytes(BIG)
        url = as_path(f"s3://{BUCKET}/a/b c#?ü.bin")
        assert not isinstance(url, Path)
        assert not storage.exists(url)
        made = storage.put(local, url)
        assert made == storage.stat(url)
        assert made.size == len(BIG) and made.mark["etag"]
        assert store.get("a/b c#?ü.bin") == BIG
        assert fetch(url, tmp_path / "copy") == BIG
        assert b"".join(storage.blocks(url)) == BIG

    def test_an_empty_object(self, store: Store, tmp_path: Path) -> None:
        assert fetch(as_path(store.put("empty", b"")), tmp_path / "copy") == b""

    def test_a_changed_object_has_another_mark(self, store: Store) -> None:
        url = as_path(store.put("x", b"one"))
        before = storage.stat(url)
        store.put("x", b"two")
        assert storage.stat(url) != before

    def test_one_that_is_changed_while_it_comes(self, store: Store, tmp_path: Path) -> None:
        url = as_path(store.put("x", b"one"))
        assert not isinstance(url, Path)
        before = storage.stat(url)
        store.put("x", b"two")
        with pytest.raises(StorageError, match=r"s3://lab/x: it was changed"):
            storage.fetch(url, tmp_path / "copy", before, lambda: False)

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
        assert not isinstance(url, Path)
        storage.put(local, url)
        assert store.get("out.csv") == b"x" * 1000

    def test_a_missing_object(self, store: Store) -> None:
        for url in ("s3://lab/none.mp4", "s3://nobody/none.mp4"):
            with pytest.raises(StorageError, match=f"{url}: there is no such object") as raised:
                storage.read_bytes(as_path(url))
            assert raised.value.hint

    def test_denied_access(self, store: Store) -> None:
        url = as_path(store.put("mine.mp4", b"x"))
        store.faults.append(Fault("denied", "mine", times=99))
        for ask in (storage.read_bytes, storage.stat, storage.exists):
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
