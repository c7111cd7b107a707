"""What a plan finds without a GPU: options, models, labels, names, and devices."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from raypose.errors import ModelError, UsageError, VideoError
from raypose.limits import MAX_KEY_BYTES, MAX_NAME_BYTES, MAX_PATH_BYTES
from raypose.planning import Plan, Problem
from raypose.planning.checks import check_lengths
from raypose.storage.files import LocalStore
from tests.projects import Project, fake_model


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYPOSE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    project.video()
    return project


def set_config(model: Path, **sections: dict[str, Any]) -> None:
    path = model / "config.yaml"
    config = yaml.safe_load(path.read_text())
    for name, values in sections.items():
        config.setdefault(name, {}).update(values)
    path.write_text(yaml.safe_dump(config))


def about(plan: Plan, subject: str) -> Problem:
    (problem,) = (problem for problem in plan.problems if problem.subject == subject)
    return problem


class TestOptions:
    def test_training_data_that_is_not_there(self, project: Project) -> None:
        gone = project.root / "gone"
        with pytest.raises(UsageError, match="no such directory of training data") as caught:
            project.plan(data_dir=gone)
        assert caught.value.path == str(gone)
        assert "--data-dir" not in caught.value.hint

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"smooth_param": 5.0}, "--smooth-param is given"),
            ({"mode": "pupil", "blocks": (("a", "b"),)}, "--eks-mode, --block are given"),
            ({"keypoints": ("nose",)}, "--eks-keypoints is given"),
            ({"min_members": 2, "s_frames": "0:5"}, "--s-frames, --min-members are given"),
        ],
    )
    def test_options_of_smoothing_without_it(
        self, project: Project, options: dict[str, Any], said: str
    ) -> None:
        with pytest.raises(UsageError) as caught:
            project.plan(eks_options=options)
        assert said in caught.value.message
        assert "--eks" in caught.value.hint

    def test_defaults_that_are_written_out_are_no_options(self, project: Project) -> None:
        # As `run.json` holds them, of a run without EKS.
        plan = project.plan()
        assert not project.plan(eks_options=plan.config.eks_options.model_dump()).problems

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"smooth_param": {"nose": 5.0, "paw": 1.0, "tale": 1.0}}, "unknown: tale"),
            ({"smooth_param": {"nose": 5.0}}, "missing: paw, tail"),
            ({"blocks": (("nose", "knee"),)}, "blocks name knee"),
            ({"mode": "pupil"}, "needs the keypoints"),
        ],
    )
    def test_keypoints_that_no_model_has(
        self, project: Project, options: dict[str, Any], said: str
    ) -> None:
        with pytest.raises(UsageError, match=said):
            project.plan(eks=True, eks_options=options)

    @pytest.mark.parametrize(
        ("mode", "views", "said"),
        [
            ("calibrated", True, "there is no calibration"),
            ("mirrored", True, "is for one video"),
            ("mirrored", False, "mirrored views are not known"),
            ("multicam", False, "is for several views"),
        ],
    )
    def test_modes_that_do_not_fit_a_recording_leave_its_predictions(
        self, project: Project, mode: str, views: bool, said: str
    ) -> None:
        values: dict[str, Any] = {"eks": True, "eks_options": {"mode": mode}}
        if views:
            (project.videos / "cam.mp4").unlink()
            project.video("r1_top.mp4")
            project.video("r1_side.mp4")
            values["views"] = ("top", "side")
        plan = project.plan(**values)
        (problem,) = plan.problems
        assert problem.fatal and said in problem.message
        assert {work.owner.name for s in plan.recordings for work in s.outputs} == {"a", "b"}


class TestModels:
    def test_two_keypoints_of_one_name(self, project: Project) -> None:
        odd = fake_model(project.root / "models" / "c", keypoint_names=("nose", "paw", "nose"))
        with pytest.raises(ModelError, match="names 'nose' more than once") as caught:
            project.plan(models=(str(odd),))
        assert caught.value.path == str(odd / "config.yaml")

    def test_a_colormap_that_does_not_exist(self, project: Project) -> None:
        set_config(project.models[1], eval={"colormap": "coool"})
        assert not project.plan().problems, "nothing is drawn"
        assert not project.plan(label=("full",)).problems, "colours are those of the names"
        for label in ("full", "snippet"):
            with pytest.raises(ModelError, match="'coool'") as caught:
                project.plan(label=(label,), colors="colormap")
            assert caught.value.path == str(project.models[1] / "config.yaml")
        set_config(project.models[1], eval={"colormap": "viridis"})
        assert not project.plan(label=("full",), colors="colormap").problems


class TestLengths:
    def test_a_name_without_room_for_its_outputs(self, project: Project) -> None:
        name = "ü" * 117 + ".mp4"
        project.video(name)
        plan = project.plan()
        assert [session.key for session in plan.recordings] == ["cam"]
        (problem,) = plan.problems
        assert problem.fatal and problem.subject.endswith(name)
        # 234 bytes, `_temporal_norm.csv`, and `.json` of the record.
        assert f"too long by {234 + 18 + 5 - 255} bytes" in problem.message

    @pytest.mark.parametrize("n_more", [0, 1])
    def test_the_limit_is_that_of_the_longest_record(self, project: Project, n_more: int) -> None:
        (project.videos / "cam.mp4").unlink()
        longest = len(".short_temporal_norm.csv.json")
        stem = "x" * (255 - longest + n_more)
        project.video(f"{stem}.mp4")
        plan = project.plan(label=("snippet",))
        if n_more:
            (problem,) = plan.problems
            assert "too long by 1 bytes" in problem.message and problem.fatal
        else:
            assert not plan.problems
            project.finish(label=("snippet",))
            assert project.plan(label=("snippet",)).done
        assert len(project.plan(metrics=False).recordings) == 1, "with shorter names alone"

    def test_a_path_that_is_too_long(self, project: Project) -> None:
        deep = project.root.joinpath(*["d" * 200] * 18)
        (problem,) = project.plan(output_dir=deep).problems
        assert problem.fatal and "path of its outputs" in problem.message

    def test_the_longest_path(self) -> None:
        room = MAX_PATH_BYTES - 2 * MAX_NAME_BYTES - len("/.raypose/ranges")
        folder = "/" + "d" * (room - 1)
        check_lengths([f"{folder}/a.csv"])
        with pytest.raises(VideoError, match="path of its outputs would be too long") as caught:
            check_lengths([f"{folder}d/a.csv"])
        assert "-o" in caught.value.hint

    def test_the_longest_key(self) -> None:
        folder = "bucket/folder/"
        name = "n" * (MAX_KEY_BYTES - len(folder) - len(".raypose/.json"))
        check_lengths([f"s3://{folder}{name}"])
        with pytest.raises(VideoError, match="its name is too long by 1 bytes") as caught:
            check_lengths([f"s3://{folder}{name}n"])
        assert caught.value.hint == "Rename the video."


def make_labels(folder: Path, n_sizes: int, n: int = 40) -> Path:
    """`n` labelled images in two folders; those of the second are of `n_sizes` sizes."""
    rng = np.random.default_rng(0)
    lines = ["scorer" + ",me" * 6, "bodyparts,nose,nose,paw,paw,tail,tail", "coords" + ",x,y" * 3]
    for i in range(n):
        name = f"labeled-data/v{i % 2}/img{i:02d}.png"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        size = (200, 200) if i % 2 == 0 else (200 + 10 * (i // 2 % n_sizes), 200)
        Image.new("L", size).save(folder / name)
        lines.append(",".join([name, *(f"{v:.2f}" for v in rng.uniform(20, 180, 6))]))
    (folder / "CollectedData.csv").write_text("\n".join(lines) + "\n")
    return folder


class TestLabels:
    @pytest.fixture
    def model(self, project: Project) -> str:
        data = {"columns_for_singleview_pca": [0, 1, 2]}
        return str(fake_model(project.root / "models" / "pca", data=data))

    def metrics(self, plan: Plan) -> list[str]:
        (step,) = (s for s in plan.recordings[0].outputs[0].steps if s.step.name == "metrics")
        return list(step.outputs)

    def test_one_missing_image_costs_no_metric(self, project: Project, model: str) -> None:
        data = make_labels(project.root / "data", n_sizes=1)
        values = {"models": (model,), "data_dir": data}
        project.finish(**values)
        (data / "labeled-data" / "v0" / "img04.png").unlink()
        plan = project.plan(**values)
        assert self.metrics(plan) == ["temporal_norm", "pca_singleview_error"]
        # Its size is that of the other images of its video: the fit is the same.
        assert plan.problems == () and plan.done

    def test_a_label_whose_image_has_no_known_size(self, project: Project, model: str) -> None:
        data = make_labels(project.root / "data", n_sizes=3)
        values = {"models": (model,), "data_dir": data}
        project.finish(**values)
        gone = [data / "labeled-data" / "v1" / f"img{i:02d}.png" for i in range(1, 40, 2)]
        for image in gone[:4]:
            image.write_bytes(b"")
        plan = project.plan(**values)
        assert self.metrics(plan) == ["temporal_norm", "pca_singleview_error"]
        problem = about(plan, "pca")
        assert not problem.fatal
        # Those of the validation split are no part of the fit.
        assert "PCA metrics are fitted without" in problem.message
        assert "labeled-data/v1/img0" in problem.message
        assert not plan.done, "the fit is another one"

    def test_labels_that_are_not_where_the_user_says(self, project: Project, model: str) -> None:
        empty = project.root / "empty"
        empty.mkdir()
        problem = about(project.plan(models=(model,), data_dir=empty), "pca")
        assert "--data-dir" not in problem.hint and problem.hint
        assert str(empty / "CollectedData.csv") in problem.message
        problem = about(project.plan(models=(model,)), "pca")
        assert "--data-dir" in problem.hint

    def test_no_image_at_all(self, project: Project, model: str) -> None:
        data = make_labels(project.root / "data", n_sizes=1)
        for image in data.rglob("*.png"):
            image.unlink()
        plan = project.plan(models=(model,), data_dir=data)
        assert self.metrics(plan) == ["temporal_norm"]
        problem = about(plan, "pca")
        assert "images can be read" in problem.message and "--data-dir" not in problem.hint

    def test_too_few_labels_for_the_fit(self, project: Project, model: str) -> None:
        data = make_labels(project.root / "data", n_sizes=1, n=6)
        values = {"models": (model,), "data_dir": data, "label": ("snippet",)}
        plan = project.plan(**values)
        assert self.metrics(plan) == ["temporal_norm"]
        problem = about(plan, "pca")
        assert not problem.fatal and problem.lasting
        assert problem.message == (
            "pca_singleview_error is left out: its fit needs 6 labelled frames, and there are 5"
        )
        project.finish(**values)
        assert project.plan(**values).done


class TestDisk:
    def test_labelled_videos_that_may_not_fit(
        self, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plan = project.plan(label=("full",))
        assert plan.labeled_bytes > 1000 and not plan.problems
        monkeypatch.setattr(LocalStore, "free_bytes", lambda self, folder: 1000)
        (problem,) = project.plan(label=("full",)).problems
        assert not problem.fatal, "the size is an estimate, and a run goes on"
        assert problem.message.endswith("and 1 kB are free")
        assert problem.subject == str(project.out / "a" / "video_preds")
        assert not project.plan().problems, "nothing is drawn"


class TestDevices:
    @pytest.fixture(autouse=True)
    def _no_cluster(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delitem(sys.modules, "ray", raising=False)

    def no_gpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")

    @pytest.mark.parametrize(
        ("values", "subject", "is_fatal"),
        [
            ({"device": "cuda"}, "--device cuda", True),
            ({"device": "cuda", "inline": True}, "--device cuda", True),
            ({"gpus": 4}, "--gpus 4", False),
            ({"decoder": "nvdec"}, "--decoder nvdec", False),
            ({"encoder": "nvenc", "label": ("full",)}, "--encoder nvenc", True),
        ],
    )
    def test_a_gpu_that_is_not_there(
        self,
        project: Project,
        monkeypatch: pytest.MonkeyPatch,
        values: dict[str, Any],
        subject: str,
        is_fatal: bool,
    ) -> None:
        self.no_gpu(monkeypatch)
        problem = about(project.plan(**values), subject)
        assert problem.fatal == is_fatal
        assert "no GPU" in problem.message and problem.hint

    @pytest.mark.parametrize(
        "values",
        [
            {},
            {"device": "cpu", "gpus": 4},
            {"device": "cuda", "address": "head:6379"},
            {"gpus": 4, "inline": True},
            {"encoder": "nvenc"},
        ],
    )
    def test_no_gpu_is_asked_of_this_machine(
        self, project: Project, monkeypatch: pytest.MonkeyPatch, values: dict[str, Any]
    ) -> None:
        self.no_gpu(monkeypatch)
        assert not project.plan(**values).problems

    @pytest.mark.parametrize(
        ("started_here", "values", "is_checked"),
        [
            (True, {}, True),
            (False, {}, False),
            (None, {}, False),  # through Ray Client
            (False, {"inline": True}, True),
            (True, {"address": "head:6379"}, False),
        ],
    )
    def test_in_a_notebook_that_is_connected_to_ray(
        self,
        project: Project,
        monkeypatch: pytest.MonkeyPatch,
        started_here: bool | None,
        values: dict[str, Any],
        is_checked: bool,
    ) -> None:
        """Ray on this machine has this machine's GPUs, a cluster its own."""
        node = None if started_here is None else SimpleNamespace(is_head=lambda: started_here)
        worker = SimpleNamespace(_global_node=node)
        ray = SimpleNamespace(is_initialized=lambda: True, _private=SimpleNamespace(worker=worker))
        monkeypatch.setitem(sys.modules, "ray", ray)
        self.no_gpu(monkeypatch)
        problems = project.plan(device="cuda", **values).problems
        assert [problem.subject for problem in problems] == ["--device cuda"] * is_checked

    def test_what_is_done_needs_none(
        self, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.no_gpu(monkeypatch)
        project.finish()
        assert not project.plan(device="cuda").problems

    def test_more_than_there_are(self, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("raypose.inference.device.count_gpus", lambda: 2)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        assert not project.plan(gpus=2).problems
        problem = about(project.plan(gpus=3), "--gpus 3")
        assert problem.fatal and "shows 2 GPUs" in problem.message
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
        assert "shows 1 GPU" in about(project.plan(gpus=2), "--gpus 2").message


def test_hints_do_not_repeat_what_was_given(project: Project) -> None:
    odd = fake_model(project.root / "models" / "c", keypoint_names=("nose", "ear"))
    models = (str(project.models[0]), str(odd))
    plan = project.plan(eks=True, models=models, eks_options={"keypoints": ("paw",)})
    assert "--eks-keypoints" not in about(plan, "c").hint
    assert "--eks-keypoints" in about(project.plan(eks=True, models=models), "c").hint
