"""The process of one check: runs it, and writes what it finds for the doctor to read.

A check has a process of its own, so that one that hangs can be stopped, and one that takes its
process along (a driver, a codec) is still a line of the report.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from raypose.doctor.checks import CHECKS
from raypose.doctor.findings import DEFECT, Asked, Finding
from raypose.doctor.offline import refuse_connections
from raypose.errors import Failure
from raypose.inference import PASSIVE_THREADS
from raypose.storage import local_path

_LONGEST = 300


def find(name: str, asked: Asked) -> Finding:
    """The finding of a check; an exception is a problem."""
    check = next(check for check in CHECKS if check.name == name)
    try:
        return check.find(asked)
    except Exception as error:
        failure = Failure.of(name, error)
        found = " ".join(failure.message.split())[:_LONGEST]
        if failure.path:
            found = f"{failure.path}: {found}"
        facts = {"error": failure.error, "details": failure.details}
        return Finding("problem", found, DEFECT if failure.details else failure.hint, facts)


def main(request: Path) -> None:
    """Run the check that the request names, and leave the `answer` beside it."""
    os.environ.setdefault(*PASSIVE_THREADS)
    content = json.loads(request.read_text(encoding="utf-8"))
    asked = Asked(**content["asked"])
    given = [path for path in (asked.model, asked.video) if path]
    needs_network = content["uses_files"] and any(local_path(path) is None for path in given)
    refused = [] if needs_network else refuse_connections()
    found = find(content["check"], asked)
    answer = json.dumps({"found": asdict(found), "refused": refused}, default=str)
    part = request.with_name("part")
    part.write_text(answer, encoding="utf-8")
    part.rename(request.with_name("answer"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
