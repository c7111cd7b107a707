"""Checks of the machine: cores and memory, packages, limits, shared memory, disks."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import shutil
import tempfile
import time
from importlib import metadata
from pathlib import Path

from raypose.doctor.findings import Asked, Finding
from raypose.storage.cache import cache_root
from raypose.storage.private import belongs_to_someone_else
from raypose.worker.budget import usable_cores, usable_memory

_LEAST_MEMORY = 4e9
"""Driver, one worker that predicts and one that draws take about 2 GB together."""
_OPEN_FILES = 4096
"""Below this Ray warns of connection errors."""
_OBJECT_STORE_SHARE, _LARGE_OBJECT_STORE = 0.3, 10e9
"""The share of memory that Ray reserves for results, and what it takes from shared memory at most
before it is content with less."""
_LEAST_FREE, _LITTLE_FREE, _FULL = 0.5e9, 5e9, 0.95
_SLOW_BYTES_PER_S = 50e6
_BLOCK, _MOST_BYTES, _MOST_S = 4 << 20, 256 << 20, 2.0
_NETWORK_FILE_SYSTEMS = ("nfs", "cifs", "smb", "lustre", "gpfs", "beegfs", "ceph", "fuse.sshfs")


def check_machine(asked: Asked) -> Finding:
    """Cores, memory and system."""
    cores, memory = usable_cores(), usable_memory()
    facts = {"system": platform.platform(), "cores": cores, "memory_bytes": memory}
    found = f"{_count(cores, 'core')}, {_gb(memory)} of memory, {platform.platform(terse=True)}"
    if memory < _LEAST_MEMORY:
        advice = "Use a machine with 4 GB or more, or give --inline, which starts one process."
        return Finding("warning", f"{found}: little memory", advice, facts)
    if platform.system() != "Linux":
        advice = "Use Linux if something fails: raypose is tested on Linux only."
        return Finding("warning", found, advice, facts)
    return Finding("ok", found, facts=facts)


def check_packages(asked: Asked) -> Finding:
    """The installed packages against what raypose was tested with."""
    from packaging.requirements import Requirement

    try:
        requirements = [Requirement(text) for text in metadata.requires("raypose") or ()]
    except metadata.PackageNotFoundError:
        advice = "Install raypose with pip or uv, so that versions can be compared."
        return Finding("warning", "raypose itself is not installed as a package", advice)
    wrong, versions = [], {}
    for requirement in requirements:
        name, marker = requirement.name, requirement.marker
        try:
            installed = versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            if marker is None or marker.evaluate({"extra": ""}):
                wrong.append(f"{name} is missing")
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            wrong.append(f"{name} {installed} is not {requirement.specifier}")
    facts = {"python": platform.python_version(), "versions": versions}
    if wrong:
        advice = "Install raypose again in an environment of its own (uv sync, or pip install)."
        return Finding("problem", "; ".join(wrong), advice, facts)
    found = f"Python {platform.python_version()} and {len(versions)} packages, as required"
    return Finding("ok", found, facts=facts)


def check_open_files(asked: Asked) -> Finding:
    """The limit of open files; Ray raises it to the hard one itself."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = hard == resource.RLIM_INFINITY
    facts = {"soft": soft, "hard": None if unlimited else hard}
    if not unlimited and hard < _OPEN_FILES:
        advice = "Raise it to 65536: ulimit -Hn as root, limits.conf, or docker --ulimit nofile."
        return Finding("warning", f"{hard:,}, too few for Ray on many cores", advice, facts)
    return Finding("ok", "no limit" if unlimited else f"{hard:,} allowed", facts=facts)


