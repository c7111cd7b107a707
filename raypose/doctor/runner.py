"""Runs the checks one after the other, each in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from raypose import import_path
from raypose.doctor.checks import CHECKS
from raypose.doctor.findings import DEFECT, Asked, Check, Finding
from raypose.storage import local_path

_CHILD = "raypose.doctor.child"
_ENDS_S = 10.0


def examine(asked: Asked, checks: Sequence[Check] = CHECKS) -> Iterator[Finding]:
    """Each check's finding as soon as it is known, and finally whether any needed the network.

    A check that hangs or kills its process is a problem like any other. Checks of a model or video
    that can't be used are skipped.
    """
    refused: list[str] = []
    unusable: set[str] = set()
    for check in checks:
        if check.concerns(asked) and unusable.isdisjoint(check.needs):
            began = time.perf_counter()
            found = _find(check, asked, refused)
            if found.status == "problem":
                unusable.update(check.needs)
            yield replace(found, name=check.name, seconds=round(time.perf_counter() - began, 2))
    yield _network(asked, refused)


def _find(check: Check, asked: Asked, refused: list[str]) -> Finding:
    with tempfile.TemporaryDirectory(prefix="raypose-doctor-") as temporary:
        folder = Path(temporary)
        request = {"check": check.name, "asked": asdict(asked), "uses_files": bool(check.needs)}
        (folder / "request").write_text(json.dumps(request), encoding="utf-8")
        command = import_path.command(_CHILD, str(folder / "request"))
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        try:
            code = process.wait(check.limit_s)
        except subprocess.TimeoutExpired:
            found = f"no answer in {check.limit_s:.0f} s"
            advice = "A driver or a disk hangs, or the machine is overloaded."
            return Finding("problem", found, advice)
        finally:
            _end(process)
        if (folder / "answer").exists():
            answer = json.loads((folder / "answer").read_text(encoding="utf-8"))
            refused += [host for host in answer["refused"] if host not in refused]
            return Finding(**answer["found"])
        lines = (folder / "log").read_text(errors="replace").strip().splitlines()
        return Finding("problem", f"the check {_ended(code)}", DEFECT, {"log": lines[-20:]})


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a check with all processes that it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):  # one that waits for a dead disk stays
        process.wait(_ENDS_S)


def _ended(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    with contextlib.suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"


def _network(asked: Asked, refused: Sequence[str]) -> Finding:
    """Whether any check needed the network."""
    urls = [path for path in (asked.model, asked.video) if path and local_path(path) is None]
    facts = {"asked_for": list(refused)}
    if refused:
        hosts = ", ".join(refused)
        found = f"checks asked for {hosts}; the doctor refused, to see whether they do without"
        advice = "Where a check above has failed because of it, report that: runs need no network."
        return Finding("warning", found, advice, facts, "network")
    what = "only the URLs that you gave" if urls else "nothing"
    return Finding("ok", f"{what} needed the network", facts=facts, name="network")
