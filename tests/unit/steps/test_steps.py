"""Each kind of task through `execute`: what it commits, hands on, and makes of errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from raypose.config import RunConfig
from raypose.errors import CancelledError, Failure
from raypose.execution.inline import InlineExecutor
from raypose.inputs.models import open_model
from raypose.inputs.probe import probe
from raypose.metrics.compute import TEMPORAL_NORM
from raypose.planning import plan_run, plan_tasks
from raypose.specs import ModelSpec, Owner, Progress, VideoSpec
from raypose.steps import Load, Predict, Smooth, Snippet, Step, Summary, Table, Task
from raypose.steps.execute import execute
from raypose.steps.predict import Predicted
from raypose.steps.ranges import finished_ranges, write_range
from raypose.storage import records
from raypose.tables.keypoints import KeypointTable, read_csv
from raypose.worker.context import Context
from tests.disk import largest_file
from tests.frames import make_frames
from tests.metric_tables import read_metric_csv
from tests.models import make_model
from tests.projects import fake_model
from tests.steps import (
    label_step,
    load_step,
    make_context,
    metrics_step,
    predict_step,
    smooth_step,
    snippet_step,
    table_step,
    task_of,
)
from tests.videos import damage_packets, make_video

N_FRAMES = 30
PROVENANCE = {"kind": "test", "video": "v"}


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYPOSE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> VideoSpec:
    return spec_of(make_video(tmp_path_factory.mktemp("v") / "cam.mp4", n_frames=N_FRAMES))


@pytest.fixture
def owner(tmp_path: Path) -> Owner:
    return Owner("m", str(tmp_path / "o"), open_model(fake_model(tmp_path / "m"), name="m"))


def spec_of(path: Path) -> VideoSpec:
    return probe(path, path.stem)


def context(*, should_stop: bool = False, words: list[Progress] | None = None) -> Context:
    return make_context(
        report=(words if words is not None else []).append, should_stop=lambda: should_stop
    )


def do(step: Step, *inputs: Any, **values: Any) -> tuple[Summary, Any]:
    """Summary and single result of a task."""
    summary, (result,) = execute(task_of(step, n_frames=N_FRAMES), inputs, context(**values))
    return summary, result


def keypoints(n_frames: int = N_FRAMES, seed: int = 0) -> np.ndarray:
    """A smooth walk of three keypoints, (n_frames, 3, 3)."""
    random = np.random.default_rng(seed)
    values = np.empty((n_frames, 3, 3), np.float32)
    values[..., :2] = 30 + np.cumsum(random.normal(size=(n_frames, 3, 2)), axis=0)
    values[..., 2] = random.uniform(0.91, 1, (n_frames, 3))
    return values


def predicted() -> Predicted:
    return Predicted(keypoints(), make_frames(N_FRAMES))


def table(model: ModelSpec, n_frames: int = N_FRAMES, seed: int = 0) -> KeypointTable:
    return KeypointTable(
        model.scorer, model.keypoint_names, ("x", "y", "likelihood"), keypoints(n_frames, seed)
    )


def n_frames_of(path: str | Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def make_snippet_step(
    video: VideoSpec, owner: Owner, folder: Path, *, duration_s: float = 0.4
) -> Snippet:
    outputs = {
        "clip": str(folder / "cam.short.mp4"),
        "table": str(folder / "cam.short.csv"),
        "labeled": str(folder / "cam.short.labeled.mp4"),
        TEMPORAL_NORM: str(folder / "cam.short_temporal_norm.csv"),
    }
    return snippet_step(video, owner, outputs, PROVENANCE, duration_s)


class TestErrors:
    def test_what_depends_on_a_failure_is_left_out(
        self, video: VideoSpec, owner: Owner, tmp_path: Path
    ) -> None:
        failure = Failure("predict", "no frames", "/v.mp4", "Leave it out.")
        output = tmp_path / "x.mp4"
        summary, result = do(label_step(video, owner, str(output), PROVENANCE), failure)
        assert result.skipped
        assert (result.step, result.message) == ("label", "no frames")
        assert summary.failures == (result,)
        assert not output.exists()

    def test_an_error_becomes_one_failure_for_each_output(self, video: VideoSpec) -> None:
        broken = load_step(video, "/no/table.csv")
        summary, results = execute(task_of(broken, outputs=("a", "b")), [], context())
        assert len(results) == len(summary.failures) == 2
        assert not any(failure.skipped for failure in summary.failures)
        assert summary.worker == "here"

    def test_what_others_can_do_without_is_no_failure_of_its_own(self, video: VideoSpec) -> None:
        summary, (result,) = execute(
            task_of(load_step(video, "/no/table.csv", optional=True)), [], context()
        )
        assert isinstance(result, Failure)
        assert summary.failures == ()

    def test_a_defect_keeps_its_traceback(
        self, video: VideoSpec, owner: Owner, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def defect(*arguments: object) -> None:
            raise ZeroDivisionError("oh")

        monkeypatch.setattr(Load, "run", defect)
        _, result = do(load_step(video, "/x"))
        assert "oh" in result.message
        assert "Traceback" in result.details

    def test_a_stopped_run_raises(self, video: VideoSpec, owner: Owner, tmp_path: Path) -> None:
        args = label_step(video, owner, str(tmp_path / "o" / "x.mp4"), PROVENANCE)
        with pytest.raises(CancelledError):
            do(args, table(owner.model), should_stop=True)
        assert not files_below(tmp_path / "o")


class TestTable:
    def args(self, video: VideoSpec, owner: Owner, *ranges: tuple[int, int, str]) -> Table:
        output = f"{owner.root}/video_preds/cam.csv"
        return table_step(video, owner, output, PROVENANCE, ranges or ((0, N_FRAMES, ""),))

    def test_whole_video(self, video: VideoSpec, owner: Owner) -> None:
        args = self.args(video, owner)
        summary, result = do(args, predicted())
        np.testing.assert_array_equal(result.values, keypoints())
        np.testing.assert_allclose(read_csv(args.outputs["table"]).values, keypoints(), rtol=1e-6)
        assert summary.made == (args.outputs["table"],)
        assert not summary.warnings
        verdict = records.check(Path(args.outputs["table"]), PROVENANCE)
        assert verdict.done
        assert verdict.source == video.path
        assert verdict.stats == {"n_rows": N_FRAMES, "frames": {"ok": N_FRAMES}}

    def test_ranges_of_this_run_and_of_an_earlier_one(
        self, video: VideoSpec, owner: Owner, tmp_path: Path
    ) -> None:
        whole = keypoints()
        folder = tmp_path / "o" / "video_preds" / ".raypose" / "ranges" / "cam"
        kept = write_range(
            folder,
            10,
            whole[10:20],
            PROVENANCE,
            frames=make_frames(10, first=10, missing=[12], suspect=[13]),
            source="",
        )
        args = self.args(video, owner, (0, 10, ""), (10, 20, str(kept)), (20, 30, ""))
        summary, result = do(
            args,
            Predicted(whole[:10], make_frames(10)),
            Predicted(whole[20:], make_frames(10, first=20, corrupt=[29])),
        )
        np.testing.assert_array_equal(result.values, whole)
        assert np.flatnonzero(result.frames.statuses).tolist() == [12, 13, 29]
        np.testing.assert_allclose(result.frames.times_s, np.arange(30) / 25)
        assert summary.stats["frames"] == {"ok": 27, "suspect": 1, "corrupt": 1, "missing": 1}
        assert "1 of 30 frames is missing, 1 corrupt, 1 suspect" in summary.warnings
        assert not folder.exists(), "ranges go when the table is committed"

    def test_a_range_that_is_gone_fails_this_table(
        self, video: VideoSpec, owner: Owner, tmp_path: Path
    ) -> None:
        args = self.args(video, owner, (0, 10, str(tmp_path / "gone.parquet")), (10, 30, ""))
        _, result = do(args, Predicted(keypoints(20), make_frames(20)))
        assert isinstance(result, Failure)
        assert not Path(args.outputs["table"]).exists()

    def test_a_full_disk(self, video: VideoSpec, owner: Owner, tmp_path: Path) -> None:
        args = self.args(video, owner)
        with largest_file(500):
            _, result = do(args, predicted())
        assert isinstance(result, Failure)
        assert result.error == "OutputError", result
        assert not files_below(tmp_path / "o")

    def test_then_loaded(self, video: VideoSpec, owner: Owner) -> None:
        args = self.args(video, owner)
        _, made = do(args, predicted())
        summary, loaded = do(load_step(video, args.outputs["table"]))
        np.testing.assert_allclose(loaded.values, made.values, rtol=1e-6)
        assert loaded.keypoint_names == made.keypoint_names
        assert summary.made == ()


class TestMetrics:
    def test_temporal_norm(self, video: VideoSpec, owner: Owner, tmp_path: Path) -> None:
        output = tmp_path / "o" / "cam_temporal_norm.csv"
        args = metrics_step(video, owner, {TEMPORAL_NORM: str(output)}, PROVENANCE)
        summary, _ = do(args, table(owner.model))
        names, values = read_metric_csv(output)
        assert names == owner.model.keypoint_names
        expected = np.linalg.norm(np.diff(keypoints()[..., :2], axis=0), axis=2)
        assert np.isnan(values[0]).all()
        np.testing.assert_allclose(values[1:], expected, rtol=1e-5)
        assert summary.made == (str(output),)
        assert records.check(output, PROVENANCE).done

    def test_without_labels_the_rest_goes_on(
        self, video: VideoSpec, owner: Owner, tmp_path: Path
    ) -> None:
        names = (TEMPORAL_NORM, "pca_singleview_error")
        model = open_model(
            fake_model(tmp_path / "p", data={"columns_for_singleview_pca": [0, 1, 2]})
        )
        outputs = {name: str(tmp_path / f"{name}.csv") for name in names}
        args = metrics_step(video, Owner("p", "", model), outputs, PROVENANCE)
        summary, result = do(args, table(model))
        assert result is None
        assert summary.made == (outputs[TEMPORAL_NORM],)
        assert "PCA metrics are left out" in summary.warnings[0]


class TestLabel:
    def test_every_frame_is_drawn(self, video: VideoSpec, owner: Owner, tmp_path: Path) -> None:
        output = tmp_path / "cam_labeled.mp4"
        words: list[Progress] = []
        args = label_step(video, owner, str(output), PROVENANCE)
        summary, _ = do(args, table(owner.model), words=words)
        assert n_frames_of(output) == N_FRAMES
        assert records.check(output, PROVENANCE).done
        assert summary.stats["n_frames"] == N_FRAMES
        assert words[-1] == Progress("label/x", N_FRAMES, N_FRAMES, "here")

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there may be an encoder")
    def test_the_encoder_is_the_one_that_was_asked_for(
        self, video: VideoSpec, owner: Owner, tmp_path: Path
    ) -> None:
        args = label_step(video, owner, str(tmp_path / "x.mp4"), PROVENANCE, encoder="nvenc")
        _, result = do(args, table(owner.model))
        assert isinstance(result, Failure)
        assert "the GPU's encoder can't be used" in result.message

    def test_a_full_disk(self, owner: Owner, tmp_path: Path) -> None:
        def noise(i: int, width: int, height: int) -> np.ndarray:
            return np.random.default_rng(i).integers(0, 255, (height, width, 3)).astype(np.uint8)

        video = spec_of(make_video(tmp_path / "noise.mp4", picture=noise, width=320, height=240))
        args = label_step(video, owner, str(tmp_path / "o" / "x.mp4"), PROVENANCE)
        with largest_file(100_000):
            _, result = do(args, table(owner.model))
        assert isinstance(result, Failure)
        assert result.error == "OutputError", result
        assert not files_below(tmp_path / "o")


class TestSnippet:
    def test_clip_table_metrics_and_labels_are_of_the_same_frames(
        self, video: VideoSpec, owner: Owner, tmp_path: Path
    ) -> None:
        whole = table(owner.model)
        whole.values[12:20, :, 0] += np.arange(8, dtype=np.float32)[:, None] * 5  # a burst
        args = make_snippet_step(video, owner, tmp_path / "s")
        summary, _ = do(args, whole)
        start, stop = summary.stats["start"], summary.stats["stop"]
        assert stop - start == 10
        assert start <= 13
        assert stop >= 19
        assert n_frames_of(args.outputs["clip"]) == n_frames_of(args.outputs["labeled"]) == 10
        np.testing.assert_allclose(
            read_csv(args.outputs["table"]).values, whole.values[start:stop], rtol=1e-6
        )
        _, norms = read_metric_csv(args.outputs[TEMPORAL_NORM])
        assert len(norms) == 10
        assert np.isnan(norms[0]).all()
        assert len(summary.made) == 4
        assert all(records.check(Path(path), PROVENANCE).done for path in summary.made)

    def test_a_short_video_is_its_own_snippet(
        self, video: VideoSpec, owner: Owner, tmp_path: Path
    ) -> None:
        args = make_snippet_step(video, owner, tmp_path / "s", duration_s=30.0)
        summary, _ = do(args, table(owner.model))
        assert (summary.stats["start"], summary.stats["stop"]) == (0, N_FRAMES)
        assert n_frames_of(args.outputs["clip"]) == N_FRAMES

    def test_a_file_where_its_folder_should_be(
        self, video: VideoSpec, owner: Owner, tmp_path: Path
    ) -> None:
        (tmp_path / "s").write_text("mine")
        _, result = do(make_snippet_step(video, owner, tmp_path / "s"), table(owner.model))
        assert isinstance(result, Failure)
        assert result.error == "OutputError"
        assert result.hint
        assert (tmp_path / "s").read_text() == "mine"


class TestSmooth:
    def args(self, video: VideoSpec, folder: Path, **options: Any) -> Smooth:
        return smooth_step([video], str(folder), ("a", "b"), PROVENANCE, options)

    def test_table_and_parameters(self, video: VideoSpec, owner: Owner, tmp_path: Path) -> None:
        args = self.args(video, tmp_path)
        members = [table(owner.model), table(owner.model)]
        members[1].values[..., :2] += 0.5
        summary, result = do(args, *members)
        assert not isinstance(result, Failure), result
        saved = read_csv(args.tables[0])
        assert saved.n_frames == N_FRAMES
        assert saved.scorer == "ensemble-kalman_tracker"
        middle = (members[0].values[..., :2] + members[1].values[..., :2]) / 2
        assert np.abs(result.xy - middle).mean() < 1.5
        params = json.loads(Path(args.outputs["params"]).read_text())
        assert params["members"] == ["a", "b"]
        assert set(params["smooth_params"]) == set(owner.model.keypoint_names)
        assert set(summary.made) == {args.tables[0], args.outputs["params"]}
        assert records.check(Path(args.tables[0]), args.provenance_of(video)).done
        assert records.check(Path(args.outputs["params"]), args.provenance_of(video)).done

    def test_a_parameter_that_was_given_is_used(
        self, video: VideoSpec, owner: Owner, tmp_path: Path
    ) -> None:
        args = self.args(video, tmp_path, smooth_param=3.5, avg_mode="mean")
        do(args, table(owner.model), table(owner.model, seed=1))
        params = json.loads(Path(args.outputs["params"]).read_text())
        assert set(params["smooth_params"].values()) == {3.5}
        assert params["options"]["avg_mode"] == "mean"

    def test_members_of_unlike_length_are_named(
        self, video: VideoSpec, owner: Owner, tmp_path: Path
    ) -> None:
        args = self.args(video, tmp_path)
        _, result = do(args, table(owner.model), table(owner.model, 28))
        assert isinstance(result, Failure)
        assert "b has 28 frames, and the others have 30" in result.message
        assert not Path(args.tables[0]).exists()

    def test_one_failed_member_leaves_the_ensemble_out(
        self, video: VideoSpec, owner: Owner, tmp_path: Path
    ) -> None:
        failure = Failure("predict", "no frames")
        _, result = do(self.args(video, tmp_path), table(owner.model), failure)
        assert result.skipped

    def test_enough_members_go_on_without_one_that_failed(
        self, video: VideoSpec, owner: Owner, tmp_path: Path
    ) -> None:
        args = self.args(video, tmp_path, min_members=2)
        args = replace(args, members=("a", "b", "c"))
        failure = Failure("predict", "no frames")
        summary, result = do(args, table(owner.model), failure, table(owner.model, seed=1))
        assert not isinstance(result, Failure), result
        assert summary.warnings == ("EKS went on without b: it failed (no frames)",)
        params = json.loads(Path(args.outputs["params"]).read_text())
        assert params["members"] == ["a", "c"]
        assert list(params["left_out"]) == ["b"]
        # With all members there, the next run makes it anew.
        assert "left_out" in records.check(Path(args.tables[0]), args.provenance_of(video)).changed

    @pytest.mark.filterwarnings("ignore")
    def test_views_are_smoothed_together(
        self, video: VideoSpec, owner: Owner, tmp_path: Path
    ) -> None:
        videos = tuple(replace(video, view=view) for view in ("left", "right"))
        args = smooth_step(videos, str(tmp_path), ("a", "b"), PROVENANCE, {"smooth_param": 3.0})
        members = [table(owner.model, seed=seed) for seed in range(4)]
        given = task_of(args, outputs=("left", "right"))
        summary, (left, right) = execute(given, members, context())
        assert not summary.failures
        assert summary.stats["mode"] == "multicam"
        np.testing.assert_allclose(read_csv(args.tables[0]).values, left.values, atol=1e-3)
        middle = (members[2].xy + members[3].xy) / 2
        assert np.abs(right.xy - middle).mean() < np.abs(left.xy - middle).mean()


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelSpec, ModelSpec]:
    root = tmp_path_factory.mktemp("models")
    return tuple(  # type: ignore[return-value]
        open_model(make_model(root / name, seed=i), name=name) for i, name in enumerate("ab")
    )


def predict_task(video: VideoSpec, models: tuple[ModelSpec, ...], **values: Any) -> Task:
    given: dict[str, Any] = {"start": 0, "stop": video.n_frames, "precision": "fp32", **values}
    provenances = tuple({**PROVENANCE, "model": model.name} for model in models)
    step = predict_step(video, models, provenances=provenances, **given)
    return task_of(step, outputs=tuple(model.name for model in models), n_frames=N_FRAMES)


@pytest.mark.slow
class TestPredict:
    def test_members_share_a_decode_and_keep_their_own_numbers(
        self, video: VideoSpec, members: tuple[ModelSpec, ModelSpec]
    ) -> None:
        words: list[Progress] = []
        here = context(words=words)
        summary, together = execute(predict_task(video, members), [], here)
        assert not summary.failures
        assert summary.stats["n_frames"] == N_FRAMES
        assert summary.stats["device"] == "cpu"
        assert 0 <= summary.stats["decode_s"] <= summary.stats["predict_s"]
        assert words[-1].n_done == N_FRAMES
        for model, result in zip(members, together, strict=True):
            assert result.values.shape == (N_FRAMES, 3, 3)
            _, (alone,) = execute(predict_task(video, (model,)), [], here)
            np.testing.assert_array_equal(alone.values, result.values)
        assert np.abs(together[0].values - together[1].values).max() > 1
        assert here.n_loaded == 2, "networks are loaded once"

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there may be a decoder")
    def test_the_decoder_that_was_not_used_is_told(
        self, video: VideoSpec, members: tuple[ModelSpec, ModelSpec]
    ) -> None:
        asked = predict_task(video, members[:1], decoder="nvdec", precision="auto")
        provenance = {**PROVENANCE, "precision": "fp32", "decoder": "nvdec"}
        asked = replace(asked, step=replace(asked.step, provenances=(provenance,)))
        summary, (result,) = execute(asked, [], context())
        assert summary.warnings == ("decoded on the CPU: the network is not on a GPU",)
        done = {"precision": "fp32", "decoder": "cpu", "decoder_asked": "nvdec"}
        assert result.provenance == {**PROVENANCE, **done}, "the record says what was done"

    def test_a_range_is_kept_for_the_next_run(
        self, video: VideoSpec, members: tuple[ModelSpec, ModelSpec], tmp_path: Path
    ) -> None:
        here = context()
        _, (whole,) = execute(predict_task(video, members[:1]), [], here)
        part_task = predict_task(
            video, members[:1], start=10, stop=25, range_dirs=(str(tmp_path / "r"),)
        )
        _, (part,) = execute(part_task, [], here)
        np.testing.assert_allclose(part.values, whole.values[10:25], atol=1e-3)
        assert isinstance(part_task.step, Predict)
        ((start, stop, _),) = finished_ranges(tmp_path / "r", part_task.step.provenances[0])
        assert (start, stop) == (10, 25)

    def test_a_member_that_cannot_be_loaded_leaves_the_other_its_video(
        self, video: VideoSpec, members: tuple[ModelSpec, ModelSpec], tmp_path: Path
    ) -> None:
        broken = open_model(fake_model(tmp_path / "broken"), name="broken")
        summary, (failure, result) = execute(
            predict_task(video, (broken, members[0])), [], context()
        )
        assert isinstance(failure, Failure)
        assert failure.error == "ModelError", failure
        assert broken.checkpoint in failure.path
        assert len(result.values) == N_FRAMES
        assert summary.failures == (failure,)

    def test_strict(self, members: tuple[ModelSpec, ModelSpec], tmp_path: Path) -> None:
        good = make_video(tmp_path / "good.mp4", codec="mjpeg", pix_fmt="yuvj420p")
        bad = spec_of(damage_packets(good, tmp_path / "bad.mp4", [5, 6]))
        here = context()
        _, (result,) = execute(predict_task(bad, members[:1]), [], here)
        assert np.flatnonzero(result.frames.statuses).tolist() == [5, 6]
        (read,) = result.videos
        assert (read.fingerprint, read.identity, read.n_bad) == (bad.fingerprint, bad.identity, 2)
        assert np.isnan(result.values[5:7, :, :2]).all()
        assert (result.values[5:7, :, 2] == 0).all()
        _, (failure,) = execute(predict_task(bad, members[:1], strict=True), [], here)
        assert isinstance(failure, Failure)
        assert "2 of 30 frames are missing" in failure.message
        assert "--strict" in failure.hint


class Listener:
    """Hears what an executor has to say."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.summaries: list[Summary] = []

    def progress(self, progress: Progress) -> None:
        if progress.task not in self.started:
            self.started.append(progress.task)

    def finished(self, summary: Summary) -> None:
        self.summaries.append(summary)

    def lost(self, worker: str, reason: str) -> None:
        raise AssertionError("one process loses no worker")