def check_shared_memory(asked: Asked, folder: str = "/dev/shm") -> Finding:
    """Whether Ray's object store fits into shared memory; else Ray keeps results in files."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        advice = "Results of tasks go through files in /tmp, which is slower. Mount /dev/shm."
        return Finding("warning", f"there is no {folder}", advice)
    wanted = min(_OBJECT_STORE_SHARE * usable_memory(), _LARGE_OBJECT_STORE)
    facts = {"free_bytes": free, "wanted_bytes": int(wanted)}
    if free < wanted:
        advice = (
            "Ray then keeps results in files in /tmp, which is slower. In a container, give "
            f"--shm-size={max(1, round(wanted / 1e9))}g; else remove files in {folder}."
        )
        return Finding("warning", f"{_gb(free)} free; Ray wants {_gb(wanted)}", advice, facts)
    return Finding("ok", f"{_gb(free)} free", facts=facts)


def check_scratch(asked: Asked) -> Finding:
    """Space and speed of the disk for temporary files."""
    folder = Path(asked.scratch_dir or tempfile.gettempdir())
    elsewhere = "Free some space, or choose another disk with --scratch-dir (and TMPDIR for Ray)."
    try:
        usage = shutil.disk_usage(folder)
        facts = {"folder": str(folder), "free_bytes": usage.free, "total_bytes": usage.total}
        found = f"{folder} has {_gb(usage.free)} free"
        if usage.free < _LEAST_FREE:
            return Finding("problem", found, elsewhere, facts)
        written, read = _disk_speed(folder)
    except OSError as error:
        found = f"{folder} can't be used ({error.strerror})"
        return Finding("problem", found, "Choose another with --scratch-dir, or set TMPDIR.")
    kind = _file_system(folder)
    facts |= {"write_bytes_per_s": written, "read_bytes_per_s": read, "file_system": kind}
    found += f", writes {written / 1e6:,.0f} MB/s, reads {read / 1e6:,.0f} MB/s"
    if 1 - usage.free / usage.total > _FULL:
        return Finding("warning", f"{found}: it is nearly full, and Ray may refuse to use it",
                       elsewhere, facts)  # fmt: skip
    if usage.free < _LITTLE_FREE:
        return Finding("warning", f"{found}: little for copies of videos", elsewhere, facts)
    if kind.startswith(_NETWORK_FILE_SYSTEMS):
        advice = "Choose a disk of this machine with --scratch-dir."
        return Finding("warning", f"{found}, over the network ({kind})", advice, facts)
    if min(written, read) < _SLOW_BYTES_PER_S:
        advice = "Choose a faster disk with --scratch-dir where videos come from a URL."
        return Finding("warning", f"{found}: slow", advice, facts)
    return Finding("ok", found, facts=facts)


def check_cache(asked: Asked) -> Finding:
    """Whether networks and frame indexes can be kept for the next run."""
    folder = cache_root()
    advice = "Each run then prepares its networks anew. Set RAYPOSE_CACHE_DIR to another folder."
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0" * 4096)
            file.flush()
        free = shutil.disk_usage(folder).free
        kinds = [one for one in folder.iterdir() if one.is_dir()]
    except OSError as error:
        return Finding("warning", f"{folder} can't be written ({error.strerror})", advice)
    facts = {"folder": str(folder), "free_bytes": free}
    if unused := [kind for kind in kinds if belongs_to_someone_else(kind)]:
        found = f"{unused[0]} is a link or another user's, and is not used"
        return Finding("warning", found, advice, facts)
    if free < _LEAST_FREE:
        return Finding("warning", f"{folder} has {_gb(free)} free", advice, facts)
    return Finding("ok", f"{folder} can be written, {_gb(free)} free", facts=facts)


def _disk_speed(folder: Path) -> tuple[int, int]:
    """Bytes per second that are written to the disk and read from it again.

    What was written is dropped from the page cache before it is read, as far as the system does
    so on request.
    """
    block = os.urandom(_BLOCK)  # some file systems compress
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        began, n_bytes = time.perf_counter(), 0
        while n_bytes < _MOST_BYTES and time.perf_counter() - began < _MOST_S:
            n_bytes += file.write(block)
        os.fsync(file.fileno())
        written_s = time.perf_counter() - began
        with contextlib.suppress(OSError, AttributeError):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        file.seek(0)
        began, n_read = time.perf_counter(), 0
        while (got := len(file.read(_BLOCK))) and time.perf_counter() - began < _MOST_S:
            n_read += got
        read_s = time.perf_counter() - began
    return round(n_bytes / written_s), round(n_read / read_s)


def _file_system(folder: Path) -> str:
    """The type of the file system that holds a folder, as Linux calls it; empty if unknown."""
    try:
        mounts = Path("/proc/self/mounts").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return ""
    place = folder.resolve()
    found = [line.split(" ")[1:3] for line in mounts]
    holds = [(Path(at), kind) for at, kind in found if place.is_relative_to(at)]
    # Of the mounts of one place, the last hides the others.
    return max(enumerate(holds), key=lambda m: (len(m[1][0].parts), m[0]))[1][1] if holds else ""


def _count(n: int, thing: str) -> str:
    return f"1 {thing}" if n == 1 else f"{n} {thing}s"


def _gb(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:.1f} GB"
