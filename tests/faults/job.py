"""A small job with everything that outputs depend on, its undisturbed result, and comparisons."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from raypose.report.status import read_status
from raypose.storage.digests import digest_of_file
from raypose.storage.layout import HIDDEN
from raypose.storage.records import read_record, record_path, recorded_below
from tests.faults import preload
from tests.faults.command import Command
from tests.models import make_model
from tests.videos import make_video

VIDEOS = {"a": 60, "b": 90}
LONG_VIDEO = {"long": 2000}
"""For runs that are disturbed many times: it takes a minute."""

_TOLERANCE = 1e-3  # pixels; threads and batches change the last bits of a prediction


@dataclass
class Job:
    """Two models, two videos in ranges, tables, EKS, metrics, snippets and a report.

    Attributes:
        folder: with `models` and the cache, which jobs share, and a folder for this one.
        name: of the job.
        videos: names and numbers of frames.
        undisturbed: output folder of a run that nothing happened to.
        seconds: how long that took.
        n_changes: how often it changed a file; 0 where they can't be counted.
    """

    folder: Path
    name: str = "short"
    videos: dict[str, int] = field(default_factory=lambda: dict(VIDEOS))
    undisturbed: Path = field(init=False)
    seconds: float = field(init=False)
    n_changes: int = 0

    def __post_init__(self) -> None:
        self.undisturbed = self._own / "undisturbed"
        (self._own / "videos").mkdir(parents=True)
        for name, n_frames in self.videos.items():
            make_video(self._own / "videos" / f"{name}.mp4", n_frames=n_frames, gop=10)
        if not (self.folder / "models").exists():
            for seed in range(2):
                make_model(self.folder / "models" / f"m{seed}", seed=seed)
            self._run_undisturbed()  # fills the cache
            shutil.rmtree(self.undisturbed)
        began = time.monotonic()
        self._run_undisturbed(**self._counting())
        self.seconds = time.monotonic() - began
        count = self._own / "count"
        self.n_changes = int(count.read_text()) if count.exists() else 0

    @property
    def _own(self) -> Path:
        return self.folder / self.name

    def _run_undisturbed(self, **environment: str) -> None:
        arguments = self.arguments(self.undisturbed, "--inline")
        log = self._own / "undisturbed.log"
        command = Command(arguments, self.undisturbed, log, {**self.environment, **environment})
        assert command.finish() == 0, command.output

    def _counting(self) -> dict[str, str]:
        if not preload.build(self.folder):
            return {}
        places = {"FAULTS_OUTPUTS": self.undisturbed, "FAULTS_COUNT": self._own / "count"}
        return preload.preloaded(self.folder, **{k: str(v) for k, v in places.items()})

    @property
    def environment(self) -> dict[str, str]:
        # Ray gives its workers a low priority: they would wait for other programs.
        cache = str(self.folder / "cache")
        return {"RAYPOSE_CACHE_DIR": cache, "RAY_worker_niceness": "0"}

    def arguments(
        self, out: Path, *options: str, videos: Path | None = None, models: Path | None = None
    ) -> list[str]:
        """The command line; `videos` and `models` are folders with copies."""
        models = models or self.folder / "models"
        arguments = ["run", str(videos or self._own / "videos"), "-o", str(out), "--eks"]
        arguments += [part for name in ("m0", "m1") for part in ("-m", str(models / name))]
        arguments += ["--label", "snippet", "--device", "cpu", "--batch-size", "4"]
        arguments += ["--smooth-param", "10", "--chunk-frames", str(self._chunk)]
        return [*arguments, *options]

    @property
    def _chunk(self) -> int:
        return max(30, max(self.videos.values()) // 20)

    def differences(self, out: Path) -> Iterator[str]:
        """What distinguishes an output folder from the undisturbed one, and what is left there."""
        expected, found = files_in(self.undisturbed), files_in(out)
        if missing := sorted(expected - found):
            yield f"missing: {', '.join(missing[:4])} ({len(missing)} files)"
        if surplus := sorted(found - expected):
            yield f"surplus: {', '.join(surplus[:4])} ({len(surplus)} files)"
        for name in sorted(expected & found):
            if name.endswith(".csv") and (what := unlike(self.undisturbed / name, out / name)):
                yield f"{name}: {what}"
        yield from self._wrong_records(out)
        yield from (f"left: {path.relative_to(out)}" for path in out.rglob("*.tmp-*"))
        yield from (f"left in the cache: {path.name}" for path in self._parts())

    def wrong_status(self, out: Path) -> Iterator[str]:
        """Why `raypose status` does not say that everything is done."""
        status = read_status(out)
        if status.state != "ended" or status.failures or status.left:
            yield f"the status is {status.state}, {status.failures}, to do: {dict(status.left)}"

    def _parts(self) -> list[Path]:
        return list((self.folder / "cache").rglob(".part-*"))

    def _wrong_records(self, out: Path) -> Iterator[str]:
        names = recorded_below(self.undisturbed)
        if names ^ recorded_below(out):
            yield f"records differ: {sorted(names ^ recorded_below(out))[:4]}"
        for name in sorted(names & recorded_below(out)):
            record, expected = read_record(out / name), read_record(self.undisturbed / name)
            assert expected is not None
            if record is None:
                yield f"{record_path(out / name)}: no record"
            elif record["recipe"] != expected["recipe"]:
                yield f"{name}: recorded as {record['made_from']}, not {expected['made_from']}"
            elif (out / name).exists() and digest_of_file(out / name) != record["digest"]:
                yield f"{name}: not the file that was recorded"

    def copy(self, part: str, to: Path) -> Path:
        """A copy of `videos`, `models` or `cache` that a scenario may damage."""
        source = (self._own if part == "videos" else self.folder) / part
        return Path(shutil.copytree(source, to / part))


def files_in(out: Path) -> set[str]:
    """Outputs, relative to the folder: without records, log, report and backups."""
    names = (path.relative_to(out) for path in out.rglob("*") if path.is_file())
    return {str(name) for name in names if HIDDEN not in name.parts and name.parts[0] != "raypose"}


def unlike(expected: Path, found: Path) -> str:
    """How a table differs from the expected one; empty where all values are equal."""
    if expected.read_bytes() == found.read_bytes():
        return ""
    rows, theirs = (path.read_text().splitlines() for path in (found, expected))
    if len(rows) != len(theirs):
        return f"{len(rows)} rows instead of {len(theirs)}"
    for number, (row, their) in enumerate(zip(rows, theirs, strict=True)):
        cells, wanted = row.split(","), their.split(",")
        if len(cells) != len(wanted) or not all(map(_is_close, cells, wanted)):
            return f"row {number} is {row[:80]} instead of {their[:80]}"
    return ""


def _is_close(cell: str, wanted: str) -> bool:
    if cell == wanted:
        return True
    try:
        return abs(float(cell) - float(wanted)) <= _TOLERANCE * max(1.0, abs(float(wanted)))
    except ValueError:
        return False


def read_records(out: Path) -> list[Path]:
    """All record files of an output folder."""
    return sorted(p for p in out.rglob(f"{HIDDEN}/*.json") if _is_record(p))


def _is_record(path: Path) -> bool:
    try:
        return "recipe" in json.loads(path.read_text())
    except ValueError:
        return False
