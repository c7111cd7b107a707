"""What counts as done, and what is left behind when a write goes wrong."""

from __future__ import annotations

import errno
import json
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from raypose.errors import OutputError
from raypose.storage import ledger
from raypose.storage.layout import HIDDEN

RECIPE = {"kind": "predictions", "video": "v1", "model": "m1"}


def commit(
    output: Path, text: str = "a,b\n1,2\n", recipe: ledger.Recipe = RECIPE, **values: Any
) -> Path:
    with ledger.committing(output, recipe, **values) as temporary:
        temporary.write_text(text)
    return output


def record_of(output: Path) -> Path:
    return output.parent / HIDDEN / f"{output.name}.json"


def files_below(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


@contextmanager
def largest_file(n_bytes: int) -> Iterator[None]:
    """No file of this process may grow beyond `n_bytes`: a full disk, as it were."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("letter", ["x", "é", os.fsdecode(b"\xe9")])
def test_names_of_any_length_that_leaves_room_for_the_record(tmp_path: Path, letter: str) -> None:
    room = 255 - len(".csv.json")
    output = tmp_path / f"{letter * (room // len(os.fsencode(letter)))}.csv"
    commit(output)
    assert ledger.check(output, RECIPE).done
    output.write_text("edited by hand")
    commit(output, "new")  # which moves the other aside
    assert ledger.check(output, RECIPE).done
    (replaced,) = (tmp_path / HIDDEN / "replaced").iterdir()
    assert replaced.read_text() == "edited by hand"


class TestDigests:
    def test_order_of_keys_does_not_matter(self) -> None:
        assert ledger.digest_of({"a": 1, "b": [2]}) == ledger.digest_of({"b": [2], "a": 1})

    def test_content_does(self) -> None:
        assert ledger.digest_of({"a": 1}) != ledger.digest_of({"a": 2})
        assert ledger.digest_of({"a": [1, 2]}) != ledger.digest_of({"a": [2, 1]})

    def test_of_a_file_larger_than_a_block(self, tmp_path: Path) -> None:
        path = tmp_path / "big"
        path.write_bytes(b"x" * ((1 << 22) + 5))
        before = ledger.digest_file(path)
        path.write_bytes(b"x" * ((1 << 22) + 4) + b"y")
        assert ledger.digest_file(path) != before


class TestCheck:
    def test_committed_is_done(self, tmp_path: Path) -> None:
        output = commit(tmp_path / "cam.csv", source="/videos/cam.mp4", facts={"n_rows": 1})
        verdict = ledger.check(output, RECIPE)
        assert verdict.done
        assert verdict.facts == {"n_rows": 1}
        assert verdict.source == "/videos/cam.mp4"

    def test_missing(self, tmp_path: Path) -> None:
        verdict = ledger.check(tmp_path / "cam.csv", RECIPE)
        assert (verdict.done, verdict.reason) == (False, "missing")

    def test_a_file_that_merely_exists_is_not_done(self, tmp_path: Path) -> None:
        (tmp_path / "cam.csv").write_text("x")
        verdict = ledger.check(tmp_path / "cam.csv", RECIPE)
        assert not verdict.done
        assert verdict.foreign

    def test_deleted_afterwards(self, tmp_path: Path) -> None:
        output = commit(tmp_path / "cam.csv")
        output.unlink()
        assert ledger.check(output, RECIPE).reason == "missing"

    @pytest.mark.parametrize("text", ["a,b\n1", "", "a,b\n1,3\n", "a,b\n1,2\n\n"])
    def test_changed_afterwards(self, tmp_path: Path, text: str) -> None:
        output = commit(tmp_path / "cam.csv")
        output.write_text(text)
        verdict = ledger.check(output, RECIPE)
        assert not verdict.done
        assert "changed" in verdict.reason
        assert not verdict.foreign

    def test_a_copy_with_another_time_is_still_done(self, tmp_path: Path) -> None:
        output = commit(tmp_path / "cam.csv")
        os.utime(output, (1, 1))
        assert ledger.check(output, RECIPE).done

    def test_another_recipe_is_named_by_what_differs(self, tmp_path: Path) -> None:
        output = commit(tmp_path / "cam.csv")
        verdict = ledger.check(output, {**RECIPE, "model": "m2", "precision": "fp16"})
        assert not verdict.done
        assert verdict.changed == ("model", "precision")
        assert "model, precision" in verdict.reason

    @pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"recipe": "x"}', "\udcff"])
    def test_a_broken_record_is_none(self, tmp_path: Path, text: str) -> None:
        output = commit(tmp_path / "cam.csv")
        record_of(output).write_text(text, errors="surrogateescape")
        assert ledger.check(output, RECIPE).foreign

    def test_record_of_another_file_does_not_do(self, tmp_path: Path) -> None:
        a, b = commit(tmp_path / "a.csv"), commit(tmp_path / "b.csv", "other\n")
        a.write_bytes(b.read_bytes())
        assert not ledger.check(a, RECIPE).done


class TestCommitting:
    def test_nothing_but_file_and_record_is_left(self, tmp_path: Path) -> None:
        commit(tmp_path / "deep" / "er" / "cam.csv")
        assert files_below(tmp_path) == {"deep/er/cam.csv", f"deep/er/{HIDDEN}/cam.csv.json"}

    def test_temporary_name_keeps_the_suffix_and_stays_hidden(self, tmp_path: Path) -> None:
        with ledger.committing(tmp_path / "cam.mp4", RECIPE) as temporary:
            assert temporary.suffix == ".mp4"
            assert HIDDEN in temporary.parts
            assert not (tmp_path / "cam.mp4").exists()
            temporary.write_text("x")
        assert (tmp_path / "cam.mp4").read_text() == "x"

    def test_facts_may_be_filled_while_writing(self, tmp_path: Path) -> None:
        facts: dict[str, Any] = {}
        with ledger.committing(tmp_path / "cam.csv", RECIPE, facts=facts) as temporary:
            temporary.write_text("x")
            facts["n_rows"] = 7
        assert ledger.check(tmp_path / "cam.csv", RECIPE).facts == {"n_rows": 7}

    @pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
    def test_an_error_leaves_nothing(self, tmp_path: Path, error: BaseException) -> None:
        with (
            pytest.raises(type(error)),
            ledger.committing(tmp_path / "cam.csv", RECIPE) as temporary,
        ):
            temporary.write_text("half")
            raise error
        assert not files_below(tmp_path)

    def test_an_error_keeps_what_was_there(self, tmp_path: Path) -> None:
        output = commit(tmp_path / "cam.csv", "old")
        with pytest.raises(ValueError), ledger.committing(output, RECIPE) as temporary:
            temporary.write_text("new")
            raise ValueError
        assert output.read_text() == "old"
        assert ledger.check(output, RECIPE).done

    def test_own_output_is_replaced(self, tmp_path: Path) -> None:
        output = commit(commit(tmp_path / "cam.csv", "old"), "new", {**RECIPE, "model": "m2"})
        assert output.read_text() == "new"
        assert not list((tmp_path / HIDDEN).glob("replaced/*"))

    def test_foreign_files_are_moved_aside(self, tmp_path: Path) -> None:
        output = tmp_path / "cam.csv"
        for text in ("first", "second"):
            record_of(output).unlink(missing_ok=True)
            output.write_text(text)
            commit(output)
        kept = sorted((tmp_path / HIDDEN / "replaced").iterdir())
        assert sorted(path.read_text() for path in kept) == ["first", "second"]
        assert all(path.name.startswith("cam.") and path.suffix == ".csv" for path in kept)

    def test_what_was_corrected_by_hand_is_moved_aside(self, tmp_path: Path) -> None:
        output = commit(tmp_path / "cam.csv")
        output.write_text("a,b\n1,9\n")
        commit(output)
        (kept,) = (tmp_path / HIDDEN / "replaced").iterdir()
        assert kept.read_text() == "a,b\n1,9\n"

    def test_a_foreign_folder_is_moved_aside(self, tmp_path: Path) -> None:
        (tmp_path / "cam.csv").mkdir()
        (tmp_path / "cam.csv" / "note").write_text("mine")
        commit(tmp_path / "cam.csv")
        (kept,) = (tmp_path / HIDDEN / "replaced").glob("*/note")
        assert kept.read_text() == "mine"

    def test_the_target_of_a_link_is_not_written_to(self, tmp_path: Path) -> None:
        (tmp_path / "original").write_text("theirs")
        (tmp_path / "cam.csv").symlink_to("original")
        commit(tmp_path / "cam.csv")
        assert (tmp_path / "original").read_text() == "theirs"
        assert not (tmp_path / "cam.csv").is_symlink()

    @pytest.mark.parametrize(
        "name", ["a b.csv", "-x.csv", 'it\'s "q".csv', "naïve ☃.csv", "a.b.c.csv", "a\nb.csv"]
    )
    def test_names_of_any_kind(self, tmp_path: Path, name: str) -> None:
        output = commit(tmp_path / name, source=f"/v/{name}")
        verdict = ledger.check(output, RECIPE)
        assert verdict.done
        assert verdict.source == f"/v/{name}"

    def test_names_that_are_no_unicode(self, tmp_path: Path) -> None:
        name = os.fsdecode(b"caf\xe9.csv")
        verdict = ledger.check(commit(tmp_path / name, source=f"/v/{name}"), RECIPE)
        assert verdict.done
        assert verdict.source == f"/v/{name}"

    def test_another_run_may_remove_the_empty_folder(self, tmp_path: Path) -> None:
        output = tmp_path / "cam.csv"
        with ledger.committing(output, RECIPE) as temporary:
            ledger.remove_leftovers([tmp_path])
            temporary.write_text("x")
        assert ledger.check(output, RECIPE).done


class TestCannotWrite:
    def test_a_file_where_a_folder_is_needed(self, tmp_path: Path) -> None:
        (tmp_path / "video_preds").write_text("in the way")
        with pytest.raises(OutputError, match=r"not a directory|directory is needed") as caught:
            commit(tmp_path / "video_preds" / "cam.csv")
        assert str(tmp_path / "video_preds") in caught.value.path
        assert (tmp_path / "video_preds").read_text() == "in the way"

    def test_no_permission(self) -> None:
        # Not even root may make files there.
        with pytest.raises(OutputError) as caught:
            commit(Path("/proc/1/cam.csv"))
        assert caught.value.hint

    @pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
    def test_a_folder_that_may_not_be_written_to(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o500)
        with pytest.raises(OutputError, match="permission denied"):
            commit(tmp_path / "cam.csv")
        tmp_path.chmod(0o700)

    def test_full_disk(self, tmp_path: Path) -> None:
        with (
            pytest.raises(OutputError, match="the disk is full") as caught,
            ledger.committing(tmp_path / "cam.csv", RECIPE),
            open("/dev/full", "w") as file,
        ):
            file.write("x")
        assert "Free some space" in caught.value.hint
        assert caught.value.path == str(tmp_path / "cam.csv")
        assert not files_below(tmp_path)

    def test_the_message_names_the_output_and_not_the_temporary_file(self, tmp_path: Path) -> None:
        with (
            pytest.raises(OutputError) as caught,
            ledger.committing(tmp_path / "cam.csv", RECIPE) as temporary,
        ):
            raise OSError(errno.ENOSPC, "no space", str(temporary))
        assert caught.value.path == str(tmp_path / "cam.csv")

    def test_file_too_large(self, tmp_path: Path) -> None:
        with largest_file(1000), pytest.raises(OutputError, match="too large"):
            commit(tmp_path / "cam.csv", "x" * 2000)
        assert not files_below(tmp_path)

    def test_name_too_long(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match="name is too long"):
            commit(tmp_path / f"{'x' * 250}.csv")

    def test_other_errors_of_the_system_stay_what_they_are(self, tmp_path: Path) -> None:
        with pytest.raises(OSError) as caught, ledger.committing(tmp_path / "c.csv", RECIPE):
            raise OSError(errno.ECONNRESET, "reset")
        assert not isinstance(caught.value, OutputError)


class TestLeftovers:
    HOST = "".join(c if c.isascii() and c.isalnum() else "_" for c in socket.gethostname())

    @staticmethod
    def dead_pid() -> int:
        process = subprocess.Popen([sys.executable, "-c", ""])
        process.wait()
        return process.pid

    def leave(self, folder: Path, name: str, *, age_s: float = 0.0) -> Path:
        path = folder / HIDDEN / "tmp" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half")
        then = time.time() - age_s
        os.utime(path, (then, then))
        return path

    def test_of_a_killed_process_are_removed(self, tmp_path: Path) -> None:
        code = (
            "import os, signal, sys; from pathlib import Path; from raypose import ledger\n"
            "with ledger.committing(Path(sys.argv[1]), {}) as temporary:\n"
            "    temporary.write_text('half')\n"
            "    os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        output = tmp_path / "cam.csv"
        subprocess.run([sys.executable, "-c", code, str(output)], check=False)
        assert len(files_below(tmp_path)) == 1
        assert not output.exists()
        assert ledger.remove_leftovers([tmp_path]) == 1
        assert not files_below(tmp_path)

    def test_of_the_living_are_kept(self, tmp_path: Path) -> None:
        with ledger.committing(tmp_path / "cam.csv", RECIPE) as temporary:
            assert ledger.remove_leftovers([tmp_path]) == 0
            temporary.write_text("x")
        assert (tmp_path / "cam.csv").exists()

    def test_of_other_hosts_are_kept_for_a_day(self, tmp_path: Path) -> None:
        pid = self.dead_pid()
        new = self.leave(tmp_path, f"cam.tmp-elsewhere-{pid}-1.csv")
        old = self.leave(tmp_path, f"cam.tmp-elsewhere-{pid}-2.csv", age_s=25 * 3600)
        assert ledger.remove_leftovers([tmp_path]) == 1
        assert (new.exists(), old.exists()) == (True, False)

    def test_of_records_are_removed(self, tmp_path: Path) -> None:
        commit(tmp_path / "cam.csv")
        torn = record_of(tmp_path / "cam.csv")
        torn = torn.with_name(f"{torn.name}.tmp-{self.HOST}-{self.dead_pid()}-3")
        torn.write_text("{")
        assert ledger.remove_leftovers([tmp_path]) == 1
        assert ledger.check(tmp_path / "cam.csv", RECIPE).done

    def test_what_is_not_ours_is_kept(self, tmp_path: Path) -> None:
        mine = self.leave(tmp_path, "notes.tmp-of-mine.txt", age_s=1e6)
        assert ledger.remove_leftovers([tmp_path, tmp_path / "not there"]) == 0
        assert mine.exists()


class TestRunLog:
    def test_events_come_back_in_order(self, tmp_path: Path) -> None:
        log = ledger.RunLog(tmp_path / "run")
        log.event("planned", n=3, path=tmp_path)
        log.event("ended", name="☃", other=os.fsdecode(b"caf\xe9"))
        log.close()
        first, second = ledger.read_events(tmp_path / "run")
        assert (first["event"], first["n"], first["path"]) == ("planned", 3, str(tmp_path))
        assert (second["name"], second["other"]) == ("☃", os.fsdecode(b"caf\xe9"))
        assert first["time"] <= second["time"]

    def test_events_are_on_disk_at_once(self, tmp_path: Path) -> None:
        log = ledger.RunLog(tmp_path)
        log.event("planned")
        assert [e["event"] for e in ledger.read_events(tmp_path)] == ["planned"]
        log.close()

    @pytest.mark.parametrize("torn", [b'{"event": "tas', '{"name": "☃'.encode()[:-1]])
    def test_a_torn_line_is_left_out_and_costs_no_other(self, tmp_path: Path, torn: bytes) -> None:
        log = ledger.RunLog(tmp_path)
        log.event("first")
        log.close()
        with (tmp_path / "events.jsonl").open("ab") as file:
            file.write(torn)
        assert [e["event"] for e in ledger.read_events(tmp_path)] == ["first"]
        log = ledger.RunLog(tmp_path)
        log.event("second")
        log.close()
        assert [e["event"] for e in ledger.read_events(tmp_path)] == ["first", "second"]

    def test_run_json(self, tmp_path: Path) -> None:
        log = ledger.RunLog(tmp_path)
        log.describe({"videos": [Path("/v/☃.mp4")]})
        log.close()
        assert ledger.read_run(tmp_path) == {"videos": ["/v/☃.mp4"]}
        assert json.loads((tmp_path / "run.json").read_text())
        assert ledger.read_run(tmp_path / "not there") == {}

    def test_a_place_that_is_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "run").write_text("x")
        with pytest.raises(OutputError, match="--run-dir"):
            ledger.RunLog(tmp_path / "run")

    def test_full_disk(self, tmp_path: Path) -> None:
        (tmp_path / "events.jsonl").symlink_to("/dev/full")
        log = ledger.RunLog(tmp_path)
        with pytest.raises(OutputError, match="the disk is full") as caught:
            log.event("planned")
        assert caught.value.path == str(tmp_path / "events.jsonl")
        with pytest.raises(OutputError):
            log.close()

    def test_what_is_no_run(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match="not the directory of a run"):
            list(ledger.read_events(tmp_path))
