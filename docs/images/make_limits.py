"""Draws limits.png: how much of its parts a run needs, against the number of GPUs.

Tasks per second are those of benchmarks/results/simulation.json; the other figures are below, with
where they are from.
"""

from __future__ import annotations

import json
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE.parents[1] / "benchmarks" / "results"

FRAMES_PER_S = 611  # of one H100 with one member at 1920×1080, docs/gpu.md
FRAME_BYTES = 8e6 / 8 / 30  # of a video of 8 Mbit/s and 30 frames/s
N_GPUS = (1, 10, 100, 1_000, 10_000)


def driver_tasks_per_s() -> float:
    """What the driver is known to manage: that of 500 pairs on 16 logical GPUs, on two cores that
    also run the 16 workers."""
    result = json.loads((RESULTS / "scheduling.json").read_text())
    return 500 / float(result["sides"]["raypose"]["median_s"])


def tasks_per_gpu_and_s() -> float:
    """Of the largest simulated run with 1,000 GPUs and no losses."""
    rows = json.loads((RESULTS / "simulation.json").read_text())["rows"]
    row = next(row for row in rows if row["scenario"] == "1,000 GPUs, 1 model")
    return float(row["n_tasks"] / row["makespan_s"] / 1_000)


def main() -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    read = FRAMES_PER_S * FRAME_BYTES
    shares = {
        "storage of 10 Gbit/s": read / 1.25e9,
        "storage of 100 Gbit/s": read / 12.5e9,
        f"driver ({driver_tasks_per_s():.0f} tasks/s)": tasks_per_gpu_and_s()
        / driver_tasks_per_s(),
    }
    figure, axes = plt.subplots(figsize=(7, 3.6))
    for name, share in shares.items():
        axes.loglog(N_GPUS, [100 * share * n for n in N_GPUS], marker="o", label=name)
        print(f"{name}: full at {1 / share:,.0f} GPUs")
    axes.axhline(100, color="black", linewidth=1)
    axes.set(xlabel="GPUs", ylabel="% of what it can do", ylim=(0.01, 10_000))
    axes.legend(fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(HERE / "limits.png", dpi=130)


if __name__ == "__main__":
    main()
