"""The command line: what it costs, what it passes on, what it says, and its exit codes."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml

from raypose import cli
from raypose.cli import pose_app
from raypose.cli.pose_app import split_models
from raypose.config import EksOptions, RunConfig, SmoothConfig, option_name
from raypose.errors import UsageError
from raypose.text import json_text
from tests.projects import Project, fake_model
from tests.unit.cli.commands import invoke

HEAVY = (
    "pydantic",
    "torch",
    "ray",
    "pandas",
    "lightning_pose",
    "jax",
    "eks",
    "matplotlib",
    "sklearn",
)


def models(project: Project) -> list[str]:
    return [part for model in project.models for part in ("-m", str(model))]


def imported_by(*arguments: str | Path) -> tuple[int, set[str]]:
    """Exit code of a command in a new process, and the heavy modules that it imported."""
    code = (
        "import sys\n"
        "from raypose.cli import main\n"
        "sys.argv = ['raypose', *sys.argv[1:]]\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        f"    print('heavy:', *[m for m in {HEAVY!r} if m in sys.modules])\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True
    )
    (line,) = (line for line in process.stdout.splitlines() if line.startswith("heavy:"))
    return process.returncode, set(line.split()[1:])


@pytest.mark.parametrize("name", cli.base.COMMANDS)
def test_the_list_of_commands_says_what_the_command_says(name: str) -> None:
    code, text = invoke(name, "--help")
    assert code == 0
    assert cli.base.COMMANDS[name][1] in " ".join(text.split())


class TestCost:
    @pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
    def test_help_imports_nothing_heavy(self, arguments: list[str]) -> None:
        assert imported_by(*arguments) == (0, set())

    def test_help_of_run_imports_the_settings(self) -> None:
        assert imported_by("run", "--help") == (0, {"pydantic"})

    def test_plan_imports_nothing_heavy(self, project: Project) -> None:
        project.video()
        arguments = ["plan", project.videos, *models(project), "--eks", "-o", project.out]
        assert imported_by(*arguments, "--label", "full") == (0, {"pydantic"})

    def test_plan_of_ten_videos_takes_under_five_seconds(self, project: Project) -> None:
        for i in range(10):
            project.video(f"v{i}.mp4", n_frames=200)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        process = subprocess.run(
            [sys.executable, "-m", "raypose", "plan", project.videos, *models(project)],
            capture_output=True,
            text=True,
        )
        assert process.returncode == 0
        assert "10 of 10 videos" in process.stdout
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        # Of CPU: how long a busy machine lets it wait is not its own doing.
        assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 5


class TestPlan:
    def test_says_what_would_run_and_touches_nothing(self, project: Project) -> None:
        project.video()
        before = sorted(project.root.rglob("*"))
        code, text = invoke("plan", project.videos, *models(project), "-o", project.out)
        assert code == 0
        assert "2 × predictions" in text
        assert sorted(project.root.rglob("*")) == before

    def test_a_fatal_problem_is_exit_code_1(self, project: Project) -> None:
        project.video()
        (project.videos / "empty.mp4").touch()
        (project.videos / "link.mp4").symlink_to("gone.mp4")
        code, text = invoke("plan", project.videos, *models(project))
        assert code == 1
        assert "empty.mp4: the file is empty" in text
        assert "To do for 1 of 3 videos (2 can't be read): " in text
        assert text.count("the file is empty") == 1

    @pytest.mark.parametrize("name", ["-x.mp4", "a b.mp4", 'it\'s "q".mp4', "naïve ☃ [1].mp4"])
    def test_odd_names(self, project: Project, name: str) -> None:
        path = project.video()
        shutil.move(path, project.root / name)
        code, text = invoke("plan", *models(project), "--", name)
        assert code == 0
        assert Path(name).stem in text

    def test_a_name_that_is_no_text(self, project: Project) -> None:
        os.replace(project.video(), project.videos / os.fsdecode(b"caf\xe9.mp4"))
        process = subprocess.run(
            [sys.executable, "-m", "raypose", "plan", project.videos, *models(project)],
            capture_output=True,
        )
        assert process.returncode == 0, process.stderr
        assert b"caf" in process.stdout

    def test_other_keypoints_among_members(self, project: Project) -> None:
        project.video()
        odd = fake_model(project.root / "models" / "c", keypoint_names=("nose", "ear"))
        code, text = invoke(
            "plan", project.videos, *models(project), "-m", odd, "--eks", "-o", "o"
        )
        assert code == 1
        assert "other keypoints than the other models" in text

    def test_a_second_time_nothing_is_left(self, project: Project) -> None:
        project.video()
        project.finish()
        code, text = invoke("plan", project.videos, *models(project), "-o", project.out)
        assert (code, "finished already" in text) == (0, True)
        code, text = invoke("run", project.videos, *models(project), "-o", project.out)
        assert (code, "Nothing to do" in text) == (0, True)


class TestExitCode2:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["run"], "--model: at least one is needed"),
            (["run", "-m", "a"], "videos: at least one is needed"),
            (["run", "v.mp4"], "--model: at least one is needed"),
            (["run", "v.mp4", "-m", "a", "--eks", "-o", "o"], "two or more models"),
            (["run", "v.mp4", "-m", "a", "-m", "b", "--eks"], "--eks-dir"),
            (["run", "v.mp4", "-m", "a", "--label", "half"], "full"),
            (["run", "v.mp4", "-m", "a", "--layout", "dlc"], "layout"),
            (["run", "v.mp4", "-m", "a", "--gpus", "0"], "gpus"),
            (["run", "v.mp4", "-m", "a", "--gpus", "two"], "--gpus is 'two', and must be a whole"),
            (["run", "v.mp4", "-m", "a", "--scratch-gb", "1e400"], "--scratch-gb is '1e400'"),
            (["run", "no.mp4", "-m", "a"], "no.mp4: no such file or directory"),
            (["run", "v.mp4", "-m", "a", "--config", "no.yaml"], "no.yaml"),
            (["run", "--nonsense"], "nonsense"),
            (
                ["process-videos", "m", "v", "yes", "true", "true"],
                "COMPUTE_METRICS is 'yes', and must be true",
            ),
            (
                ["process-videos", "m", "v"],
                "COMPUTE_METRICS is missing. Write raypose process-videos",
            ),
            (["nonsense"], "nonsense"),
        ],
    )
    def test_wrong_command_lines(self, project: Project, arguments: list[str], words: str) -> None:
        code, text = invoke(*arguments)
        assert code == 2
        assert words in re.sub(r"[│\s]+", " ", text)

    def test_an_override_of_a_key_that_is_not_there(self, project: Project) -> None:
        project.video()
        code, text = invoke(
            "plan", project.videos, *models(project), "--override", "model.bakcbone=x"
        )
        assert code == 2
        assert "model.bakcbone=x" in text


class TestExitCode1:
    def test_a_damaged_model(self, project: Project) -> None:
        project.video()
        config = project.models[0] / "config.yaml"
        config.write_text("")
        code, text = invoke("run", project.videos, *models(project))
        assert code == 1
        (line,) = text.splitlines()
        assert line.startswith(f"error: {config}: the config is empty")

    def test_only_bad_videos(self, project: Project) -> None:
        (project.videos / "text.mp4").write_text("no video\n" * 50)
        code, text = invoke("run", project.videos, *models(project), "-o", project.out)
        assert code == 1
        assert "text.mp4" in text
        assert not project.out.exists()

    def test_no_place_for_the_run_directory(self, project: Project) -> None:
        project.video()
        project.out.write_text("a file where a directory is needed")
        code, text = invoke("run", project.videos, *models(project), "-o", project.out, "--inline")
        assert code == 1
        assert f"error: {project.out}" in text
        assert "Choose another place" in re.sub(r"\s+", " ", text) or "choose another" in text
        assert "Traceback" not in text

    def test_debug_shows_the_traceback(self, project: Project) -> None:
        project.video()
        with pytest.raises(UsageError):
            invoke("--debug", "run", project.videos, "-m", project.videos)


class TestOutput:
    def test_json_is_one_event_per_line(self, project: Project) -> None:
        project.video()
        project.finish()
        arguments = ["run", project.videos, *models(project), "-o", project.out, "--json"]
        code, text = invoke(*arguments)
        assert code == 0
        events = [json.loads(line) for line in text.splitlines()]
        assert [event["event"] for event in events] == ["planned", "result"]
        assert events[1]["exit_code"] == 0 and events[1]["made"] == {}

    def test_an_error_is_an_event_and_a_sentence(self, project: Project) -> None:
        project.video()
        process = subprocess.run(
            [sys.executable, "-m", "raypose", "run", project.videos, "-m", "nowhere", "--json"],
            capture_output=True,
            text=True,
        )
        assert process.returncode == 2
        (event,) = map(json.loads, process.stdout.splitlines())
        assert (event["event"], event["kind"]) == ("error", "UsageError")
        assert process.stderr == f"error: {event['message']}\n"

    def test_quiet_says_nothing_but_errors(self, project: Project) -> None:
        project.video()
        project.finish()
        arguments = ["run", project.videos, *models(project), "-o", project.out, "--quiet"]
        assert invoke(*arguments) == (0, "")
        (project.videos / "empty.mp4").touch()
        code, text = invoke(*arguments)
        assert code == 1
        (line,) = text.splitlines()
        assert line.startswith("failed: plan empty.mp4: ") and "the file is empty" in line

    def test_both_make_no_sense(self, project: Project) -> None:
        project.video()
        code, text = invoke("run", project.videos, *models(project), "--json", "--quiet")
        assert code == 2
        assert "give one of them" in text

    def test_watch_ends_with_130_and_says_how_to_go_on(self, project: Project) -> None:
        command = [sys.executable, "-m", "raypose", "watch", project.videos, *models(project)]
        process = subprocess.Popen(
            [*command, "-o", project.out, "--inline"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A shell starts what runs in its background deaf to Ctrl-C, and so would be this.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "Waiting for videos, 0 processed\n"
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=30)
        assert process.returncode == 130
        assert "the same command continues from there" in complaint
        assert not project.out.exists()

    def test_each_failure_is_explained_once_and_named_at_the_end(self, project: Project) -> None:
        project.video()
        project.finish()
        (project.videos / "empty.mp4").touch()
        (project.videos / "text.mp4").write_text("no video\n" * 50)
        code, text = invoke("run", project.videos, *models(project), "-o", project.out)
        assert code == 1
        assert text.count("the file is empty") == text.count("this is not a video") == 1
        *_, named, end = text.splitlines()
        assert named == "failed videos/empty.mp4, videos/text.mp4 (reasons above)"
        assert "all outputs of 1 video exist and are verified (2 can't be read)." in end


class TestConfigFile:
    def test_the_file_that_raypose_config_prints(self, project: Project) -> None:
        project.video()
        code, text = invoke("config")
        assert code == 0
        text = text.replace("#videos: [videos/]", "videos: [videos]").replace("#eks: ", "eks: ")
        (project.root / "run.yaml").write_text(text)
        code, text = invoke("plan", "--config", "run.yaml", *models(project))
        assert (code, "2 × predictions" in text) == (0, True)
        code, text = invoke("config", "--schema")
        assert code == 0
        assert json.loads(text)["properties"]["gpus"]["default"] is None
        code, text = invoke("config", "smooth", "--schema")
        assert (code, json.loads(text)["title"]) == (0, "Settings of raypose smooth")

    def test_a_command_without_settings(self) -> None:
        code, text = invoke("config", "smoth")
        assert (code, "Did you mean smooth?" in text) == (2, True)

    def test_the_run_json_of_a_run(self, project: Project) -> None:
        project.video()
        config = RunConfig(videos=["videos"], models=project.models, output_dir=project.out)
        content = {"config": config.model_dump(mode="json"), "cwd": str(project.root)}
        described = {"raypose": "1.0", **content}
        (project.root / "run.json").write_text(json_text(described))
        os.chdir("/")
        code, text = invoke("plan", "--config", project.root / "run.json", "--no-metrics")
        assert (code, "2 × predictions, 2 × report data" in text) == (0, True)

    def test_the_command_line_wins(self, project: Project) -> None:
        project.video()
        settings = {
            "videos": str(project.videos),
            "model": [str(model) for model in project.models],
            "output-dir": str(project.out),
            "label": "full",
            "metrics": True,
        }
        (project.root / "run.yaml").write_text(yaml.safe_dump(settings))
        code, text = invoke("plan", "--config", "run.yaml")
        assert code == 0
        assert "2 × predictions, 2 × metrics" in text and "2 × labelled video" in text
        code, text = invoke(
            "plan", "--config", "run.yaml", "--no-metrics", "-m", project.models[0]
        )
        assert code == 0
        assert "1 × predictions, 1 × report data, 1 × labelled" in text

    def test_unknown_names_are_named(self, project: Project) -> None:
        (project.root / "run.yaml").write_text("videos: v\nmodels: m\nout_dir: x\n")
        code, text = invoke("plan", "--config", "run.yaml")
        assert code == 2
        assert "out_dir" in text


class TestPositionalForms:
    @pytest.fixture
    def asked(self, monkeypatch: pytest.MonkeyPatch) -> list[RunConfig]:
        """What the commands would run."""
        configs: list[RunConfig] = []

        def remember(config: RunConfig) -> int:
            configs.append(config)
            return 0

        monkeypatch.setattr(pose_app, "run_and_show", remember)
        return configs

    def test_process_videos(self, asked: list[RunConfig]) -> None:
        assert invoke("process-videos", "m", "v", "true", "False", "True")[0] == 0
        (config,) = asked
        assert (config.models, config.videos) == (("m",), ("v",))
        assert (config.metrics, config.label, config.layout) == (True, ("snippet",), "pose-app")
        assert not config.eks

    def test_process_videos_ensemble(self, asked: list[RunConfig], tmp_path: Path) -> None:
        flags = ["false", "true", "true", "true"]
        code, _ = invoke("process-videos-ensemble", "m1:m2", "v", *flags, tmp_path / "eks")
        assert code == 0
        (config,) = asked
        assert config.models == ("m1", "m2")
        assert (config.metrics, config.label, config.eks) == (False, ("full", "snippet"), True)
        assert config.eks_dir == tmp_path / "eks"

    def test_models_with_colons_in_their_names(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        for name in ("2023-01-01/10:00:00", "2023-01-01/11:30:00", "b"):
            (tmp_path / name).mkdir(parents=True)
        assert split_models("2023-01-01/10:00:00:b:2023-01-01/11:30:00") == [
            "2023-01-01/10:00:00",
            "b",
            "2023-01-01/11:30:00",
        ]
        assert split_models("no:b:") == ["no", "b"]
        assert split_models("s3://lab/a:b:gs://lab/c") == ["s3://lab/a", "b", "gs://lab/c"]


@pytest.mark.parametrize(
    "arguments", [["report", "s3://lab/out"], ["status", "s3://lab/out"], ["status", "s3:/lab"]]
)
def test_the_log_of_a_run_is_not_in_a_store(arguments: list[str]) -> None:
    code, text = invoke(*arguments)
    assert code == 2
    assert f"{arguments[1]}: the log of a run is not in a store." in text
    assert "--run-dir" in text and "./raypose-runs/<date>" in text


def test_a_report_is_a_file_on_this_machine(tmp_path: Path) -> None:
    code, text = invoke("report", tmp_path, "-o", "s3://lab/report.html")
    assert code == 2
    assert "s3://lab/report.html: a report can't be written to a store" in text
    assert not Path("s3:").exists()


class TestSubmit:
    """What is refused before a cluster is asked."""

    RUN = ("submit", "--address", "http://none:8265", "--", "run")

    @pytest.mark.parametrize("shown", ["--json", "--quiet"])
    def test_what_a_run_shows_here(self, shown: str) -> None:
        code, text = invoke(*self.RUN, "/v.mp4", "-m", "/m", "-o", "/out", shown)
        assert (code, "--json and --quiet show a run here" in text) == (2, True)

    @pytest.mark.parametrize(
        "option",
        [
            *("-o", "--eks-dir", "--run-dir", "--data-dir", "--sessions", "--calibration"),
            *("--bbox-dir", "--scratch-dir", "--skeleton", "-m"),
        ],
    )
    def test_relative_paths(self, option: str) -> None:
        video = [] if option == "--sessions" else ["/v.mp4"]
        code, text = invoke(*self.RUN, *video, "-m", "/m", "-o", "/out", option, "here/it")
        assert (code, "here/it: the cluster can't resolve a relative path" in text) == (2, True)


def test_ctrl_c_is_exit_code_130(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(config: RunConfig) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("raypose.pipeline.plan", interrupt)
    code, text = invoke("plan", "v", "-m", "m")
    assert code == 130
    assert "the same command continues from there" in text


def test_a_reader_that_goes_away_hears_no_complaint(project: Project) -> None:
    project.video()
    process = subprocess.Popen(
        [sys.executable, "-m", "raypose", "plan", project.videos, *models(project)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    complaint = process.stderr.read()
    process.stderr.close()
    process.wait()
    assert complaint == b""


def test_messages_call_options_by_their_names() -> None:
    """Every name that a message may use is an option of the command, or an entry of a file."""
    command = typer.main.get_command(cli.app)
    options = {
        name
        for kind in ("run", "smooth")
        for parameter in command.commands[kind].params  # type: ignore[attr-defined]
        for name in (*parameter.opts, parameter.name)
    }
    unknown = set()
    for config in (RunConfig, SmoothConfig):
        fields = [(name,) for name in config.model_fields]
        fields += [("eks_options", name) for name in EksOptions.model_fields]
        unknown |= {option_name(config, field) for field in fields} - options
    assert unknown == {"snippet_s", "worst_s", "eks_options", "eks_options.n_latent"}
