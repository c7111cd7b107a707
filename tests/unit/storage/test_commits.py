"""Outputs are written whole, with a record, or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from raypose.errors import OutputError
from raypose.storage import commits, records, temporary_files
from raypose.storage.layout import HIDDEN
from raypose.storage.records import record_path
from tests.disk import largest_file
from tests.unit.storage.outputs import PROVENANCE, commit, files_below


@pytest.mark.parametrize("letter", ["x", "é", os.fsdecode(b"\xe9")])
def test_names_of_any_length_that_leaves_room_for_the_record(tmp_path: Path, letter: str) -> None:
    room = 255 - len(".csv.json")
    output = tmp_path / f"{letter * (room // len(os.fsencode(letter)))}.csv"
    commit(output)
    assert records.check(output, PROVENANCE).done
    output.write_text("edited by hand")
    commit(output, "new")  # which backs up the other
    assert records.check(output, PROVENANCE).done
    (replaced,) = (tmp_path / HIDDEN / "replaced").iterdir()
    assert replaced.read_text() == "edited by hand"


class TestCommitting:
    def test_nothing_but_file_and_record_is_left(self, tmp_path: Path) -> None:
        commit(tmp_path / "deep" / "er" / "cam.csv")
        assert files_below(tmp_path) == {"deep/er/cam.csv", f"deep/er/{HIDDEN}/cam.csv.json"}

    def test_temporary_name_keeps_the_suffix_and_stays_hidden(self, tmp_path: Path) -> None:
        with commits.committing(tmp_path / "cam.mp4", PROVENANCE) as temporary:
            assert temporary.suffix == ".mp4"
            assert HIDDEN in temporary.parts
            assert not (tmp_path / "cam.mp4").exists()
            temporary.write_text("x")
        assert (tmp_path / "cam.mp4").read_text() == "x"

    def test_facts_may_be_filled_while_writing(self, tmp_path: Path) -> None:
        stats: dict[str, Any] = {}
        with commits.committing(tmp_path / "cam.csv", PROVENANCE, stats=stats) as temporary:
            temporary.write_text("x")
            stats["n_rows"] = 7
        assert records.check(tmp_path / "cam.csv", PROVENANCE).stats == {"n_rows": 7}

    @pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
    def test_an_error_leaves_nothing(self, tmp_path: Path, error: BaseException) -> None:
        with (
            pytest.raises(type(error)),
            commits.committing(tmp_path / "cam.csv", PROVENANCE) as temporary,
        ):
            temporary.write_text("half")
            raise error
        assert not files_below(tmp_path)

    def test_an_error_keeps_what_was_there(self, tmp_path: Path) -> None:
        output = commit(tmp_path / "cam.csv", "old")
        with pytest.raises(ValueError), commits.committing(output, PROVENANCE) as temporary:
            temporary.write_text("new")
            raise ValueError
        assert output.read_text() == "old"
        assert records.check(output, PROVENANCE).done

    def test_own_output_is_replaced(self, tmp_path: Path) -> None:
        output = commit(commit(tmp_path / "cam.csv", "old"), "new", {**PROVENANCE, "model": "m2"})
        assert output.read_text() == "new"
        assert not list((tmp_path / HIDDEN).glob("replaced/*"))

    def test_untracked_files_are_backed_up(self, tmp_path: Path) -> None:
        output = tmp_path / "cam.csv"
        for text in ("first", "second"):
            record_path(output).unlink(missing_ok=True)
            output.write_text(text)
            commit(output)
        kept = sorted((tmp_path / HIDDEN / "replaced").iterdir())
        assert sorted(path.read_text() for path in kept) == ["first", "second"]
        assert all(path.name.startswith("cam.") and path.suffix == ".csv" for path in kept)

    def test_what_was_corrected_by_hand_is_backed_up(self, tmp_path: Path) -> None:
        output = commit(tmp_path / "cam.csv")
        output.write_text("a,b\n1,9\n")
        commit(output)
        (kept,) = (tmp_path / HIDDEN / "replaced").iterdir()
        assert kept.read_text() == "a,b\n1,9\n"

    def test_an_untracked_folder_is_backed_up(self, tmp_path: Path) -> None:
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
        verdict = records.check(output, PROVENANCE)
        assert verdict.done
        assert verdict.source == f"/v/{name}"

    def test_names_that_are_no_unicode(self, tmp_path: Path) -> None:
        name = os.fsdecode(b"caf\xe9.csv")
        verdict = records.check(commit(tmp_path / name, source=f"/v/{name}"), PROVENANCE)
        assert verdict.done
        assert verdict.source == f"/v/{name}"

    def test_another_run_may_remove_the_empty_folder(self, tmp_path: Path) -> None:
        output = tmp_path / "cam.csv"
        with commits.committing(output, PROVENANCE) as temporary:
            temporary_files.remove_leftovers([tmp_path])
            temporary.write_text("x")
        assert records.check(output, PROVENANCE).done


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
            commits.committing(tmp_path / "cam.csv", PROVENANCE),
            open("/dev/full", "w") as file,
        ):
            file.write("x")
        assert "Free some space" in caught.value.hint
        assert caught.value.path == str(tmp_path / "cam.csv")
        assert not files_below(tmp_path)

    def test_the_message_names_the_output_and_not_the_temporary_file(self, tmp_path: Path) -> None:
        with (
            pytest.raises(OutputError) as caught,
            commits.committing(tmp_path / "cam.csv", PROVENANCE) as temporary,
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
        with pytest.raises(OSError) as caught, commits.committing(tmp_path / "c.csv", PROVENANCE):
            raise OSError(errno.ECONNRESET, "reset")
        assert not isinstance(caught.value, OutputError)
