"""What the doctor says of cores, packages, limits and disks."""

from __future__ import annotations

import resource
import shutil
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from raypose.doctor import machine
from raypose.doctor.findings import Asked

ASKED = Asked()


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def disk(monkeypatch: pytest.MonkeyPatch, total_gb: float, free_gb: float) -> None:
    usage = Usage(int(total_gb * 1e9), int((total_gb - free_gb) * 1e9), int(free_gb * 1e9))
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)


def test_a_machine_with_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "usable_memory", lambda: 2 * 10**9)
    found = machine.check_machine(ASKED)
    assert found.status == "warning"
    assert "2.0 GB of memory" in found.found
    assert "--inline" in found.advice


def test_packages_of_this_environment_fit() -> None:
    found = machine.check_packages(ASKED)
    assert found.status == "ok", found.found
    assert found.facts["versions"]["numpy"] == metadata.version("numpy")


@pytest.mark.parametrize(
    ("requirement", "words"),
    [
        ("numpy<1", f"numpy {metadata.version('numpy')} is not <1"),
        ("no-such-package>=2", "no-such-package is missing"),
    ],
)
def test_packages_that_do_not_fit(
    monkeypatch: pytest.MonkeyPatch, requirement: str, words: str
) -> None:
    monkeypatch.setattr(metadata, "requires", lambda name: [requirement, "numpy"])
    found = machine.check_packages(ASKED)
    assert (found.status, found.found) == ("problem", words)
    assert found.advice


def test_extras_need_not_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "requires", lambda name: ['no-such-package; extra == "s3"'])
    assert machine.check_packages(ASKED).status == "ok"


@pytest.mark.parametrize(
    ("hard", "status", "words"),
    [
        (1024, "warning", "1,024, too few for Ray on many cores"),
        (65536, "ok", "65,536 allowed"),
        (resource.RLIM_INFINITY, "ok", "no limit"),
    ],
)
def test_the_limit_of_open_files(
    monkeypatch: pytest.MonkeyPatch, hard: int, status: str, words: str
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (1024, hard))
    found = machine.check_open_files(ASKED)
    assert (found.status, found.found) == (status, words)


def test_a_container_with_little_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    disk(monkeypatch, 0.064, 0.064)
    monkeypatch.setattr(machine, "usable_memory", lambda: 16 * 10**9)
    found = machine.check_shared_memory(ASKED)
    assert found.status == "warning"
    assert "--shm-size=5g" in found.advice


def test_no_shared_memory(tmp_path: Path) -> None:
    found = machine.check_shared_memory(ASKED, str(tmp_path / "none"))
    assert (found.status, found.found) == ("warning", f"there is no {tmp_path / 'none'}")


class TestScratch:
    def test_speed_is_measured_and_nothing_stays(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(machine, "_MOST_BYTES", 8 << 20)
        disk(monkeypatch, 100, 50)
        found = machine.check_scratch(Asked(scratch_dir=str(tmp_path)))
        assert found.facts["write_bytes_per_s"] > 0
        assert found.facts["read_bytes_per_s"] > 0
        assert f"{tmp_path} has 50.0 GB free" in found.found
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(
        ("free_gb", "status", "words"),
        [(0.1, "problem", "0.1 GB"), (2, "warning", "nearly full"), (4, "warning", "nearly")],
    )
    def test_a_disk_that_is_nearly_full(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        free_gb: float,
        status: str,
        words: str,
    ) -> None:
        monkeypatch.setattr(machine, "_disk_speed", lambda folder: (1e9, 1e9))
        disk(monkeypatch, 100, free_gb)
        found = machine.check_scratch(Asked(scratch_dir=str(tmp_path)))
        assert found.status == status
        assert words in found.found

    def test_a_network_disk_and_a_slow_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        disk(monkeypatch, 100, 50)
        speed = {"now": (1e9, 1e9)}
        monkeypatch.setattr(machine, "_disk_speed", lambda folder: speed["now"])
        monkeypatch.setattr(machine, "_file_system", lambda folder: "nfs4")
        found = machine.check_scratch(Asked(scratch_dir=str(tmp_path)))
        assert (found.status, "nfs4" in found.found) == ("warning", True)
        monkeypatch.setattr(machine, "_file_system", lambda folder: "ext4")
        assert machine.check_scratch(Asked(scratch_dir=str(tmp_path))).status == "ok"
        speed["now"] = (1e9, 5e6)
        found = machine.check_scratch(Asked(scratch_dir=str(tmp_path)))
        assert (found.status, "reads 5 MB/s: slow" in found.found) == ("warning", True)

    def test_a_directory_that_does_not_exist(self, tmp_path: Path) -> None:
        found = machine.check_scratch(Asked(scratch_dir=str(tmp_path / "none")))
        assert found.status == "problem"
        assert "No such file" in found.found


def test_a_cache_of_which_a_part_is_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYPOSE_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "cache" / "videos").mkdir(parents=True)
    assert machine.check_cache(ASKED).status == "ok"
    (tmp_path / "cache" / "graphs").symlink_to(tmp_path)
    found = machine.check_cache(ASKED)
    assert found.status == "warning" and "graphs is a link" in found.found


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RAYPOSE_CACHE_DIR", str(tmp_path / "file"))
    found = machine.check_cache(ASKED)
    assert found.status == "warning"
    assert "RAYPOSE_CACHE_DIR" in found.advice
    monkeypatch.setenv("RAYPOSE_CACHE_DIR", str(tmp_path / "new"))
    assert machine.check_cache(ASKED).found.startswith(f"{tmp_path / 'new'} can be written")


def test_the_file_system_of_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mounts = (
        "overlay / overlay rw 0 0\n"
        "server:/home /home nfs4 rw 0 0\n"
        "tmpfs /home/lab/scratch tmpfs rw 0 0\n"
        "/dev/sda1 /home/lab/scratch ext4 rw 0 0\n"
    )
    monkeypatch.setattr(Path, "read_text", lambda self, **options: mounts)
    monkeypatch.setattr(Path, "resolve", lambda self: self)
    places = {"/tmp": "overlay", "/home/lab": "nfs4", "/home/lab/scratch/x": "ext4"}
    assert {place: machine._file_system(Path(place)) for place in places} == places


def test_the_system_s_temporary_directory_is_scratch_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speeds: list[Any] = []
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(machine, "_disk_speed", lambda folder: speeds.append(folder) or (1e9, 1e9))
    machine.check_scratch(ASKED)
    assert speeds == [tmp_path]
