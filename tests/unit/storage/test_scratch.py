"""Copies of objects on local disk: shared, bounded, and removed when no process holds them."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from raypose.errors import CancelledError, OutputError, StorageError, VideoError
from raypose.storage import as_path
from raypose.storage.scratch import Scratch, ScratchSettings
from tests.stores import Fault, Store

MB = 1_000_000


def copies(root: Path) -> list[Path]:
    """Copies, whole or in part, and outputs on their way."""
    kinds = (".mp4", ".part", ".csv")
    return [path for path in root.rglob("*") if path.suffix in kinds]


def gets(store: Store, name: str) -> int:
    return sum(request.startswith(f"GET /lab/{name}") for request in store.requests)


def telling(event: threading.Event) -> Callable[[], bool]:
    """A `should_stop` that tells when it is asked, as what waits for room or for a copy does."""

    def should_stop() -> bool:
        event.set()
        return False

    return should_stop


def test_a_copy_is_shared_and_goes_with_the_run(store: Store, tmp_path: Path) -> None:
    url = as_path(store.put("a.mp4", b"x" * MB))
    one = Scratch(ScratchSettings(str(tmp_path), run="r"))
    two = Scratch(ScratchSettings(str(tmp_path), run="r"))
    with one.copy_of(url) as first, two.copy_of(url) as second:
        assert first == second
        assert first.read_bytes() == b"x" * MB
    with one.copy_of(url):
        assert gets(store, "a.mp4") == 1
    one.close()
    assert copies(tmp_path) == [first], "the other process is still there"
    two.close()
    assert copies(tmp_path) == []


def test_many_at_once_download_it_once(store: Store, tmp_path: Path) -> None:
    url = as_path(store.put("a.mp4", b"x" * MB))
    store.faults.append(Fault("slow", "GET /lab/a.mp4"))
    scratch = Scratch(ScratchSettings(str(tmp_path)))
    seen = []

    def use() -> None:
        with scratch.copy_of(url) as copy:
            seen.append(copy.stat().st_size)

    threads = [threading.Thread(target=use) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [MB] * 6
    assert gets(store, "a.mp4") == 1
    scratch.close()


def test_a_copy_that_another_process_has_made_meanwhile_is_shared(
    store: Store, tmp_path: Path
) -> None:
    """One waits because there is no copy; another makes it, and goes on using it."""
    url = as_path(store.put("a.mp4", b"x" * MB))
    scratch = Scratch(ScratchSettings(str(tmp_path)))
    with scratch.copy_of(url) as copy:
        made = copy.rename(copy.with_suffix(".made"))
    waits, came = threading.Event(), threading.Event()

    def use() -> None:
        with scratch.copy_of(url, should_stop=telling(waits)):
            came.set()

    with copy.with_name(f"{copy.name}.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        thread = threading.Thread(target=use)
        thread.start()
        assert waits.wait(10) and not came.is_set(), "there is no copy"
        made.rename(copy)
        assert came.wait(10), "it waits for the other one to be done"
    thread.join()
    assert gets(store, "a.mp4") == 1
    scratch.close()


def test_a_changed_object_is_another_copy(store: Store, tmp_path: Path) -> None:
    scratch = Scratch(ScratchSettings(str(tmp_path)))
    url = as_path(store.put("a.mp4", b"one"))
    with scratch.copy_of(url) as copy:
        assert copy.read_bytes() == b"one"
    store.put("a.mp4", b"two")
    with scratch.copy_of(url) as copy:
        assert copy.read_bytes() == b"two"
    scratch.close()


class TestRoom:
    def test_the_least_recently_used_is_evicted(self, store: Store, tmp_path: Path) -> None:
        urls = [as_path(store.put(f"{name}.mp4", name.encode() * MB)) for name in "abc"]
        scratch = Scratch(ScratchSettings(str(tmp_path), limit_bytes=2 * MB + MB // 2))
        for url in (urls[0], urls[1], urls[0], urls[2]):
            with scratch.copy_of(url):
                assert sum(path.stat().st_size for path in copies(tmp_path)) <= 2.5 * MB
        for url in (urls[0], urls[2]):
            with scratch.copy_of(url):
                pass
        assert [gets(store, f"{name}.mp4") for name in "abc"] == [1, 1, 1]
        with scratch.copy_of(urls[1]):
            assert gets(store, "b.mp4") == 2
        scratch.close()

    def test_one_waits_for_another_to_let_go(self, store: Store, tmp_path: Path) -> None:
        urls = [as_path(store.put(f"{name}.mp4", b"x" * MB)) for name in "ab"]
        scratch = Scratch(ScratchSettings(str(tmp_path), limit_bytes=MB + MB // 2))
        order, waits = [], threading.Event()

        def use() -> None:
            with scratch.copy_of(urls[1], should_stop=telling(waits)):
                order.append("b")

        with scratch.copy_of(urls[0]):
            with pytest.raises(StorageError, match="lacks"), scratch.copy_of(urls[1], wait=False):
                pass
            thread = threading.Thread(target=use)
            thread.start()
            assert waits.wait(10) and gets(store, "b.mp4") == 0
            order.append("a")
        thread.join()
        assert order == ["a", "b"]
        scratch.close()

    def test_one_waits_for_outgoing_outputs(self, store: Store, tmp_path: Path) -> None:
        url = as_path(store.put("a.mp4", b"x" * MB))
        scratch = Scratch(ScratchSettings(str(tmp_path), limit_bytes=MB + MB // 2))
        leaving = scratch.outgoing / "t.csv"
        leaving.write_bytes(b"x" * MB)
        downloads = []

        def should_stop() -> bool:
            downloads.append(gets(store, "a.mp4"))
            leaving.unlink(missing_ok=True)
            return False

        with scratch.copy_of(url, should_stop=should_stop):
            assert downloads[0] == 0, "it was asked while it waited"
        scratch.close()

    def test_one_does_not_wait_for_its_own_copies(self, store: Store, tmp_path: Path) -> None:
        urls = [as_path(store.put(f"{name}.mp4", b"x" * MB)) for name in "ab"]
        scratch = Scratch(ScratchSettings(str(tmp_path), limit_bytes=MB + MB // 2))
        with scratch.copy_of(urls[0]), pytest.raises(StorageError, match=r"b\.mp4.*lacks 0\.0 GB"):
            with scratch.copy_of(urls[1]):
                pass
        scratch.close()

    def test_an_object_that_never_fits(self, store: Store, tmp_path: Path) -> None:
        url = as_path(store.put("a.mp4", b"x" * MB))
        scratch = Scratch(ScratchSettings(str(tmp_path), limit_bytes=1000))
        with pytest.raises(StorageError, match=r"s3://lab/a\.mp4.*--scratch-gb"):
            with scratch.copy_of(url):
                pass
        assert copies(tmp_path) == []
        scratch.close()


class TestTrouble:
    def test_a_download_that_fails_leaves_nothing(self, store: Store, tmp_path: Path) -> None:
        url = as_path(store.put("a.mp4", b"x" * MB))
        store.faults.append(Fault("denied", "GET /lab/a.mp4", times=99))
        scratch = Scratch(ScratchSettings(str(tmp_path)))
        with pytest.raises(StorageError, match="denied"), scratch.copy_of(url):
            pass
        assert copies(tmp_path) == []
        store.faults.clear()
        with scratch.copy_of(url) as copy:
            assert copy.stat().st_size == MB
        scratch.close()

    def test_a_stopped_run(self, store: Store, tmp_path: Path) -> None:
        url = as_path(store.put("a.mp4", b"x" * MB))
        scratch = Scratch(ScratchSettings(str(tmp_path)))
        with pytest.raises(CancelledError), scratch.copy_of(url, should_stop=lambda: True):
            pass
        assert copies(tmp_path) == []
        scratch.close()

    def test_errors_name_the_url(self, store: Store, tmp_path: Path) -> None:
        url = as_path(store.put("a.mp4", b"no video"))
        scratch = Scratch(ScratchSettings(str(tmp_path)))
        with pytest.raises(VideoError) as raised, scratch.copy_of(url) as copy:
            raise VideoError("is no video", path=copy, hint="Leave it out.")
        assert str(raised.value) == "s3://lab/a.mp4: is no video. Leave it out."
        scratch.close()

    def test_a_killed_run_is_swept_and_a_living_one_is_not(
        self, store: Store, tmp_path: Path
    ) -> None:
        url = store.put("a.mp4", b"x" * MB)
        code = (
            "import sys; from raypose.storage.scratch import Scratch, ScratchSettings\n"
            "from raypose.storage import as_path\n"
            "scratch = Scratch(ScratchSettings(sys.argv[1], run='killed'))\n"
            "with scratch.copy_of(as_path(sys.argv[2])) as copy:\n"
            "    (scratch.outgoing / 'half.csv').write_text('1,2'); print(copy, flush=True)\n"
            "    sys.stdin.read()"
        )
        command = [sys.executable, "-c", code, str(tmp_path), url]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
            assert process.stdout is not None
            copy = Path(process.stdout.readline().strip())
            Scratch(ScratchSettings(str(tmp_path), run="another")).close()
            assert copy.stat().st_size == MB
            process.kill()
        assert len(copies(tmp_path)) == 2
        Scratch(ScratchSettings(str(tmp_path), run="another")).close()
        assert copies(tmp_path) == []


class TestOwner:
    """The directory's name is known to everyone who shares the temporary directory."""

    @pytest.fixture
    def base(self, tmp_path: Path) -> Path:
        Scratch(ScratchSettings(str(tmp_path))).close()
        (base,) = tmp_path.iterdir()
        return base

    def refused(self, base: Path) -> bool:
        reason = "it is not a directory of this user"
        with pytest.raises(OutputError, match=rf"{base.name}: .*{reason}.*--scratch-dir"):
            Scratch(ScratchSettings(str(base.parent)))
        return True

    def test_no_one_else_may_enter_it(self, base: Path) -> None:
        assert base.stat().st_mode & 0o777 == 0o700

    def test_one_that_others_can_enter_is_closed_to_them(self, base: Path) -> None:
        base.chmod(0o770)
        Scratch(ScratchSettings(str(base.parent))).close()
        assert base.stat().st_mode & 0o777 == 0o700

    def test_another_users_is_refused(self, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        theirs = base.rename(base.with_name(f"raypose-{os.getuid() + 1}"))
        monkeypatch.setattr(os, "getuid", lambda: theirs.stat().st_uid + 1)
        assert self.refused(theirs)

    def test_a_link_is_refused(self, base: Path, tmp_path: Path) -> None:
        base.rename(tmp_path / "elsewhere")
        base.symlink_to(tmp_path / "elsewhere")
        assert self.refused(base)
