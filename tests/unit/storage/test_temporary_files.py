"""Temporary files of processes that are gone are removed; others stay."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from raypose.storage import commits, records, temporary_files
from raypose.storage.layout import HIDDEN
from raypose.storage.records import record_path
from tests.unit.storage.outputs import PROVENANCE, commit, files_below

HOST = temporary_files._host()


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def leave(folder: Path, name: str, *, age_s: float = 0.0) -> Path:
    path = folder / HIDDEN / "tmp" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("half")
    then = time.time() - age_s
    os.utime(path, (then, then))
    return path


def test_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from raypose.storage import commits\n"
        "with commits.committing(Path(sys.argv[1]), {}) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    output = tmp_path / "cam.csv"
    subprocess.run([sys.executable, "-c", code, str(output)], check=False)
    assert len(files_below(tmp_path)) == 1
    assert not output.exists()
    temporary_files.remove_leftovers([tmp_path])
    assert not files_below(tmp_path)


def test_of_the_living_are_kept(tmp_path: Path) -> None:
    with commits.committing(tmp_path / "cam.csv", PROVENANCE) as temporary:
        temporary_files.remove_leftovers([tmp_path])
        assert temporary.exists()
        temporary.write_text("x")
    assert (tmp_path / "cam.csv").exists()


def test_of_other_hosts_are_kept_for_a_day(tmp_path: Path) -> None:
    pid = dead_pid()
    new = leave(tmp_path, f"cam.tmp-elsewhere-{pid}-1.csv")
    old = leave(tmp_path, f"cam.tmp-elsewhere-{pid}-2.csv", age_s=25 * 3600)
    temporary_files.remove_leftovers([tmp_path])
    assert (new.exists(), old.exists()) == (True, False)


def test_of_records_are_removed(tmp_path: Path) -> None:
    commit(tmp_path / "cam.csv")
    torn = record_path(tmp_path / "cam.csv")
    torn = torn.with_name(f"{torn.name}.tmp-{HOST}-{dead_pid()}-3")
    torn.write_text("{")
    temporary_files.remove_leftovers([tmp_path])
    assert not torn.exists()
    assert records.check(tmp_path / "cam.csv", PROVENANCE).done


def test_what_is_not_ours_is_kept(tmp_path: Path) -> None:
    mine = leave(tmp_path, "notes.tmp-of-mine.txt", age_s=1e6)
    temporary_files.remove_leftovers([tmp_path, tmp_path / "not there"])
    assert mine.exists()
