"""Outcomes of trials: on screen, as JSON, and as the table of docs/reliability.md."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SURVIVED, RECOVERED, LOST = "survived", "recovered", "lost"
VERDICTS = (SURVIVED, RECOVERED, LOST)
SKIPPED, MISSED = "skipped", "missed"

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
RESULTS = Path(__file__).with_name("results.json")
_BEGIN, _END = "<!-- faults: begin -->", "<!-- faults: end -->"


@dataclass(frozen=True)
class Outcome:
    """What came of one trial.

    Attributes:
        seed: repeats the trial.
        verdict: `survived`: the first command ended well; `recovered`: the same command had to
            be run again; `lost`: tables differ, something is left, or it crashed; `skipped`: this
            machine can't produce the fault; `missed`: the command ended before the fault.
        n_faults: how often something was done to a running command.
        codes: exit codes of the disturbed commands; None for one that hung.
        why: why it was lost or skipped.
    """

    scenario: str
    kind: str
    seed: int
    verdict: str
    n_faults: int
    codes: tuple[int | None, ...]
    why: str
    seconds: float

    def __str__(self) -> str:
        codes = ",".join("hung" if code is None else str(code) for code in self.codes)
        line = f"{self.verdict:<10} {self.n_faults:>3} {self.seconds:>6.0f} s  {codes:<9}"
        line += f" {self.kind}: {self.scenario} (seed {self.seed})"
        return f"{line}\n           {self.why}" if self.why else line


def summary(outcomes: Sequence[Outcome]) -> dict[str, dict[str, int]]:
    """Runs, faults and verdicts by kind of fault."""
    found: dict[str, dict[str, int]] = {}
    for outcome in outcomes:
        if outcome.verdict not in VERDICTS:
            continue
        counts = found.setdefault(outcome.kind, dict.fromkeys(("runs", "faults", *VERDICTS), 0))
        counts["runs"] += 1
        counts["faults"] += outcome.n_faults
        counts[outcome.verdict] += 1
    return found


def write_json(path: Path, outcomes: Sequence[Outcome], seed: int, seconds: float) -> None:
    """Write the figures and all trials."""
    skipped = {o.scenario: o.why for o in outcomes if o.verdict == SKIPPED}
    content = {
        "date": time.strftime("%Y-%m-%d"),
        "minutes": round(seconds / 60, 1),
        "seed": seed,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "kinds": summary(outcomes),
        "skipped": skipped,
        "trials": [asdict(o) for o in outcomes if o.verdict in VERDICTS],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")


def table(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [
        f"{result['minutes']:.0f} minutes on {result['cores']} cores, {result['date']}, seed "
        f"{result['seed']}:",
        "",
        "| what fails | runs | faults | survived | recovered | lost |",
        "|---|---|---|---|---|---|",
    ]
    names = ("runs", "faults", *VERDICTS)
    kinds = dict(result["kinds"])
    total = {name: sum(counts[name] for counts in kinds.values()) for name in names}
    for kind, counts in [*sorted(kinds.items()), ("**all**", total)]:
        lines.append(f"| {kind} | {' | '.join(str(counts[name]) for name in names)} |")
    for trial in result["trials"]:
        if trial["verdict"] == LOST:
            lines += ["", f"Lost: {trial['scenario']} ({trial['why']})."]
    for name, why in result["skipped"].items():
        lines += ["", f"Not tried: {name} ({why})."]
    return "\n".join(lines)


def page_with(result: dict[str, Any], page: str) -> str:
    """The page, with the figures of a result between its markers."""
    before, _, rest = page.partition(_BEGIN)
    return f"{before}{_BEGIN}\n{table(result)}\n{_END}{rest.partition(_END)[2]}"


def write_page(results: Path = RESULTS) -> None:
    """Put the figures of a result into docs/reliability.md."""
    PAGE.write_text(page_with(json.loads(results.read_text()), PAGE.read_text()))
