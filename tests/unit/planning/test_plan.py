"""The plan: what is to be made, what is done, what is wrong; nothing is written."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from raypose.errors import ModelError, UsageError
from raypose.planning import Plan
from raypose.steps import Smooth
from tests.calibrations import calibration_text
from tests.projects import Project, commit_all, fake_model
from tests.videos import truncate


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYPOSE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


EVERYTHING: dict[str, Any] = {"eks": True, "label": ("full", "snippet")}


STEPS = {"table", "smooth", "metrics", "label", "snippet"}
"""The kinds of steps that this module is about."""


def missing(plan: Plan) -> set[tuple[str, str, str]]:
    return {
        (output.video.key, output.owner.name, planned.step.name)
        for output in plan.outputs
        for planned in output.missing
        if planned.step.name in STEPS
    }


def smooth_step(plan: Plan) -> Smooth:
    planned = plan.recordings[0].smooth
    assert planned is not None and isinstance(planned.step, Smooth)
    return planned.step


def fatal(plan: Plan) -> list[str]:
    return [problem.message for problem in plan.problems if problem.fatal]


class TestWhatIsToDo:
    def test_everything_of_an_ensemble(self, project: Project) -> None:
        project.video()
        plan = project.plan(**EVERYTHING)
        more = ("metrics", "label", "snippet")
        tables = {("cam", "a", "table"), ("cam", "b", "table"), ("cam", "eks", "smooth")}
        assert missing(plan) == tables | {("cam", o, k) for o in ("a", "b", "eks") for k in more}
        assert not plan.problems
        (demand,) = plan.recordings[0].demands
        assert (demand.videos, demand.models) == ((0,), (0, 1))

    def test_nothing_is_written(self, project: Project) -> None:
        project.video()
        before = sorted(project.root.rglob("*"))
        project.plan(**EVERYTHING)
        assert sorted(project.root.rglob("*")) == before

    def test_only_what_is_asked_for(self, project: Project) -> None:
        project.video()
        plan = project.plan(metrics=False)
        assert missing(plan) == {("cam", "a", "table"), ("cam", "b", "table")}
        assert plan.recordings[0].videos[0].smoothed is None

    def test_no_two_outputs_share_a_path(self, project: Project) -> None:
        for name in ("d1/cam.mp4", "d2/cam.mp4", "cam.avi"):
            project.video(name, **({"codec": "mpeg4"} if name.endswith("avi") else {}))
        for layout in ("app", "pose-app"):
            plan = project.plan(layout=layout, recursive=True, **EVERYTHING)
            paths = [
                p for output in plan.outputs for planned in output.steps
                for p in planned.outputs.values()
            ]  # fmt: skip
            assert len(plan.recordings) == 3
            assert len(set(paths)) == len(paths)

    def test_without_output_dir_models_keep_their_own(self, project: Project) -> None:
        project.video()
        plan = project.plan(output_dir=None, eks=True, eks_dir=project.root / "smooth")
        tables = [output.path for output in plan.recordings[0].outputs]
        assert tables == [
            str(project.models[0] / "video_preds" / "cam.csv"),
            str(project.models[1] / "video_preds" / "cam.csv"),
            str(project.root / "smooth" / "video_preds" / "cam.csv"),
        ]

    def test_paths_are_absolute(self, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        project.video()
        monkeypatch.chdir(project.root)
        plan = project.plan(output_dir="out", videos=("videos",), models=("models/a",))
        (work,) = plan.recordings[0].outputs
        assert work.path == str(project.out / "a" / "video_preds" / "cam.csv")

    def test_disk_for_labelled_videos(self, project: Project) -> None:
        project.video()
        assert project.plan(eks=True).labeled_bytes == 0
        full = project.plan(label=("full",)).labeled_bytes
        assert 0 < full < project.plan(label=("full", "snippet")).labeled_bytes
        project.finish(label=("full",))
        assert project.plan(label=("full",)).labeled_bytes == 0


class TestWhatIsDone:
    def test_after_a_run_nothing_is_left(self, project: Project) -> None:
        project.video()
        project.video("other.mp4")
        project.finish(**EVERYTHING)
        plan = project.plan(**EVERYTHING)
        assert plan.done
        assert not missing(plan)
        assert plan.recordings[0].demands == ()

    def test_a_deleted_labelled_video_is_all_that_is_drawn(self, project: Project) -> None:
        project.video()
        project.finish(**EVERYTHING)
        labeled = project.out / "b" / "video_preds" / "labeled_videos" / "cam_labeled.mp4"
        labeled.unlink()
        assert missing(project.plan(**EVERYTHING)) == {("cam", "b", "label")}

    def test_a_table_cut_in_half_is_made_again(self, project: Project) -> None:
        project.video()
        project.finish(eks=True)
        table = project.out / "a" / "video_preds" / "cam.csv"
        table.write_bytes(table.read_bytes()[: table.stat().st_size // 2])
        plan = project.plan(eks=True)
        assert missing(plan) == {("cam", "a", "table")}
        assert "changed" in plan.recordings[0].videos[0].members[0].table.reason

    def test_a_table_that_merely_exists_is_not_done(self, project: Project) -> None:
        project.video()
        folder = project.out / "a" / "video_preds"
        folder.mkdir(parents=True)
        (folder / "cam.csv").write_text("scorer\n")
        step = project.plan().recordings[0].videos[0].members[0].table
        assert (step.done, step.reason) == (False, "not made by raypose")

    def test_overwrite_makes_all_again(self, project: Project) -> None:
        project.video()
        n = len(missing(project.plan(**EVERYTHING)))
        project.finish(**EVERYTHING)
        assert len(missing(project.plan(overwrite=True, **EVERYTHING))) == n

    def test_another_video_under_the_same_path(self, project: Project) -> None:
        project.video()
        project.finish()
        project.video(n_frames=13)
        plan = project.plan()
        assert len(missing(plan)) == 4
        assert "video" in plan.recordings[0].videos[0].members[0].table.reason
        assert not plan.problems

    def test_a_video_that_was_moved_is_still_done(self, project: Project) -> None:
        path = project.video()
        project.finish()
        (project.root / "elsewhere").mkdir()
        moved = shutil.move(path, project.root / "elsewhere" / "cam.mp4")
        assert project.plan(videos=(str(moved),)).done

    def test_another_checkpoint(self, project: Project) -> None:
        project.video()
        project.finish(eks=True)
        next(project.models[0].rglob("*.ckpt")).write_bytes(b"trained on")
        left = missing(project.plan(eks=True))
        assert {owner for _, owner, _ in left} == {"a", "eks"}

    @pytest.mark.parametrize(
        ("values", "kinds"),
        [
            ({"precision": "bf16"}, {"table", "metrics", "snippet"}),
            ({"encoder": "nvenc"}, {"snippet"}),
            ({"decoder": "nvdec"}, {"table", "metrics", "snippet"}),
            ({"snippet_s": 3.0}, {"snippet"}),
            ({"device": "cpu", "gpus": 2, "batch_size": 7, "inline": True}, set()),
        ],
    )
    def test_settings_make_again_what_they_change(
        self, project: Project, values: dict[str, Any], kinds: set[str]
    ) -> None:
        project.video()
        project.finish(label=("snippet",))
        left = missing(project.plan(label=("snippet",), **values))
        assert {kind for _, _, kind in left} == kinds

    def test_another_runtime(self, project: Project) -> None:
        project.video()
        project.finish()
        for model in project.models:
            (checkpoint,) = model.rglob("*.ckpt")
            (model / "exports_onnx").mkdir()
            (model / "exports_onnx" / f"{checkpoint.stem}_fp32.onnx").write_bytes(b"exported")
        plan = project.plan(runtime="onnx")
        assert {kind for _, _, kind in missing(plan)} == {"table", "metrics"}
        table = plan.recordings[0].videos[0].members[0].table
        assert table.reason == "made with another model, runtime" and not plan.problems
        project.finish(runtime="onnx")
        assert project.plan(runtime="onnx").done and not project.plan().done
        os.utime(checkpoint, (4e9, 4e9))
        (problem,) = project.plan(runtime="onnx").problems
        assert problem.subject == "b" and not problem.fatal
        assert "older than its checkpoint" in problem.message
        assert "litpose export" in problem.hint

    def test_options_of_eks_leave_the_members_alone(self, project: Project) -> None:
        project.video()
        project.finish(eks=True)
        left = missing(project.plan(eks=True, eks_options={"smooth_param": 5.0}))
        assert left == {("cam", "eks", "smooth"), ("cam", "eks", "metrics")}

    def test_more_members_change_only_the_ensemble(self, project: Project) -> None:
        project.video()
        project.finish(eks=True)
        third = fake_model(project.root / "models" / "c")
        left = missing(project.plan(eks=True, models=(*map(str, project.models), str(third))))
        assert {owner for _, owner, _ in left} == {"c", "eks"}


class TestProblems:
    def test_a_bad_video_leaves_the_others(self, project: Project) -> None:
        good = project.video()
        truncate(good, project.videos / "cut.mp4", 0.3)
        plan = project.plan()
        assert [session.key for session in plan.recordings] == ["cam"]
        (problem,) = plan.problems
        assert problem.fatal
        assert problem.subject == str(project.videos / "cut.mp4")

    def test_outputs_that_collide(self, project: Project) -> None:
        project.video("cam.mp4")
        project.video("cam_temporal_norm.mp4")
        plan = project.plan()
        assert [session.key for session in plan.recordings] == ["cam"]
        (problem,) = plan.problems
        assert problem.fatal
        assert str(project.videos / "cam.mp4") in problem.message
        assert "--overwrite" not in problem.hint
        assert not project.plan(metrics=False).problems

    def test_results_of_another_video_from_an_earlier_run(self, project: Project) -> None:
        first, second = project.video("d1/cam.mp4"), project.video("d2/cam.mp4", n_frames=9)
        project.finish(videos=(str(first),))
        plan = project.plan(videos=(str(second),))
        assert plan.recordings == ()
        (problem,) = plan.problems
        assert problem.fatal
        assert str(first) in problem.message
        assert "--overwrite" in problem.hint
        assert not project.plan(videos=(str(second),), overwrite=True).problems

    def test_one_file_of_another_video_is_enough(self, project: Project) -> None:
        # In the Pose-app's layout the table of `cam.short.mp4` is that of the snippet of `cam`.
        other = project.video("cam.short.mp4", n_frames=9)
        project.finish(videos=(str(other),), layout="pose-app", metrics=False)
        mine = project.video("cam.mp4")
        plan = project.plan(videos=(str(mine),), layout="pose-app", label=("snippet",))
        (message,) = fatal(plan)
        assert "cam.short.csv" in message

    def test_other_keypoints_among_members(self, project: Project) -> None:
        project.video()
        odd = fake_model(project.root / "models" / "c", keypoint_names=("nose", "ear"))
        plan = project.plan(eks=True, models=(str(project.models[0]), str(odd)))
        (message,) = fatal(plan)
        assert "ear, paw, tail" in message
        assert plan.recordings[0].videos[0].smoothed is None
        assert {owner for _, owner, _ in missing(plan)} == {"a", "c"}

    def test_an_ensemble_needs_two_models_and_a_place(self, project: Project) -> None:
        project.video()
        with pytest.raises(UsageError, match="two or more models"):
            project.plan(eks=True, models=(str(project.models[0]),))
        with pytest.raises(UsageError, match="--eks-dir"):
            project.plan(eks=True, output_dir=None)
        with pytest.raises(UsageError, match="asks for 3 members"):
            project.plan(eks=True, eks_options={"min_members": 3})

    def test_enough_members_go_on_without_one_of_other_keypoints(self, project: Project) -> None:
        project.video()
        odd = fake_model(project.root / "models" / "c", keypoint_names=("nose", "ear"))
        models = (str(odd), *map(str, project.models))
        plan = project.plan(eks=True, models=models, eks_options={"min_members": 2})
        (problem,) = plan.problems
        assert not problem.fatal
        assert problem.subject == "c"
        assert problem.hint == "EKS leaves it out."
        eks = plan.recordings[0].videos[0].smoothed
        assert eks is not None
        assert eks.owner.model.name == "a", "whose keypoints the ensemble has"

    def test_keypoints_that_all_members_have_can_be_chosen(self, project: Project) -> None:
        project.video()
        odd = fake_model(project.root / "models" / "c", keypoint_names=("nose", "ear"))
        models = (str(project.models[0]), str(odd))
        assert not project.plan(
            eks=True, models=models, eks_options={"keypoints": ("nose",)}
        ).problems
        plan = project.plan(eks=True, models=models, eks_options={"keypoints": ("paw",)})
        (message,) = fatal(plan)
        assert "c" in message and "paw" in message

    def test_keypoints_in_another_order_are_the_same(self, project: Project) -> None:
        project.video()
        turned = fake_model(project.root / "models" / "c", keypoint_names=("tail", "nose", "paw"))
        plan = project.plan(eks=True, models=(str(project.models[0]), str(turned)))
        assert not plan.problems
        assert plan.recordings[0].videos[0].smoothed is not None

    def test_missing_labels_leave_out_pca_and_nothing_else(self, project: Project) -> None:
        project.video()
        model = fake_model(
            project.root / "models" / "pca", data={"columns_for_singleview_pca": [0, 1, 2]}
        )
        plan = project.plan(models=(str(model),))
        (problem,) = plan.problems
        assert not problem.fatal
        assert "--data-dir" in problem.hint
        (metrics,) = (s for s in plan.recordings[0].outputs[0].steps if s.step.name == "metrics")
        assert list(metrics.outputs) == ["temporal_norm"]

    def test_a_model_that_is_none_stops_everything(self, project: Project) -> None:
        project.video()
        with pytest.raises(UsageError):
            project.plan(models=(str(project.root),))

    def test_a_model_given_twice(self, project: Project) -> None:
        project.video()
        model = str(project.models[0])
        with pytest.raises(UsageError, match="twice"):
            project.plan(models=(model, f"{model}/../a"))

    def test_a_model_called_eks_is_not_taken_for_the_ensemble(self, project: Project) -> None:
        project.video()
        model = fake_model(project.root / "models" / "eks")
        plan = project.plan(eks=True, models=(str(project.models[0]), str(model)))
        tables = [output.path for output in plan.recordings[0].outputs]
        assert len(set(tables)) == 3
        assert len({work.owner.name for work in plan.recordings[0].outputs}) == 3

    def test_eks_into_the_directory_of_a_member(self, project: Project) -> None:
        project.video()
        with pytest.raises(UsageError, match="--eks-dir"):
            project.plan(output_dir=None, eks=True, eks_dir=project.models[1])


def kinds_of(plan: Plan) -> list[tuple[str, tuple[str, ...]]]:
    return [(s.key, tuple(v.video.view for v in s.videos)) for s in plan.recordings]


class TestRecordings:
    def multiview(self, project: Project, name: str = "mv", **values: Any) -> str:
        return str(
            fake_model(
                project.root / "models" / name,
                model_type="heatmap_multiview_transformer",
                backbone="vits_dino",
                **{"view_names": ("top", "side"), **values},
            )
        )

    def test_views_of_a_recording_are_put_together(self, project: Project) -> None:
        for name in ("r1_top.mp4", "r1_side.mp4", "r2_side.mp4", "r2_top.mp4"):
            project.video(name)
        plan = project.plan(views=("top", "side"), eks=True)
        assert not plan.problems
        assert kinds_of(plan) == [("r1", ("top", "side")), ("r2", ("top", "side"))]
        session = plan.recordings[0]
        outputs = smooth_step(plan).outputs
        assert outputs["table top"].endswith("eks/video_preds/r1_top.csv")
        assert outputs["table side"].endswith("eks/video_preds/r1_side.csv")
        assert outputs["params"].endswith("eks/smooth_params/r1.json")
        assert len(outputs) == 3
        assert [unit.videos for unit in session.demands] == [(0,), (1,)]

    def test_without_views_every_video_is_on_its_own(self, project: Project) -> None:
        project.video("r1_top.mp4")
        project.video("r1_side.mp4")
        assert kinds_of(project.plan(eks=True)) == [("r1_side", ("",)), ("r1_top", ("",))]

    def test_a_model_of_several_views_names_them(self, project: Project) -> None:
        project.video("r1_top.mp4")
        project.video("r1_side.mp4")
        plan = project.plan(models=(self.multiview(project),))
        assert kinds_of(plan) == [("r1", ("top", "side"))]
        assert [unit.videos for unit in plan.recordings[0].demands] == [(0, 1)]

    @pytest.mark.parametrize("multiview", [True, False])
    def test_a_recording_that_lacks_a_view(self, project: Project, multiview: bool) -> None:
        for name in ("r1_top.mp4", "r1_side.mp4", "r2_side.mp4"):
            project.video(name)
        values: dict[str, Any] = {"views": ("top", "side"), "eks": not multiview}
        if multiview:
            values["models"] = (self.multiview(project),)
        plan = project.plan(**values)
        (problem,) = plan.problems
        assert problem.fatal
        assert (problem.subject, problem.message) == ("r2", "lacks the view top")
        rest = [] if multiview else [("r2_side", ("",))]
        assert kinds_of(plan) == [("r1", ("top", "side")), *rest]
        assert all(s.videos[0].smoothed is None for s in plan.recordings[1:])

    def test_views_that_differ_in_frames(self, project: Project) -> None:
        project.video("r1_top.mp4")
        project.video("r1_side.mp4", n_frames=9)
        plan = project.plan(views=("top", "side"), eks=True)
        (message,) = fatal(plan)
        assert "top has 12, side has 9" in message
        assert kinds_of(plan) == [("r1_top", ("",)), ("r1_side", ("",))]

    def test_a_view_that_is_broken(self, project: Project) -> None:
        project.video("r1_top.mp4")
        truncate(project.video("r1_side.mp4"), project.videos / "r1_side.mp4", 0.3)
        texts = fatal(project.plan(views=("top", "side"), eks=True))
        assert len(texts) == 2
        assert "its view side can't be used" in texts[1]

    def test_a_stray_video(self, project: Project) -> None:
        for name in ("r1_top.mp4", "r1_side.mp4", "r1_mousetop.mp4"):
            project.video(name)
        plan = project.plan(views=("top", "side"))
        (problem,) = plan.problems
        assert not problem.fatal
        assert problem.subject.endswith("r1_mousetop.mp4")
        assert ("r1_mousetop", ("",)) in kinds_of(plan)
        (problem,) = project.plan(models=(self.multiview(project),)).problems
        assert problem.fatal

    def test_sessions_from_a_list(self, project: Project) -> None:
        for name in ("a.mp4", "b.mp4"):
            project.video(name)
        listed = project.root / "sessions.csv"
        listed.write_text("session,top,side\nmouse1,videos/b.mp4,videos/a.mp4\n")
        plan = project.plan(videos=(), sessions=listed)
        assert kinds_of(plan) == [("mouse1", ("top", "side"))]
        assert [v.video.key for v in plan.recordings[0].videos] == ["b", "a"]

    def test_models_whose_views_are_others(self, project: Project) -> None:
        project.video("r1_top.mp4")
        models = (self.multiview(project), self.multiview(project, "mw", view_names=("a", "b")))
        with pytest.raises(UsageError, match="takes the views a, b"):
            project.plan(models=models)

    def test_a_calibration_beside_the_videos_gives_points(self, project: Project) -> None:
        project.video("r1_top.mp4")
        project.video("r1_side.mp4")
        asked: dict[str, Any] = {"views": ("top", "side"), "eks": True}
        assert smooth_step(project.plan(**asked)).calibration == ""
        path = project.videos / "calibration.toml"
        path.write_text(calibration_text())
        plan = project.plan(**asked)
        assert smooth_step(plan).calibration == str(path)
        assert smooth_step(plan).outputs["points"].endswith("eks/points_3d/r1.csv")
        commit_all(plan.recordings[0])
        assert project.plan(**asked).done
        path.write_text(path.read_text() + "# again\n")
        assert ("r1_top", "eks", "smooth") in missing(project.plan(**asked))
        plan = project.plan(**asked, eks_options={"mode": "multicam"})
        assert smooth_step(plan).calibration == ""

    def test_a_calibration_that_is_given_names_the_views(self, project: Project) -> None:
        project.video("r1_top.mp4")
        project.video("r1_side.mp4")
        path = project.root / "cameras.toml"
        path.write_text(calibration_text())
        assert kinds_of(project.plan(calibration=path)) == [("r1", ("top", "side"))]
        path.write_text("nothing = 1\n")
        with pytest.raises(UsageError, match="no calibration of several cameras"):
            project.plan(calibration=path)

    def test_a_calibration_that_is_given_is_checked(self, project: Project) -> None:
        project.video("r1_top.mp4")
        project.video("r1_side.mp4")
        path = project.root / "cameras.toml"
        path.write_text(calibration_text(matrix="[[1.0, 2.0], [3.0, 4.0]]"))
        for views in ((), ("top", "side")):
            with pytest.raises(UsageError, match=r"cameras\.toml: cam_1\.matrix of camera 'side'"):
                project.plan(calibration=path, views=views, eks=True)

    def test_a_calibration_that_is_found_fails_its_recording_alone(self, project: Project) -> None:
        for recording in ("r1", "r2"):
            project.video(f"{recording}_top.mp4")
            project.video(f"{recording}_side.mp4")
        folder = project.videos / "calibrations"
        folder.mkdir()
        (folder / "r1.toml").write_text(calibration_text(distortions=str([0.0] * 99)))
        (folder / "r2.toml").write_text(calibration_text())
        plan = project.plan(views=("top", "side"), eks=True)
        (problem,) = plan.problems
        assert problem.fatal
        assert problem.subject == str(folder / "r1.toml")
        assert "cam_1.distortions of camera 'side'" in problem.message
        first, second = plan.recordings
        assert first.videos[0].members and first.videos[0].smoothed is None
        assert second.videos[0].smoothed is not None

    def test_shards_are_all_recordings_once(self, project: Project) -> None:
        for i in range(5):
            project.video(f"r{i}_top.mp4")
            project.video(f"r{i}_side.mp4")
        found = [
            key
            for i in range(3)
            for key, views in kinds_of(project.plan(views=("top", "side"), shard=(i, 3)))
            if views == ("top", "side")
        ]
        assert sorted(found) == [f"r{i}" for i in range(5)]

    def test_boxes(self, project: Project) -> None:
        project.video("a.mp4")
        project.video("b.mp4")
        project.finish()
        folder = project.root / "boxes"
        folder.mkdir()
        (folder / "a_bbox.csv").write_text(",x,y,h,w\n0,1,2,30,40\n")
        plan = project.plan(bbox_dir=folder)
        (problem,) = plan.problems
        assert problem.fatal
        assert "b_bbox.csv" in problem.message
        assert kinds_of(plan) == [("a", ("",))]
        assert plan.recordings[0].videos[0].bbox == str(folder / "a_bbox.csv")
        assert "boxes" in plan.recordings[0].videos[0].members[0].table.reason

    def test_an_ensemble_on_disk(self, project: Project) -> None:
        project.video("r1_top.mp4")
        project.video("r1_side.mp4")
        folder = project.root / "models" / "ensembles" / "mine"
        folder.mkdir(parents=True)
        (folder / "ensemble.yaml").write_text(
            "members: [a, b]\nview_names: [top, side]\nsmooth_param: 4\nquantile_keep_pca: 50\n"
        )
        plan = project.plan(models=(str(folder),), output_dir=None)
        assert [model.name for model in plan.models] == ["a", "b"]
        assert kinds_of(plan) == [("r1", ("top", "side"))]
        eks = plan.recordings[0].videos[0].smoothed
        assert eks is not None
        assert eks.path == str(folder / "video_preds" / "r1_top.csv")
        assert plan.config.eks_options.smooth_param == 4
        assert plan.config.eks_options.quantile_keep_pca == 50
        (folder / "ensemble.yaml").write_text("members: [a, gone]\n")
        with pytest.raises(ModelError, match="member gone does not exist"):
            project.plan(models=(str(folder),), output_dir=None)
