"""Outcomes of trials: on screen, as JSON, as the table of docs/reliability.md, and in README."""

from __future__ import annotations

import json
import os
import platform
import textwrap
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SURVIVED, RECOVERED, LOST = "survived", "recovered", "lost"
VERDICTS = (SURVIVED, RECOVERED, LOST)
SKIPPED, MISSED = "skipped", "missed"
_COUNTS = ("runs", "faults", *VERDICTS)

_ROOT = Path(__file__).parents[2]
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
        counts = found.setdefault(outcome.kind, dict.fromkeys(_COUNTS, 0))
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


def total(result: dict[str, Any]) -> dict[str, int]:
    """The counts of all kinds together."""
    kinds = result["kinds"].values()
    return {name: sum(counts[name] for counts in kinds) for name in _COUNTS}


def table(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [
        f"{result['minutes']:.0f} minutes on {result['cores']} cores, {result['date']}, seed "
        f"{result['seed']}:",
        "",
        "| what fails | runs | faults | survived | recovered | lost |",
        "|---|---|---|---|---|---|",
    ]
    for kind, counts in [*sorted(result["kinds"].items()), ("**all**", total(result))]:
        lines.append(f"| {kind} | {' | '.join(str(counts[name]) for name in _COUNTS)} |")
    for trial in result["trials"]:
        if trial["verdict"] == LOST:
            why = trial["why"].partition(": '")[0]  # without what the command printed
            lines += ["", f"Lost: {trial['scenario']} ({why})."]
    for name, why in result["skipped"].items():
        lines += ["", f"Not tried: {name} ({why})."]
    return "\n".join(lines)


def sentence(result: dict[str, Any]) -> str:
    """The figures in a sentence of README's list."""
    n_runs, n_faults, survived, recovered, lost = total(result).values()
    text = (
        f"[Tried](docs/reliability.md): {n_faults:,} faults (processes killed, disks full, files "
    )
    text += f"damaged) in {n_runs:,} runs, of which {survived:,} ended well by themselves, "
    text += f"{recovered:,} when run again, and {lost or 'none'} not as they should."
    return textwrap.fill(text, 98, initial_indent="  ", subsequent_indent="  ")


PAGES: dict[Path, Callable[[dict[str, Any]], str]] = {
    _ROOT / "docs" / "reliability.md": table,
    _ROOT / "README.md": sentence,
}
"""What has figures between its markers, and how they are written there."""


def with_figures(page: Path, result: dict[str, Any]) -> str:
    """The text of a page, with the figures of a result between its markers."""
    before, _, rest = page.read_text().partition(_BEGIN)
    end = f"{'  ' if before.endswith('  ') else ''}{_END}"
    return f"{before}{_BEGIN}\n{PAGES[page](result)}\n{end}{rest.partition(_END)[2]}"


def write_pages(results: Path = RESULTS) -> None:
    """Put the figures of a result into the pages."""
    for page in PAGES:
        page.write_text(with_figures(page, json.loads(results.read_text())))
