"""The tables and the chart of the benchmarks, from the JSON files in `results/` and nothing else.

`python benchmarks/summary.py` writes the tables into README.md, benchmarks/README.md and
docs/scheduling.md, between their markers, and README's chart to docs/images/benchmarks.png. README
has the few lines that tell a user what to expect, benchmarks/README.md has all. `--check` only
checks that the tables are those of the results.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
SHOWN_SIZE = "396x406"
"""Of labelled videos in README."""


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        part: what was done.
        peer: against what.
        ours: how long raypose took, or how fast it was.
        theirs: the same of the peer.
        ratio: how many times as fast raypose is.
        memory: peak memory of each side, where it was recorded.
        in_readme: whether README shows it too.
    """

    part: str
    peer: str
    ours: str
    theirs: str
    ratio: float
    memory: str = ""
    in_readme: bool = False


def load(name: str) -> dict[str, Any] | None:
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.is_file() else None


def seconds(side: dict[str, Any]) -> str:
    return f"{side['median_s']:.3g} s"


def memory(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    return f"{ours['peak_memory_mib']} / {theirs['peak_memory_mib']} MiB"


def memory_of_processes(side: dict[str, Any], peer: dict[str, Any]) -> str:
    """The peaks of a run's processes beside the peer's; empty where they were not recorded."""
    ours, theirs = side.get("peak_memory_mib"), peer.get("peak_memory_mib")
    if ours is None or theirs is None:
        return ""
    cell = f"driver {ours['driver']}, worker {max(ours['GPU worker'], ours['CPU actor'])}"
    if "graph builder" in ours:
        cell += f", graph builder {ours['graph builder']}"
    return f"{cell} / {theirs} MiB"


def gpu_rows() -> list[Row]:
    """Inference on a GPU, against the peer where it was timed, else against the lower ceiling."""
    result = load("gpu")
    found = []
    for size, stats in ((result or {}).get("videos") or {}).items():
        for n in sorted(int(key[8:]) for key in stats if key.startswith("members_")):
            side = stats[f"members_{n}"]
            members = "1 model" if n == 1 else f"{n} models"
            part = f"inference on {result['device']}, {members}, {size.replace('x', '×')}"
            if "ratio" in side:
                peer, theirs = "Lightning Pose, one run per model", stats["peer_fps"] / n
                ratio = side["ratio"]
            else:
                theirs = min(side["networks_alone_fps"], stats["decode_alone_fps"])
                peer = "decoding or networks alone, the slower"
                ratio = side["share_of_lower_ceiling"]
            peaks = f"{result['peak_memory_mib']} MiB, {result['peak_gpu_mib']} MiB on the GPU"
            found.append(
                Row(part, peer, f"{side['fps']:.0f} frames/s", f"{theirs:.0f} frames/s", ratio,
                    peaks)
            )  # fmt: skip
    return found


def rows() -> list[Row]:
    """One line a comparison; benchmarks without a result have none."""
    found = []
    if predict := load("predict"):
        ours, theirs = predict["sides"]["raypose"], predict["sides"]["litpose"]
        found.append(
            Row("one model, one clip, steady state", "`litpose predict --reader opencv`",
                seconds(ours), seconds(theirs), predict["ratio"], memory(ours, theirs), True)
        )  # fmt: skip
    if job := load("job"):
        sides, ratios = job["sides"], job["ratios"]
        for side, label in (("raypose", ""), ("raypose, empty cache", ", first time")):
            suffix = " with an empty cache" if "empty" in side else ""
            for peer, key in (
                ("litpose, one process per video and model", f"loop / raypose{suffix}"),
                ("litpose, one process per model", f"one process per model / raypose{suffix}"),
            ):
                ours, theirs = seconds(sides[side]), seconds(sides[peer])
                name = f"2 models × 8 clips, command to exit{label}"
                peaks = memory_of_processes(sides[side], sides[peer])
                label_of_peer = f"`{peer[:7]}`{peer[7:]}"
                found.append(Row(name, label_of_peer, ours, theirs, ratios[key], peaks, not label))
    if tables := load("tables"):
        ours, theirs = tables["sides"]["raypose"], tables["sides"]["pandas"]
        found.append(
            Row("table of 100,000 × 51 written", "pandas `to_csv`",
                seconds(ours), seconds(theirs), tables["ratio"], memory(ours, theirs))
        )  # fmt: skip
    for size, stats in ((load("labeled_video") or {}).get("sizes") or {}).items():
        ours, theirs = stats["sides"]["raypose"], stats["sides"]["lightning_pose"]
        found.append(
            Row(f"labelled video, {size.replace('x', '×')}", "`generate_labeled_video`",
                f"{ours['frames_per_s']:.0f} frames/s", f"{theirs['frames_per_s']:.0f} frames/s",
                stats["ratio"], memory(ours, theirs), size == SHOWN_SIZE)
        )  # fmt: skip
        plain = stats["sides"]["transcode"]
        found.append(
            Row(f"labelled video, {size.replace('x', '×')}",
                "plain transcode, same encoder settings",
                f"{ours['frames_per_s']:.0f} frames/s", f"{plain['frames_per_s']:.0f} frames/s",
                stats["share_of_transcode"], memory(ours, plain))
        )  # fmt: skip
    if smoothing := load("smoothing"):
        ours, theirs = smoothing["sides"]["raypose"], smoothing["sides"]["eks"]
        found.append(
            Row("EKS, 100,000 frames × 17 keypoints × 3 members", "`fit_eks_singlecam`",
                seconds(ours), seconds(theirs), smoothing["ratio"], memory(ours, theirs), True)
        )  # fmt: skip
    if scheduling := load("scheduling"):
        ours, theirs = scheduling["sides"]["raypose"], scheduling["sides"]["ideal"]
        peaks = scheduling["peak_memory_mib"]
        found.append(
            Row(scheduling["work"], "the ideal", seconds(ours), seconds(theirs),
                scheduling["ratio"], f"driver {peaks['driver']}, worker {peaks['worker']} MiB")
        )  # fmt: skip
    return found + gpu_rows()


def short_table(found: list[Row]) -> str:
    lines = [
        "| work | compared with | raypose | the other | times as fast |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.part} | {r.peer} | {r.ours} | {r.theirs} | **{r.ratio:.2g}×** |" for r in found
    ]
    return "\n".join(lines)


def table(found: list[Row]) -> str:
    lines = [
        "| work | peer | raypose | peer | ratio | peak memory, raypose / peer |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.part} | {r.peer} | {r.ours} | {r.theirs} | **{r.ratio:.2g}×** | {r.memory or '–'} |"
        for r in found
    ]
    return "\n".join(lines)


def notes(found: list[Row]) -> str:
    """What the memory column counts, and what was not measured."""
    text = (
        "\n\nMemory is the peak of one process; *worker* is the larger of GPU worker and CPU "
        "actor. The encoder process of `generate_labeled_video` is not counted."
    )
    missing = [row.part for row in found if not row.memory]
    if missing:
        text += f" Not measured: memory of {'; '.join(dict.fromkeys(missing))}."
    if not load("gpu"):
        text += (
            "\n\nNothing here was measured on a GPU; [On a GPU](../docs/gpu.md) has the figures "
            "of one H100."
        )
    return text


def memory_against_length() -> str:
    """What the longest run took beside the shortest; empty where none was recorded."""
    recorded = load("memory")
    if not recorded:
        return ""
    short, long = recorded["runs"][0], recorded["runs"][-1]
    tables, peaks = recorded["tables"], long["peak_mib"]
    return (
        f"\n\nWithout shared memory, one video of {long['frames']:,} frames in a run on Ray took "
        f"at most {peaks['GPU worker']['own']} MiB in the worker, including network and torch "
        f"({short['peak_mib']['GPU worker']['own']} MiB with {short['frames']:,} frames), "
        f"{peaks['CPU actor']['own']} MiB in a CPU actor and {peaks['driver']['own']} MiB in the "
        f"driver; the object store took {peaks['object store']['shared']} MiB. EKS and metrics "
        f"of {tables['frames']:,} × {tables['keypoints']} × {tables['members']} in memory took "
        f"{tables['eks']['peak_mib']} and {tables['metrics']['peak_mib']} MiB."
    )


def memory_by_size() -> str:
    """Peaks of a plan and of a run's processes, by the size of the frames and the length."""
    sizes = (load("memory") or {}).get("sizes")
    if not sizes:
        return (
            "Peak memory by frame size has only been measured for 8K H.264, on two cores: "
            "259 MiB to plan\nand 1.1 GiB to read."
        )
    lines = [
        "Peak memory of each process, for one video on two cores without a GPU, with metrics and",
        "the labelled video, one ResNet-18 at 64 px and 17 keypoints; libraries, which the",
        "processes share, count in each:",
        "",
        "| video | plan | driver | GPU worker | CPU actor |",
        "|---|---|---|---|---|",
    ]
    for size in sorted(sizes, key=lambda s: (s["width"], s["frames"])):
        peaks = [size["peak_mib"][role]["rss"] for role in ("driver", "GPU worker", "CPU actor")]
        cells = " | ".join(f"{mib:,} MiB" for mib in (size["plan_mib"], *peaks))
        lines.append(f"| {size['width']}×{size['height']}, {size['frames']:,} frames | {cells} |")
    return "\n".join(lines)


def startup() -> str:
    """How long a user waits before any work is done; empty where that was not measured."""
    recorded = load("startup")
    if not recorded:
        return ""
    n_each = recorded["frames"] // recorded["videos"]
    took = {name: seconds(side) for name, side in recorded["sides"].items()}
    return (
        f"\n\n`raypose --help` takes {took['help']}; `raypose plan` of {recorded['videos']:,} "
        f"videos of {n_each:,} frames takes {took['plan']} the first time and "
        f"{took['planned again']} when repeated."
    )


def simulation() -> str:
    """The scheduler on simulated clusters; what misses a goal is bold."""
    recorded = load("simulation")
    if not recorded:
        return "Not measured."
    goals = recorded["goals"]
    lines = [
        "| cluster | seeds | tasks | nodes lost | makespan / bound | GPUs idle | ms per task |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in recorded["rows"]:
        cells = {
            "over_lower_bound": f"{row['over_lower_bound']:.3f}",
            "gpu_idle": f"{row['gpu_idle']:.1%}",
            "driver_ms_per_task": f"{row['driver_ms_per_task']:.2f}",
        }
        shown = [f"**{cells[k]}**" if row[k] > goals[k] else cells[k] for k in cells]
        counts = f"{row['seeds']} | {row['n_tasks']:,} | {row['lost_nodes']}"
        lines.append(f"| {row['scenario']} | {counts} | {' | '.join(shown)} |")
    return "\n".join(lines)


def draw(found: list[Row], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = found[::-1]
    figure, axes = plt.subplots(figsize=(8, 0.5 * len(shown) + 1))
    labels = [f"{row.part}\nvs {row.peer.replace('`', '')}" for row in shown]
    bars = axes.barh(labels, [row.ratio for row in shown], color="#3b7dd8")
    axes.bar_label(bars, [f"{row.ratio:.2g}×" for row in shown], padding=3, fontsize=8)
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set_xlabel("times as fast as the peer, same machine, same session")
    axes.tick_params(axis="y", labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=130)


def put(name: str, marker: str, content: str, *, check: bool) -> None:
    """Write `content` between the two markers of a file, or check that it is there."""
    path = ROOT / name
    text = path.read_text(encoding="utf-8")
    begin, end = f"<!-- {marker}: begin -->", f"<!-- {marker}: end -->"
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    new = f"{before}{begin}\n{content}\n{end}{after}"
    if not check:
        path.write_text(new, encoding="utf-8")
    elif new != text:
        sys.exit(f"{name}: the table is not that of the results")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    found = rows()
    whole = table(found) + notes(found) + memory_against_length() + startup()
    in_readme = [row for row in found if row.in_readme]
    put("README.md", "benchmarks", short_table(in_readme), check=args.check)
    put("benchmarks/README.md", "benchmarks", whole, check=args.check)
    put("docs/scheduling.md", "simulation", simulation(), check=args.check)
    put("docs/limits.md", "memory", memory_by_size(), check=args.check)
    if not args.check:
        draw(in_readme, ROOT / "docs" / "images" / "benchmarks.png")


if __name__ == "__main__":
    main()
