"""What an earlier run left is of another version, damaged or incomplete."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.faults.job import files_in, read_records
from tests.faults.trial import Scenario, Trial

_VERSIONS = ("0.0.1", "99.0", None, 7)


def other_version(record: Path, chance: random.Random) -> None:
    """As an older or a newer raypose could write it: other fields, and other kinds of values."""
    content = json.loads(record.read_text())
    content["raypose"] = chance.choice(_VERSIONS)
    content["new"] = {"field": [1, 2]}
    match chance.randrange(4):
        case 0:
            content["made_from"]["format"] = 99
        case 1:
            content["recipe"] = 5
        case 2:
            del content["recipe"], content["digest"]
        case _:
            content["facts"] = chance.choice(({}, {"frames": "many"}, [1], None))
            content["videos"] = None
    record.write_text(json.dumps(content))


def damaged(path: Path, chance: random.Random, n_ways: int = 4) -> None:
    """Cut short, emptied, overwritten, or replaced by a folder."""
    content = path.read_bytes()
    match chance.randrange(n_ways):
        case 0:
            path.write_bytes(content[: chance.randrange(len(content) + 1)])
        case 1:
            path.write_bytes(b"")
        case 2:
            path.write_bytes(chance.randbytes(len(content)))
        case _:
            path.unlink()
            path.mkdir()


def of_a_finished_run(
    find: Callable[[Path], list[Path]],
    change: Callable[[Path, random.Random], None],
    *options: str,
    trial: Trial,
) -> None:
    """The folder of a finished run, in which some files are changed before the command runs."""
    shutil.copytree(trial.job.undisturbed, trial.out, symlinks=True)
    found = find(trial.out)
    for path in trial.random.sample(found, min(len(found), trial.random.randrange(1, 12))):
        change(path, trial.random)
        trial.strike(True)
    trial.end(trial.start(*options))


def of_the_cache(trial: Trial) -> None:
    """Files of the cache are damaged."""
    cache = trial.job.copy("cache", trial.folder)
    trial.environment["RAYPOSE_CACHE_DIR"] = str(cache)
    files = [path for path in cache.rglob("*") if path.is_file()]
    for path in files:
        if trial.random.random() < 0.7:
            damaged(path, trial.random)
            trial.strike(True)
    trial.end(trial.start("--inline"))


def of_ranges(trial: Trial) -> None:
    """A run is killed, and its finished ranges are damaged before the command runs again."""
    command = trial.start("--inline")
    command.wait_until(lambda: _ranges(trial.out) >= 3)
    command.kill()
    for path in list(trial.out.rglob("ranges/*/*")) + list(trial.out.rglob("ranges/**/*.json")):
        if path.is_file() and trial.random.random() < 0.5:
            damaged(path, trial.random)
            trial.strike(True)
    trial.end(trial.start("--inline"))


def _ranges(out: Path) -> int:
    """How many finished ranges there are. `rglob` fails where a folder vanishes meanwhile."""
    return sum(name.endswith(".parquet.json") for _, _, names in os.walk(out) for name in names)


def of_the_log(trial: Trial) -> None:
    """Log, description and report of an earlier run are damaged, and some outputs are missing."""
    shutil.copytree(trial.job.undisturbed, trial.out, symlinks=True)
    for path in (trial.out / "raypose").iterdir():
        damaged(path, trial.random, n_ways=3)
        trial.strike(True)
    for path in trial.random.sample(_outputs(trial.out), 3):
        path.unlink()
    trial.end(trial.start("--inline"))


def _outputs(out: Path) -> list[Path]:
    return [out / name for name in sorted(files_in(out))]


def _removed(path: Path, chance: random.Random) -> None:
    os.unlink(path)


SCENARIOS = tuple(
    Scenario(name, "earlier results", disturb)
    for name, disturb in (
        ("records of another version",
         partial(of_a_finished_run, read_records, other_version, "--inline")),
        ("damaged records", partial(of_a_finished_run, read_records, damaged, "--inline")),
        ("records are missing", partial(of_a_finished_run, read_records, _removed, "--inline")),
        ("damaged outputs", partial(of_a_finished_run, _outputs, damaged, "--inline")),
        ("outputs are missing", partial(of_a_finished_run, _outputs, _removed, "--inline")),
        ("a damaged log", of_the_log),
        ("a damaged cache", of_the_cache),
        ("damaged ranges", of_ranges),
    )
)  # fmt: skip
