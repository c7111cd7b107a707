"""`python -m tests.faults`: try scenarios for some minutes; exit code 1 if anything was lost."""

from __future__ import annotations

import argparse
import itertools
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.faults import results
from tests.faults.job import LONG_VIDEO, VIDEOS, Job
from tests.faults.scenarios import SCENARIOS
from tests.faults.trial import Scenario, try_scenario


def main() -> int:
    args = _arguments()
    seed = args.seed if args.seed is not None else random.SystemRandom().randrange(10**6)
    chosen = [s for s in SCENARIOS if args.only.lower() in f"{s.kind}: {s.name}".lower()]
    if args.list or not chosen:
        print("\n".join(f"{s.kind}: {s.name}" for s in chosen) or f"no scenario has {args.only!r}")
        return 0 if chosen else 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="rpf-job-"))
    outcomes: list[results.Outcome] = []
    print(f"seed {seed}, {len(chosen)} scenarios; the undisturbed run comes first", flush=True)
    try:
        jobs = _Jobs(folder)
        for scenario, trial_seed in _rounds(chosen, seed, once=args.once):
            if outcomes and time.monotonic() - began > 60 * args.minutes:
                break
            outcome = try_scenario(
                scenario, jobs.of(scenario), args.trial_seed or trial_seed, keep=args.keep
            )
            outcomes.append(outcome)
            print(outcome, flush=True)
            results.write_json(args.results, outcomes, seed, time.monotonic() - began)
    except KeyboardInterrupt:
        print("stopped")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for kind, counts in results.summary(outcomes).items():
        print(f"{kind:<28} {'  '.join(f'{name} {n}' for name, n in counts.items())}")
    if args.pages:
        results.write_pages(args.results)
    return 1 if any(o.verdict == results.LOST for o in outcomes) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="no trial starts later")
    parser.add_argument("--seed", type=int, help="repeats the trials of another time")
    parser.add_argument("--trial-seed", type=int, help="of the trial to repeat; see --only")
    parser.add_argument("--only", default="", metavar="TEXT", help="scenarios with this text")
    parser.add_argument("--list", action="store_true", help="print the scenarios, and end")
    parser.add_argument("--once", action="store_true", help="try each scenario once")
    parser.add_argument("--keep", action="store_true", help="keep the folders of lost trials")
    parser.add_argument(
        "--pages", action="store_true", help="put the figures into README and docs"
    )
    default = results.RESULTS
    parser.add_argument("--results", type=Path, default=default, help="JSON file to write")
    return parser.parse_args()


def _rounds(scenarios: list[Scenario], seed: int, *, once: bool) -> Iterator[tuple[Scenario, int]]:
    """Scenarios, each with the seed of its trial: one of each kind in turn, in random order, so
    that a short run tries every kind. Each scenario `once`, or again and again without end."""
    order = random.Random(seed)
    kinds: dict[str, list[Scenario]] = {}
    for scenario in order.sample(scenarios, len(scenarios)):
        kinds.setdefault(scenario.kind, []).append(scenario)
    for turn in itertools.count():
        if once and not any(of_kind[turn:] for of_kind in kinds.values()):
            return
        for of_kind in kinds.values():
            if turn < len(of_kind) or not once:
                yield of_kind[turn % len(of_kind)], order.randrange(10**6)


class _Jobs:
    """The jobs of the scenarios, made when they are first needed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[bool, Job] = {}

    def of(self, scenario: Scenario) -> Job:
        is_long = scenario.is_long
        if is_long not in self._made:
            name, videos = ("long", LONG_VIDEO) if is_long else ("short", VIDEOS)
            self._made[is_long] = Job(self._folder, name, dict(videos))
        return self._made[is_long]


if __name__ == "__main__":
    sys.exit(main())
