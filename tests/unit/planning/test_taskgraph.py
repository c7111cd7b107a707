"""The graph of a session: complete, in order, and no larger than what is missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raypose.config import RunConfig
from raypose.planning import OwnerWork, SessionPlan, Step, VideoPlan
from raypose.planning.taskgraph import arranged_tasks
from raypose.specs import ModelSpec, Owner, VideoSpec
from raypose.storage import digests
from raypose.tasks import PredictArgs, SmoothArgs, SnippetArgs, TableArgs, Task

N_FRAMES = 1000
KINDS = ("table", "metrics", "label", "snippet")
FILES = {"metrics": ("temporal_norm",), "label": ("labeled",)}
SNIPPET = ("clip", "table", "labeled", "temporal_norm")


def model(name: str) -> ModelSpec:
    return ModelSpec(
        name, f"/m/{name}", "", "", f"fp-{name}", "heatmap", "resnet18", ("nose",), 64, 64
    )


VIDEO = VideoSpec("/v/cam.mp4", "day1/cam", N_FRAMES, 96, 64, 25.0, 40.0, "fp")


def work(name: str, done: set[str]) -> OwnerWork:
    eks = name == "eks"
    files = {**FILES, "table": ("table", "params") if eks else ("table",), "snippet": SNIPPET}
    steps = tuple(
        Step(kind, {f: f"/o/{name}/{kind}/{f}" for f in files[kind]}, {"of": name}, kind in done)
        for kind in KINDS
    )
    return OwnerWork(Owner(name, f"/o/{name}", model("a" if eks else name)), steps)


def session(
    done: dict[str, set[str]] | None = None,
    *,
    eks: bool = True,
    done_ranges: dict[str, tuple[tuple[int, int, str], ...]] | None = None,
) -> SessionPlan:
    done, ranges = done or {}, done_ranges or {}
    plan = VideoPlan(
        VIDEO,
        tuple(work(name, done.get(name, set())) for name in "ab"),
        work("eks", done.get("eks", set())) if eks else None,
        tuple(ranges.get(name, ()) for name in "ab"),
        tuple(range(0, N_FRAMES, 50)),
    )
    return SessionPlan(VIDEO.key, (plan,))


def graph(plan: SessionPlan, *, n_gpus: int = 1, chunk: int = 50_000, **values: Any) -> list[Task]:
    config = RunConfig(videos=("v",), models=("a", "b"), chunk_frames=chunk, **values)
    (tasks,) = arranged_tasks([plan], n_gpus, config)
    check(list(tasks))
    return list(tasks)


def check(tasks: list[Task]) -> None:
    """What holds for every graph."""
    assert len({task.id for task in tasks}) == len(tasks)
    known: set[str] = set()
    for task in tasks:
        assert set(task.inputs) <= known, "a task comes after those it depends on"
        assert not known & set(task.outputs)
        assert task.outputs
        assert task.gpu == (task.kind == "predict")
        known |= set(task.outputs)


def kinds(tasks: list[Task]) -> list[str]:
    return sorted(task.id.split("/")[0] + ":" + task.id.split("/")[-1] for task in tasks)


def test_everything_on_one_gpu() -> None:
    tasks = graph(session())
    expected = ["predict:a+b", *(f"{kind}:{o}" for o in "ab" for kind in KINDS), "smooth:eks"]
    expected += [f"{kind}:eks" for kind in KINDS[1:]]
    assert kinds(tasks) == sorted(expected)
    (smooth,) = (task for task in tasks if task.kind == "smooth")
    assert smooth.inputs == ("table/day1/cam/a", "table/day1/cam/b")
    assert isinstance(smooth.args, SmoothArgs)
    assert smooth.args.members == ("a", "b")


def test_ids_are_the_same_the_next_time() -> None:
    assert [t.id for t in graph(session())] == [t.id for t in graph(session())]


def test_nothing_where_all_is_done() -> None:
    assert graph(session({name: set(KINDS) for name in ("a", "b", "eks")})) == []


def test_a_missing_labelled_video_is_drawn_from_the_committed_table() -> None:
    done = {name: set(KINDS) for name in ("a", "b", "eks")}
    done["b"] -= {"label"}
    load, label = graph(session(done))
    assert (load.kind, label.kind) == ("load", "label")
    assert label.inputs == load.outputs


def test_smoothing_reads_the_committed_tables_of_its_members() -> None:
    done = {"a": set(KINDS), "b": set(KINDS)}
    tasks = graph(session(done))
    assert [t.kind for t in tasks[:3]] == ["load", "load", "smooth"]
    assert tasks[2].inputs == (*tasks[0].outputs, *tasks[1].outputs)


def test_a_smoothed_table_that_is_done_is_loaded_for_its_label() -> None:
    done = {"a": set(KINDS), "b": set(KINDS), "eks": {"table", "metrics", "snippet"}}
    assert kinds(graph(session(done))) == ["label:eks", "load:eks"]


def test_a_member_that_is_done_is_loaded_and_not_predicted() -> None:
    tasks = graph(session({"a": set(KINDS)}))
    (predict,) = (task for task in tasks if task.gpu)
    assert isinstance(predict.args, PredictArgs)
    assert [m.name for m in predict.args.models] == ["b"]
    assert "load:a" in kinds(tasks)


def test_without_eks_a_member_that_is_done_needs_nothing() -> None:
    tasks = graph(session({"a": set(KINDS)}, eks=False))
    assert not [task for task in tasks if task.id.endswith("/a")]


@pytest.mark.parametrize("n_gpus", [1, 2, 3, 8])
@pytest.mark.parametrize("chunk", [170, 50_000])
def test_ranges_stitch_to_the_whole_video(n_gpus: int, chunk: int) -> None:
    tasks = graph(session(), n_gpus=n_gpus, chunk=chunk)
    outputs = {
        name: (task.args.start, task.args.stop, m.name)
        for task in tasks
        if isinstance(task.args, PredictArgs)
        for name, m in zip(task.outputs, task.args.models, strict=True)
    }
    for task in tasks:
        if not isinstance(task.args, TableArgs):
            continue
        position = 0
        for (start, stop, path), name in zip(task.args.ranges, task.inputs, strict=True):
            assert outputs[name] == (start, stop, task.args.owner.name)
            assert (start, path) == (position, "")
            position = stop
        assert position == N_FRAMES


def test_only_parts_of_a_video_are_kept_as_ranges() -> None:
    (whole,) = (t.args for t in graph(session()) if isinstance(t.args, PredictArgs))
    assert whole.range_dirs == ()
    parts = [t.args for t in graph(session(), chunk=300) if isinstance(t.args, PredictArgs)]
    assert all(len(args.range_dirs) == 2 for args in parts)
    assert "day1" in parts[0].range_dirs[0]
    assert parts[0].recipes == ({"of": "a"}, {"of": "b"})


def test_finished_ranges_are_stitched_in() -> None:
    ranges = ((0, 400, "/r/0"), (600, 1000, "/r/1"))
    tasks = graph(session(done_ranges={"a": ranges, "b": ranges}))
    (predict,) = (task for task in tasks if task.gpu)
    assert predict.n_frames == 200
    for table in (task for task in tasks if isinstance(task.args, TableArgs)):
        assert isinstance(table.args, TableArgs)
        assert table.args.ranges == ((0, 400, "/r/0"), (400, 600, ""), (600, 1000, "/r/1"))
        assert len(table.inputs) == 1


def test_where_members_finished_unlike_ranges_none_is_counted_twice() -> None:
    tasks = graph(session(done_ranges={"a": ((0, 400, "/r/0"),)}))
    for task in tasks:
        if isinstance(task.args, TableArgs):
            assert task.args.ranges == ((0, N_FRAMES, ""),)


def test_snippet_knows_files_from_metrics() -> None:
    tasks = graph(session(), data_dir=Path("/data"), snippet_s=7.0)
    args = next(task.args for task in tasks if isinstance(task.args, SnippetArgs))
    assert args.clip.endswith("/clip")
    assert dict(args.metrics) == {"temporal_norm": "/o/a/snippet/temporal_norm"}
    assert (args.duration_s, args.data_dir) == (7.0, "/data")


def test_settings_reach_the_gpu() -> None:
    tasks = graph(session(), precision="bf16", decoder="nvdec", batch_size=7, strict=True)
    args = next(task.args for task in tasks if isinstance(task.args, PredictArgs))
    assert (args.precision, args.decoder) == ("bf16", "nvdec")
    assert (args.batch_size, args.strict) == (7, True)


def test_recipes_have_a_digest() -> None:
    # What ends in a record must be JSON.
    for task in graph(session()):
        recipe = getattr(task.args, "recipe", None)
        assert recipe is None or digests.digest_of_json(recipe)


def recording(*, takes_views: tuple[bool, bool], n_frames: int = N_FRAMES) -> SessionPlan:
    """Models `a` and `b` on views `left` and `right`, with EKS."""

    def works(view: str) -> tuple[OwnerWork, ...]:
        made = []
        for name, several in zip("ab", takes_views, strict=True):
            kind = "heatmap_multiview_transformer" if several else "heatmap"
            spec = replace(model(name), model_type=kind, view_names=("right", "left") * several)
            files = {"table": f"/o/{name}/{view}.csv"}
            step = Step("table", files, {"of": f"{name} {view}"}, False)
            made.append(OwnerWork(Owner(name, f"/o/{name}", spec), (step,)))
        return tuple(made)

    def eks(view: str) -> OwnerWork:
        files = {"table": f"/o/eks/{view}.csv"}
        if view == "left":
            files |= {"params": "/o/eks/rec.json", "points": "/o/eks/rec.csv"}
        step = Step("table", files, {"of": f"eks {view}"}, False)
        return OwnerWork(Owner("eks", "/o/eks", model("a")), (step,))

    videos = tuple(
        VideoPlan(
            replace(VIDEO, key=f"rec_{view}", view=view, n_frames=n_frames),
            works(view),
            eks(view),
            ((), ()),
        )
        for view in ("left", "right")
    )
    return SessionPlan("rec", videos, calibration="/c.toml")


def test_a_model_that_takes_all_views_gets_them_at_once() -> None:
    tasks = graph(recording(takes_views=(True, True)))
    (predict,) = (task for task in tasks if task.gpu)
    assert isinstance(predict.args, PredictArgs)
    assert [v.view for v in predict.args.videos] == ["right", "left"], "in the model's order"
    assert [r["of"] for r in predict.args.recipes] == ["a right", "a left", "b right", "b left"]
    outputs = dict(zip(predict.outputs, predict.args.recipes, strict=True))
    for task in tasks:
        if isinstance(task.args, TableArgs):
            assert outputs[task.inputs[0]] == task.args.recipe
    (smooth,) = (task for task in tasks if task.kind == "smooth")
    assert isinstance(smooth.args, SmoothArgs)
    assert [task_input.rpartition("/")[0] for task_input in smooth.inputs] == [
        "table/rec_left",
        "table/rec_left",
        "table/rec_right",
        "table/rec_right",
    ]
    assert smooth.args.outputs == ("/o/eks/left.csv", "/o/eks/right.csv")
    assert (smooth.args.points_output, smooth.args.calibration) == ("/o/eks/rec.csv", "/c.toml")


def test_models_of_one_view_take_views_as_pairs_beside_one_that_takes_all() -> None:
    tasks = graph(recording(takes_views=(False, True)), n_gpus=3)
    predicts = [task.args for task in tasks if isinstance(task.args, PredictArgs)]
    shapes = sorted((len(a.videos), [m.name for m in a.models]) for a in predicts)
    assert shapes == [(1, ["a"]), (1, ["a"]), (2, ["b"])]


def test_views_are_split_together() -> None:
    tasks = graph(recording(takes_views=(True, True)), chunk=400)
    predicts = [task.args for task in tasks if isinstance(task.args, PredictArgs)]
    assert [(a.start, a.stop) for a in predicts] == [(0, 334), (334, 667), (667, 1000)]
    assert all(len(a.range_dirs) == 4 for a in predicts)


def test_ranges_count_as_done_where_all_views_have_them() -> None:
    plan = recording(takes_views=(True, True))
    left, right = plan.videos
    kept, some = ((0, 400, "/r/0"), (400, 800, "/r/1")), ((0, 400, "/s/0"),)
    plan = replace(
        plan,
        videos=(
            replace(left, done_ranges=(kept, kept)),
            replace(right, done_ranges=(some, some)),
        ),
    )
    tasks = graph(plan)
    (predict,) = (task.args for task in tasks if isinstance(task.args, PredictArgs))
    assert (predict.start, predict.stop) == (400, 1000)
    for args in (task.args for task in tasks if isinstance(task.args, TableArgs)):
        assert [path for _, _, path in args.ranges] in (["/r/0", ""], ["/s/0", ""])
