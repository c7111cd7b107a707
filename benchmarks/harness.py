"""What the benchmarks share: each side in a process of its own, one after the other, one result.

A benchmark names its sides, functions that do the work once and return what is to be compared. A
child process runs one side several times and reports the times and its peak memory; the parent
prints the ratio of medians and writes a JSON file with the machine and the versions beside it.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

# As workers have it, before torch is imported; see `raypose.inference`.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """Processor, cores, memory and system."""
    model = platform.processor()
    for line in _lines("/proc/cpuinfo"):
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def versions(*packages: str) -> dict[str, str]:
    """Installed versions."""
    return {package: importlib.metadata.version(package) for package in packages}


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def run_child(work: Callable[[], Any], repeats: int) -> None:
    """In a child: does the work `repeats` times and prints what it took."""
    seconds, cpu_seconds = [], []
    for _ in range(repeats):
        started, cpu_started = time.perf_counter(), time.process_time()
        work()
        seconds.append(time.perf_counter() - started)
        cpu_seconds.append(time.process_time() - cpu_started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    took = {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_memory_mib": round(peak)}
    print(json.dumps(took))


def run_side(script: str, side: str, directory: Path, repeats: int) -> dict[str, Any]:
    """In the parent: runs one side in a fresh process.

    Returns:
        `seconds` of each run, their `median_s`, the same of processor time in all threads (which
        other work on the machine does not touch), and `peak_memory_mib` of the process.
    """
    command = [sys.executable, script, "--side", side, "--directory", str(directory)]
    ran = subprocess.run(
        [*command, "--repeats", str(repeats)], stdout=subprocess.PIPE, text=True, check=True
    )
    result: dict[str, Any] = json.loads(ran.stdout.strip().splitlines()[-1])
    result["median_s"] = statistics.median(result["seconds"])
    result["median_cpu_s"] = statistics.median(result["cpu_seconds"])
    return result


def report(name: str, result: dict[str, Any], packages: tuple[str, ...], *, tiny: bool) -> None:
    """Prints the result, with the ratio where there is one, and writes it, unless it is tiny."""
    result = {
        "benchmark": name,
        "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": {**machine(), "load_average": os.getloadavg()[0]},
        "versions": versions(*packages),
        **result,
    }
    text = json.dumps(result, indent=1)
    print(text)
    if "ratio" in result:
        print(f"{name}: {result['ratio']:.1f} times as fast as the peer")
    if not tiny:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.json").write_text(text + "\n")
