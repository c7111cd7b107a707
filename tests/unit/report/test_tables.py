"""What people read of a plan and at the end of a run."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from raypose.errors import Failure
from raypose.pipeline import _description
from raypose.planning import Plan
from raypose.report.tables import print_plan, print_result
from raypose.results import RunResult
from raypose.steps.base import OutputStep
from raypose.storage import commits
from raypose.storage.provenance import as_done
from raypose.video.frames import describe
from tests.projects import Project, read_of


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("RAYPOSE_CACHE_DIR", str(tmp_path / "cache"))
    return Project(tmp_path)


def console() -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, width=400, soft_wrap=True, highlight=False, _environ={}), file


def shown(plan: Plan) -> str:
    out, file = console()
    print_plan(out, plan)
    return file.getvalue()


def ended(plan: Plan, **values: Any) -> str:
    out, file = console()
    print_result(out, replace(RunResult.of(plan), **values))
    return file.getvalue()


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line.strip()]


class TestPlan:
    def test_what_would_run(self, project: Project) -> None:
        project.video("[b] cam.mp4", n_frames=1500, gop=500, width=32, height=32)
        text = shown(project.plan(eks=True, label=("full",)))
        (line,) = (line for line in text.splitlines() if "[b] cam" in line)
        assert "1,500" in line
        assert "1 min 00 s" in line
        assert "32×32" in line
        assert text.count("everything   –") == 3  # two models and EKS
        assert "To do for 1 of 1 videos: 2 × predictions, 3 × metrics" in text
        assert "3 × labelled video" in text and "1 × smoothing" in text
        assert "3,000 frames to predict" in text
        assert "are free" in text

    def test_a_narrow_terminal(self, project: Project) -> None:
        project.video("a recording of 2026.mp4")
        file = io.StringIO()
        print_plan(Console(file=file, width=80, _environ={}), project.plan(eks=True))
        lines = file.getvalue().splitlines()
        (line,) = (line for line in lines if "recording" in line)
        assert line.split()[:4] == ["a", "recording", "of", "2026"]
        assert "everything" in line and "…" not in line

    def test_how_videos_are_coded(self, project: Project) -> None:
        project.video("a.mp4")
        project.video("b.mp4", codec="libx265", pix_fmt="yuv420p10le", rotation=-90)
        project.video("c.mkv", pts=[0, 40, 80, 120, 500, 540, 590, 640, 700, 720, 733, 800],
                      time_base=Fraction(1, 1000))  # fmt: skip
        text = shown(project.plan())
        lines = {line.split()[0]: line for line in text.splitlines() if "×" in line}
        assert "h264 yuv420p " in lines["a"]
        assert "hevc yuv420p10le, turned 90°" in lines["b"]
        assert "h264 yuv420p, variable rate" in lines["c"]
        assert "c.mkv: the frame rate is variable" in text
        videos = json.loads(json.dumps(_description(project.plan())["videos"]))
        assert [video["format"]["codec"] for video in videos] == ["h264", "hevc", "h264"]
        assert [video["format"]["rotation"] for video in videos] == [0, 90, 0]
        assert [video["format"]["is_vfr"] for video in videos] == [False, False, True]

    def test_what_is_done_and_why_the_rest_is_not(self, project: Project) -> None:
        project.video()
        project.finish()
        table = project.out / "a" / "video_preds" / "cam.csv"
        table.write_text("cut")
        text = shown(project.plan())
        (line,) = (line for line in text.splitlines() if "cam" in line)
        assert "predictions (changed since it was made)" in line
        assert "metrics" in line.partition("since it was made)")[2]

    @pytest.mark.parametrize(
        ("gpu_s", "waited_s", "told"), [(100, 40, True), (100, 20, False), (20, 15, False)]
    )
    def test_gpus_that_waited(
        self, gpu_s: float, waited_s: float, told: bool, project: Project
    ) -> None:
        project.video()
        made = {"table": ["/o/x.csv"]}
        text = ended(project.plan(), made=made, gpu_s=gpu_s, gpu_waited_s=waited_s)
        assert ("waited for frames 40 of 100 s" in text) == told
        assert ("--workers-per-gpu 2" in text) == told

    def test_nothing_to_do(self, project: Project) -> None:
        project.video()
        project.finish()
        assert "Everything is finished already (1 video)." in shown(project.plan())

    def test_nothing_can_be_done(self, project: Project) -> None:
        (project.videos / "empty.mp4").touch()
        text = shown(project.plan())
        assert "error" in text
        assert "the file is empty" in text
        assert "finished already" not in text

    def test_many_videos_are_not_all_listed(self, project: Project) -> None:
        for i in range(45):
            project.video(f"v{i:02d}.mp4", n_frames=2, width=32, height=32)
        text = shown(project.plan(metrics=False))
        assert "… and 5 more videos" in text
        assert "45 of 45" in text


class TestEnd:
    def test_what_was_made_and_where(self, project: Project) -> None:
        project.video()
        made = {"table": ["/o/a/video_preds/x.csv", "/o/a/video_preds/y.csv"], "load": []}
        text = ended(project.plan(), made=made, n_frames=12_345, seconds=75)
        assert ["predictions", "2", "/o/a/video_preds"] in rows(text)
        assert "2 files in 1 min 15 s, 12,345 frames predicted. Log: " in text
        assert "failed" not in text

    def test_what_another_run_finished(self, project: Project) -> None:
        for name in ("a", "b", "c"):
            project.video(f"{name}.mp4")
        by = "node2, process 7"
        text = ended(project.plan(), elsewhere={"a": by, "c": by})
        assert "2 videos finished by another run meanwhile (node2, process 7).\n" in text
        assert "1 of 3 videos: 0 files" in text
        text = ended(project.plan(), elsewhere={"a": by, "c": "node3, process 8"})
        assert "finished by other runs meanwhile (node2, process 7; node3, process 8).\n" in text

    def test_what_failed_and_why(self, project: Project) -> None:
        project.video()
        failure = Failure(
            "label", "the disk is full", "/o/[x].mp4", "Free some space.", subject="a · cam"
        )
        text = ended(
            project.plan(),
            made={"label": []},
            failures=[failure],
            skipped=2,
        )
        assert "/o/[x].mp4: the disk is full. Free some space." in text
        assert "Because of these, 2 later steps could not run." in text
        assert "0 files" in text
        assert "where" not in text, "there is no table of what was made"

    def test_reasons_that_stand_above_are_not_said_again(self, project: Project) -> None:
        project.video()
        (project.videos / "empty.mp4").touch()
        plan = project.plan()
        (problem,) = plan.problems
        late = [
            Failure("label", "is full", "/o/x.mp4", subject="a · cam"),
            Failure("report", "is broken", "/r.html", subject="report"),
        ]
        result = RunResult.of(plan)
        result.failures += late
        out, file = console()
        print_result(out, result, {(problem.subject, problem.message), ("/o/x.mp4", "is full")})
        text = file.getvalue()
        assert f"failed {problem.subject}, label a · cam (reasons above)\n" in text
        assert "is full" not in text and "is empty" not in text
        assert text.count("failed report report: /r.html: is broken") == 1
        assert "1 of 2 videos (1 can't be read): 0 files in " in text

    def test_nothing_to_do(self, project: Project) -> None:
        project.video()
        project.finish()
        text = ended(project.plan())
        said = "Nothing to do: all outputs of 1 video exist and are verified."
        assert text == f"{said} Networks computed in float32.\n"

    def test_notes_of_an_earlier_run_are_said_again(self, project: Project) -> None:
        project.video("cam1.mp4")
        project.video("cam2.mp4")
        project.finish(metrics=False, stats={"notes": ["EKS went on [without] c"]})
        plan = project.plan(metrics=False)
        assert plan.done
        text = ended(plan)
        assert "note a · cam1, b · cam1, a · cam2 and 1 more: EKS went on [without] c" in text

    def test_a_decoder_that_fell_back_in_an_earlier_run(self, project: Project) -> None:
        project.video()
        (recording,) = project.plan(decoder="nvdec", metrics=False).recordings
        for output in recording.outputs:
            step = output.table.step
            assert isinstance(step, OutputStep)
            made_from = as_done(step.provenance, precision="fp32", decoder="cpu")
            read = [read_of(output.video)]
            with commits.committing(
                Path(output.path), made_from, videos=lambda read=read: read
            ) as temporary:
                temporary.write_text("a table")
        plan = project.plan(decoder="nvdec", metrics=False)
        assert plan.done
        assert "note a · cam, b · cam: decoded on the CPU, though NVDEC was" in ended(plan)

    def test_notes_come_once_and_damage_is_not_said_twice(self, project: Project) -> None:
        project.video()
        counts = {"ok": 90, "suspect": 10}
        about = [(f"a · cam{i}", "PCA metrics are left out") for i in range(5)]
        warnings = [*about, ("a · cam0", describe(counts))]
        text = ended(project.plan(), warnings=warnings, damaged={"/v/cam0.mp4": counts})
        assert "note a · cam0, a · cam1, a · cam2 and 2 more: PCA metrics are left out" in text
        assert "are suspect" not in text
        assert ["/v/cam0.mp4", "90", "10", "0", "0"] in rows(text)

    def test_paths_are_those_below_the_output_directory(self, project: Project) -> None:
        project.video()
        made = {"table": [str(project.out / "a" / "video_preds" / "cam.csv")]}
        failure = Failure("label", "is full", str(project.out / "b" / "x.mp4"), subject="b · cam")
        text = ended(project.plan(), made=made, failures=[failure])
        assert ["predictions", "1", "a/video_preds"] in rows(text)
        assert "failed label b · cam: b/x.mp4: is full" in text

    @pytest.mark.parametrize("width", [80, 200])
    def test_no_path_is_broken_in_the_middle_of_a_word(self, project: Project, width: int) -> None:
        project.video()
        names = [f"2026-11-0{i}_session_{i}_left_camera" for i in range(3)]
        path = str(project.out.joinpath(*names, "mouse.mp4"))
        failure = Failure("label", "the file is empty", path, "Copy it again.", subject="a · cam")
        result = RunResult(project.plan(), project.root / "run", failures=[failure])
        result.made["table"], result.damaged[path] = [path], {"ok": 1, "missing": 2}
        out = Console(file=io.StringIO(), width=width, record=True, highlight=False, _environ={})
        print_result(out, result)
        text = out.export_text()
        assert all(len(line) <= width for line in text.splitlines())
        for word in (*names, "mouse.mp4", "predictions"):
            assert word in text, "it is in one line"
