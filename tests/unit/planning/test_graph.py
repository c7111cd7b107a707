"""The graph of a session: complete, in order, and no larger than what is missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raypose.config import EksOptions, RunConfig
from raypose.planning import OutputPlan, Plan, RecordingPlan, VideoPlan, plan_tasks
from raypose.planning.model import Planned
from raypose.specs import ModelSpec, Owner, VideoSpec
from raypose.steps import Predict, Smooth, Table, Task
from raypose.storage import digests
from tests.steps import label_step, metrics_step, snippet_step

N_FRAMES = 1000
KINDS = ("table", "metrics", "label", "snippet")


def model(name: str) -> ModelSpec:
    return ModelSpec(
        name, f"/m/{name}", "", "", f"fp-{name}", "heatmap", "resnet18", ("nose",), 64, 64
    )


VIDEO = VideoSpec("/v/cam.mp4", "day1/cam", N_FRAMES, 96, 64, 25.0, 40.0, "fp")


def output(name: str, done: set[str], ranges: tuple[tuple[int, int, str], ...] = ()) -> OutputPlan:
    """The outputs of a model, or of the smoothed ensemble."""
    owner = Owner(name, f"/o/{name}", model("a" if name == "eks" else name))
    path = f"/o/{name}/day1/cam.csv"
    table: Table | Smooth
    if name == "eks":
        table = Smooth(
            videos=(VIDEO,),
            owner=owner,
            outputs={"table": path, "params": "/o/eks/cam.json"},
            provenance={"of": name},
            members=("a", "b"),
            options=EksOptions(),
        )
    else:
        outputs = {"table": path}
        table = Table(videos=(VIDEO,), owner=owner, outputs=outputs, provenance={"of": name})
    clip = {"clip": "/o/clip", "table": "/o/clip.csv", "labeled": "/o/clip.labeled"}
    more = (
        metrics_step(VIDEO, owner, {"temporal_norm": "/o/norm.csv"}, {"of": name}),
        label_step(VIDEO, owner, "/o/labeled.mp4", {"of": name}),
        snippet_step(VIDEO, owner, clip, {"of": name}, 30.0),
    )
    return OutputPlan(
        owner,
        VIDEO,
        path,
        Planned(table, "table" in done),
        tuple(Planned(step, step.name in done) for step in more),
        ranges,
    )


def recording(
    done: dict[str, set[str]] | None = None,
    *,
    eks: bool = True,
    done_ranges: dict[str, tuple[tuple[int, int, str], ...]] | None = None,
) -> RecordingPlan:
    done, ranges = done or {}, done_ranges or {}
    members = tuple(output(name, done.get(name, set()), ranges.get(name, ())) for name in "ab")
    smoothed = output("eks", done.get("eks", set())) if eks else None
    plan = VideoPlan(VIDEO, members, smoothed, tuple(range(0, N_FRAMES, 50)))
    return RecordingPlan(VIDEO.key, (plan,))


def graph(
    plan: RecordingPlan, *, n_gpus: int = 1, chunk: int = 50_000, **values: Any
) -> list[Task]:
    config = RunConfig(videos=("v",), models=("a", "b"), chunk_frames=chunk, **values)
    made = plan_tasks(Plan(config, (), (), (plan,), (), Path("run")), n_gpus)
    tasks = [task for of_recording in made for task in of_recording]
    check(tasks)
    return tasks


def check(tasks: list[Task]) -> None:
    """What holds for every graph."""
    assert len({task.id for task in tasks}) == len(tasks)
    known: set[str] = set()
    for task in tasks:
        assert set(task.inputs) <= known, "a task comes after those it depends on"
        assert not known & set(task.outputs)
        assert task.outputs
        assert task.gpu == isinstance(task.step, Predict)
        known |= set(task.outputs)


def kinds(tasks: list[Task]) -> list[str]:
    return sorted(task.id.split("/")[0] + ":" + task.id.split("/")[-1] for task in tasks)


def test_everything_on_one_gpu() -> None:
    tasks = graph(recording())
    expected = ["predict:a+b", *(f"{kind}:{o}" for o in "ab" for kind in KINDS), "smooth:eks"]
    expected += [f"{kind}:eks" for kind in KINDS[1:]]
    assert kinds(tasks) == sorted(expected)
    (smooth,) = (task for task in tasks if task.step.name == "smooth")
    assert smooth.inputs == ("table/day1/cam/a", "table/day1/cam/b")
    assert isinstance(smooth.step, Smooth)
    assert smooth.step.members == ("a", "b")


def test_ids_are_the_same_the_next_time() -> None:
    assert [t.id for t in graph(recording())] == [t.id for t in graph(recording())]


def test_nothing_where_all_is_done() -> None:
    assert graph(recording({name: set(KINDS) for name in ("a", "b", "eks")})) == []


def test_a_missing_labelled_video_is_drawn_from_the_committed_table() -> None:
    done = {name: set(KINDS) for name in ("a", "b", "eks")}
    done["b"] -= {"label"}
    load, label = graph(recording(done))
    assert (load.step.name, label.step.name) == ("load", "label")
    assert label.inputs == load.outputs


def test_smoothing_reads_the_committed_tables_of_its_members() -> None:
    done = {"a": set(KINDS), "b": set(KINDS)}
    tasks = graph(recording(done))
    assert [t.step.name for t in tasks[:3]] == ["load", "load", "smooth"]
    assert tasks[2].inputs == (*tasks[0].outputs, *tasks[1].outputs)


def test_a_smoothed_table_that_is_done_is_loaded_for_its_label() -> None:
    done = {"a": set(KINDS), "b": set(KINDS), "eks": {"table", "metrics", "snippet"}}
    assert kinds(graph(recording(done))) == ["label:eks", "load:eks"]


def test_a_member_that_is_done_is_loaded_and_not_predicted() -> None:
    tasks = graph(recording({"a": set(KINDS)}))
    (predict,) = (task for task in tasks if task.gpu)
    assert isinstance(predict.step, Predict)
    assert [m.name for m in predict.step.models] == ["b"]
    assert "load:a" in kinds(tasks)


def test_without_eks_a_member_that_is_done_needs_nothing() -> None:
    tasks = graph(recording({"a": set(KINDS)}, eks=False))
    assert not [task for task in tasks if task.id.endswith("/a")]


@pytest.mark.parametrize("n_gpus", [1, 2, 3, 8])
@pytest.mark.parametrize("chunk", [170, 50_000])
def test_ranges_stitch_to_the_whole_video(n_gpus: int, chunk: int) -> None:
    tasks = graph(recording(), n_gpus=n_gpus, chunk=chunk)
    outputs = {
        name: (task.step.start, task.step.stop, m.name)
        for task in tasks
        if isinstance(task.step, Predict)
        for name, m in zip(task.outputs, task.step.models, strict=True)
    }
    for task in tasks:
        if not isinstance(task.step, Table):
            continue
        position = 0
        for (start, stop, path), name in zip(task.step.ranges, task.inputs, strict=True):
            assert outputs[name] == (start, stop, task.step.owner.name)
            assert (start, path) == (position, "")
            position = stop
        assert position == N_FRAMES


def test_only_parts_of_a_video_are_kept_as_ranges() -> None:
    (whole,) = (t.step for t in graph(recording()) if isinstance(t.step, Predict))
    assert whole.range_dirs == ()
    parts = [t.step for t in graph(recording(), chunk=300) if isinstance(t.step, Predict)]
    assert all(len(args.range_dirs) == 2 for args in parts)
    assert "day1" in parts[0].range_dirs[0]
    assert parts[0].provenances == ({"of": "a"}, {"of": "b"})


def test_finished_ranges_are_stitched_in() -> None:
    ranges = ((0, 400, "/r/0"), (600, 1000, "/r/1"))
    tasks = graph(recording(done_ranges={"a": ranges, "b": ranges}))
    (predict,) = (task for task in tasks if task.gpu)
    assert predict.n_frames == 200
    for table in (task for task in tasks if isinstance(task.step, Table)):
        assert isinstance(table.step, Table)
        assert table.step.ranges == ((0, 400, "/r/0"), (400, 600, ""), (600, 1000, "/r/1"))
        assert len(table.inputs) == 1


def test_where_members_finished_unlike_ranges_none_is_counted_twice() -> None:
    tasks = graph(recording(done_ranges={"a": ((0, 400, "/r/0"),)}))
    for task in tasks:
        if isinstance(task.step, Table):
            assert task.step.ranges == ((0, N_FRAMES, ""),)


def test_settings_reach_the_gpu() -> None:
    tasks = graph(recording(), precision="bf16", decoder="nvdec", batch_size=7, strict=True)
    args = next(task.step for task in tasks if isinstance(task.step, Predict))
    assert (args.precision, args.decoder) == ("bf16", "nvdec")
    assert (args.batch_size, args.strict) == (7, True)


def test_provenances_have_a_digest() -> None:
    # What ends in a record must be JSON.
    for task in graph(recording()):
        step = task.step
        provenances = step.provenances if isinstance(step, Predict) else (step.provenance,)
        assert all(map(digests.digest_of_json, provenances)) and provenances


def of_views(
    *, takes_views: tuple[bool, bool], ranges: dict[str, Any] | None = None
) -> RecordingPlan:
    """Models `a` and `b` on views `left` and `right`, with EKS."""
    videos = tuple(replace(VIDEO, key=f"rec_{view}", view=view) for view in ("left", "right"))
    owner = Owner("eks", "/o/eks", model("a"))
    tables = {Smooth.table_name(video): f"/o/eks/{video.view}.csv" for video in videos}
    smooth = Planned(
        Smooth(
            videos=videos,
            owner=owner,
            outputs={**tables, "params": "/o/eks/rec.json", "points": "/o/eks/rec.csv"},
            provenance={"of": "eks"},
            members=("a", "b"),
            options=EksOptions(),
            calibration="/c.toml",
        ),
        False,
    )

    def member(name: str, several: bool, video: VideoSpec) -> OutputPlan:
        kind = "heatmap_multiview_transformer" if several else "heatmap"
        spec = replace(model(name), model_type=kind, view_names=("right", "left") * several)
        path = f"/o/{name}/{video.view}.csv"
        table = Table(
            videos=(video,),
            owner=Owner(name, f"/o/{name}", spec),
            outputs={"table": path},
            provenance={"of": f"{name} {video.view}"},
        )
        kept = (ranges or {}).get(video.view, ())
        return OutputPlan(table.owner, video, path, Planned(table, False), (), kept)

    plans = tuple(
        VideoPlan(
            video,
            tuple(
                member(name, several, video)
                for name, several in zip("ab", takes_views, strict=True)
            ),
            OutputPlan(owner, video, tables[Smooth.table_name(video)], smooth),
        )
        for video in videos
    )
    return RecordingPlan("rec", plans)


def test_a_model_that_takes_all_views_gets_them_at_once() -> None:
    tasks = graph(of_views(takes_views=(True, True)))
    (predict,) = (task for task in tasks if task.gpu)
    assert isinstance(predict.step, Predict)
    assert [v.view for v in predict.step.videos] == ["right", "left"], "in the model's order"
    assert [r["of"] for r in predict.step.provenances] == [
        "a right",
        "a left",
        "b right",
        "b left",
    ]
    outputs = dict(zip(predict.outputs, predict.step.provenances, strict=True))
    for task in tasks:
        if isinstance(task.step, Table):
            assert outputs[task.inputs[0]] == task.step.provenance
    (smooth,) = (task for task in tasks if task.step.name == "smooth")
    assert isinstance(smooth.step, Smooth)
    assert [task_input.rpartition("/")[0] for task_input in smooth.inputs] == [
        "table/rec_left",
        "table/rec_left",
        "table/rec_right",
        "table/rec_right",
    ]
    assert smooth.step.tables == ("/o/eks/left.csv", "/o/eks/right.csv")


def test_models_of_one_view_take_views_as_pairs_beside_one_that_takes_all() -> None:
    tasks = graph(of_views(takes_views=(False, True)), n_gpus=3)
    predicts = [task.step for task in tasks if isinstance(task.step, Predict)]
    shapes = sorted((len(a.videos), [m.name for m in a.models]) for a in predicts)
    assert shapes == [(1, ["a"]), (1, ["a"]), (2, ["b"])]


def test_views_are_split_together() -> None:
    tasks = graph(of_views(takes_views=(True, True)), chunk=400)
    predicts = [task.step for task in tasks if isinstance(task.step, Predict)]
    assert [(a.start, a.stop) for a in predicts] == [(0, 334), (334, 667), (667, 1000)]
    assert all(len(a.range_dirs) == 4 for a in predicts)


def test_ranges_count_as_done_where_all_views_have_them() -> None:
    ranges = {
        "left": ((0, 400, "/r/0"), (400, 800, "/r/1")),
        "right": ((0, 400, "/s/0"),),
    }
    plan = of_views(takes_views=(True, True), ranges=ranges)
    tasks = graph(plan)
    (predict,) = (task.step for task in tasks if isinstance(task.step, Predict))
    assert (predict.start, predict.stop) == (400, 1000)
    for args in (task.step for task in tasks if isinstance(task.step, Table)):
        assert [path for _, _, path in args.ranges] in (["/r/0", ""], ["/s/0", ""])


def test_what_tasks_take_in_memory_grows_with_the_video() -> None:
    def needed(plan: RecordingPlan) -> int:
        config = RunConfig(videos=("v",), models=("a", "b"))
        return Plan(config, (), (), (plan,), (), Path("run")).task_bytes

    # One keypoint; two members are smoothed, and metrics take 160 bytes of each row.
    assert needed(recording()) == 160 * N_FRAMES
    everything = {"table", "smooth", "metrics", "label", "snippet"}
    assert needed(recording({name: everything for name in ("a", "b", "eks")})) == 0


def test_a_recording_and_a_video_of_the_same_name_have_their_own_tasks() -> None:
    """A recording `day1/cam` of two views beside a video of that name."""
    alone, both = (
        recording(eks=False),
        replace(of_views(takes_views=(False, False)), key=VIDEO.key),
    )
    config = RunConfig(videos=("v",), models=("a", "b"))
    made = plan_tasks(Plan(config, (), (), (alone, both), (), Path("run")), 1)
    ids = [task.id for tasks in made for task in tasks]
    assert len(set(ids)) == len(ids)
    assert [sum(task.gpu for task in tasks) for tasks in made] == [1, 2]
