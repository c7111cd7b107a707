"""Identities and digests: what counts as another file, and what is remembered."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from raypose.errors import CancelledError, SmoothingError, TableError
from raypose.storage import as_path, digests, identity_of
from raypose.storage.digests import (
    content_digest,
    digest_of_file,
    digest_of_json,
    digest_of_open,
    known_content,
    remembered_digest,
    verified,
)
from raypose.storage.identity import Identity
from tests.stores import Store


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAYPOSE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "_contents", {})
    return tmp_path / "cache"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"first content")
    return path


def rewrite(path: Path, content: bytes) -> None:
    """New content of equal size in the same file, with the old time of modification."""
    times = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def replace_by_copy(path: Path, content: bytes) -> None:
    """Another file of equal size and time of modification under the same name."""
    other = shutil.copy2(path, path.with_name("other"))
    rewrite(other, content)
    os.replace(other, path)


class TestDigests:
    def test_order_of_keys_does_not_matter(self) -> None:
        assert digest_of_json({"a": 1, "b": [2]}) == digest_of_json({"b": [2], "a": 1})

    def test_content_does(self) -> None:
        assert digest_of_json({"a": 1}) != digest_of_json({"a": 2})
        assert digest_of_json({"a": [1, 2]}) != digest_of_json({"a": [2, 1]})

    def test_of_a_file_larger_than_a_block(self, tmp_path: Path) -> None:
        path = tmp_path / "big"
        path.write_bytes(b"x" * ((1 << 22) + 5))
        before = digest_of_file(path)
        path.write_bytes(b"x" * ((1 << 22) + 4) + b"y")
        assert digest_of_file(path) != before


class TestIdentity:
    @pytest.mark.parametrize("change", [rewrite, replace_by_copy])
    def test_size_and_time_may_be_equal(self, file: Path, change: object) -> None:
        before = identity_of(file)
        assert callable(change)
        change(file, b"other content")
        now = identity_of(file)
        assert now != before
        assert now.looks_like(before)

    def test_touched(self, file: Path) -> None:
        before = identity_of(file)
        os.utime(file, ns=(1, 1))
        assert identity_of(file) != before
        assert not identity_of(file).looks_like(before)

    def test_read_is_no_change(self, file: Path) -> None:
        before = identity_of(file)
        file.read_bytes()
        assert identity_of(file) == before == Identity.of_status(os.stat(file))

    def test_there_and_back(self, file: Path) -> None:
        identity = identity_of(file)
        stored = json.loads(json.dumps({"name": "x", **identity.as_dict()}))
        assert Identity.from_dict(stored) == identity
        assert set(stored) == {"name", "size", "mtime_ns", "ctime_ns", "inode"}

    @pytest.mark.parametrize(
        "values", [{}, {"size": 3}, {"size": "3", "inode": 1}, {"size": 3, "inode": [1]}]
    )
    def test_other_values_are_none(self, values: dict[str, object]) -> None:
        assert Identity.from_dict(values) is None

    def test_of_an_object(self, store: Store) -> None:
        url = as_path(store.put("v/cam.mp4", b"one"))
        before = identity_of(url)
        assert identity_of(url) == before == Identity.from_dict(before.as_dict())
        store.put("v/cam.mp4", b"two")
        assert identity_of(url) != before


class TestRememberedDigest:
    @pytest.mark.parametrize("change", [rewrite, replace_by_copy])
    def test_any_change_is_noticed(self, file: Path, change: object) -> None:
        first = remembered_digest(file)
        assert remembered_digest(file) == first
        assert callable(change)
        change(file, b"other content")
        assert remembered_digest(file) == digests.digest_of_bytes(b"other content") != first

    @pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"[" * 100_000, None])
    def test_a_broken_cache(self, file: Path, cache: Path, content: bytes | None) -> None:
        first = remembered_digest(file)
        (note,) = cache.rglob("*.json")
        note.unlink()
        if content is None:
            os.mkfifo(note)
        else:
            note.write_bytes(content)
        assert remembered_digest(file) == first

    def test_it_is_not_computed_twice(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        first = remembered_digest(file)
        monkeypatch.setattr(digests, "blocks", None)
        assert remembered_digest(file) == first

    def test_a_file_that_changes_meanwhile_is_not_remembered(
        self, file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        blocks = digests.blocks

        def slow(path: Path) -> object:
            yield from blocks(path)
            rewrite(file, b"other content")

        monkeypatch.setattr(digests, "blocks", slow)
        remembered_digest(file)
        assert not list(cache.rglob("*.json"))


class TestContentDigest:
    def test_it_is_remembered(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        identity = identity_of(file)
        assert known_content(str(file), identity) == ""
        digest = content_digest(file, identity)
        monkeypatch.setattr(digests, "_contents", {})  # as in another process
        assert known_content(str(file), identity) == digest
        monkeypatch.setattr(digests, "_xxh3", None)
        assert content_digest(file, identity) == digest

    def test_without_a_cache_this_process_remembers(
        self, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("RAYPOSE_CACHE_DIR", "/proc/none")
        digest = content_digest(file, identity_of(file))
        assert known_content(str(file), identity_of(file)) == digest != ""

    @pytest.mark.parametrize("change", [rewrite, replace_by_copy])
    def test_another_file_has_none(self, file: Path, change: object) -> None:
        identity = identity_of(file)
        assert callable(change)
        change(file, b"other content")
        assert content_digest(file, identity) == ""
        assert content_digest(file, identity_of(file)) != ""

    def test_a_file_that_changes_meanwhile_has_none(
        self, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        identity = identity_of(file)
        digest = digests._xxh3

        def slow(*args: object) -> str:
            rewrite(file, b"other content")
            return digest(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(digests, "_xxh3", slow)
        assert content_digest(file, identity) == ""

    def test_a_replaced_file_that_is_still_open(self, file: Path) -> None:
        expected = content_digest(file, identity_of(file))
        with file.open("rb", buffering=0) as opened:
            identity = identity_of(file)
            os.link(file, file.with_name("kept"))  # else the inode's own times change
            opened_identity = identity_of(file)
            replace_by_copy(file, b"other content")
            assert digest_of_open(opened, None) == expected
            assert digest_of_open(opened, identity) == ""
            assert identity != opened_identity, "a link is a change"

    def test_stopped(self, file: Path) -> None:
        with pytest.raises(CancelledError):
            content_digest(file, identity_of(file), should_stop=lambda: True)

    def test_of_objects_and_their_copies(self, store: Store, tmp_path: Path, file: Path) -> None:
        url = as_path(store.put("v/cam.mp4", b"first content"))
        identity = identity_of(url)
        digest = content_digest(url, identity, copy=file)
        assert digest == content_digest(file, identity_of(file))
        digests._contents.clear()
        shutil.rmtree(tmp_path / "cache")
        assert content_digest(url, identity) == digest, "without a copy"
        store.put("v/cam.mp4", b"other content")
        assert content_digest(url, identity_of(url)) != digest
        digests._contents.clear()
        shutil.rmtree(tmp_path / "cache")
        assert content_digest(url, identity) == ""


class TestVerified:
    def test_the_planned_file(self, file: Path) -> None:
        with verified(file, remembered_digest(file), "the table"):
            assert file.read_bytes() == b"first content"

    def test_another_is_not_read(self, file: Path) -> None:
        digest = remembered_digest(file)
        rewrite(file, b"other content")
        with pytest.raises(TableError) as caught, verified(file, digest, "the table"):
            raise AssertionError("it is read")
        assert str(caught.value) == (
            f"{file}: the table changed after the run was planned. Run the same command again, "
            "once nothing writes to it any more."
        )

    @pytest.mark.parametrize("change", [rewrite, replace_by_copy])
    def test_a_change_while_it_is_read(self, file: Path, change: object) -> None:
        assert callable(change)
        digest = remembered_digest(file)
        with (
            pytest.raises(SmoothingError, match="the calibration changed"),
            verified(file, digest, "the calibration", SmoothingError),
        ):
            change(file, b"other content")

    def test_without_a_plan_any_will_do(self, tmp_path: Path) -> None:
        with verified(tmp_path / "none", "", "the table"):
            pass