@pytest.mark.slow
def test_inline_executor_does_a_whole_session(
    video: VideoSpec, members: tuple[ModelSpec, ModelSpec], tmp_path: Path
) -> None:
    config = RunConfig(
        videos=(video.path,),
        models=tuple(model.directory for model in members),
        eks=True,
        label=("full", "snippet"),
        output_dir=tmp_path / "o",
        device="cpu",
        inline=True,
        chunk_frames=20,
    )
    plan = plan_run(config, run_dir=tmp_path / "run")
    executor = InlineExecutor(config)
    assert executor.start(plan.models, 0, lambda what: None) == 1
    assert executor.description == "this process, on cpu"
    (tasks,) = plan_tasks(plan, 1)
    assert sum(task.gpu for task in tasks) == 2, "the video is longer than a chunk"
    listener = Listener()
    executor.run(tasks, listener)
    executor.close()
    done = [summary.task for summary in listener.summaries]
    assert listener.started == done and sorted(done) == sorted(task.id for task in tasks)
    by_id, made = {task.id: task for task in tasks}, set[str]()
    for task in map(by_id.__getitem__, done):
        assert made >= set(task.inputs), "inputs come first"
        made.update(task.outputs)
    assert not [failure for summary in listener.summaries for failure in summary.failures]
    assert plan_run(config, run_dir=tmp_path / "run").done
    assert not list((tmp_path / "o").rglob("*.parquet"))

    # A table of a member is removed: it alone is made again, with the same numbers.
    path = tmp_path / "o" / plan.models[0].name / "video_preds" / f"{video.key}.csv"
    before = read_csv(path).values
    path.unlink()
    again = plan_run(config, run_dir=tmp_path / "run")
    assert [unit.models for unit in again.recordings[0].demands] == [(0,)]
    (tasks,) = plan_tasks(again, 1)
    executor.run(tasks, Listener())
    np.testing.assert_allclose(read_csv(path).values, before, atol=1e-3)
    assert plan_run(config, run_dir=tmp_path / "run").done
