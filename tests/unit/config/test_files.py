"""Settings from the description of an earlier run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from raypose.config import RunConfig, SmoothConfig, files
from raypose.config.files import read_settings
from raypose.config.settings import Settings
from raypose.errors import UsageError


def describe(directory: Path, config: Settings, **more: Any) -> Path:
    """The `run.json` of a run, as `raypose.pipeline` writes it."""
    content = {"raypose": "1.0", "config": config.model_dump(mode="json"), "videos": [], **more}
    path = directory / "run.json"
    path.write_text(json.dumps(content))
    return path


def run_config(**values: Any) -> RunConfig:
    return RunConfig(**{"videos": ["/v/a.mp4"], "models": ["/m", "/n"], **values})


def test_the_same_settings_as_the_run(tmp_path: Path) -> None:
    config = run_config(
        eks=True,
        output_dir=tmp_path,
        label="full",
        shard="1/4",
        eks_options={"s_frames": "0:500,1000:", "smooth_param": {"nose": 2}, "blocks": ["a,b"]},
    )
    assert RunConfig.from_file(describe(tmp_path, config)) == config
    smooth = SmoothConfig(tables=["/t.csv"], eks_dir=tmp_path)
    assert SmoothConfig.from_file(describe(tmp_path, smooth)) == smooth


def test_the_command_line_wins_in_sections_too(tmp_path: Path) -> None:
    path = describe(tmp_path, run_config(eks=True, eks_dir="/e", eks_options={"mode": "pupil"}))
    config = RunConfig.from_file(path, {"gpus": 1, "eks_options": {"avg_mode": "mean"}})
    assert config.gpus == 1
    assert (config.eks_options.mode, config.eks_options.avg_mode) == ("pupil", "mean")


@pytest.mark.parametrize("place", ["raypose/run.json", "raypose", "."])
def test_a_directory_stands_for_the_run_in_it(tmp_path: Path, place: str) -> None:
    (tmp_path / "raypose").mkdir()
    (tmp_path / "raypose" / "events.jsonl").touch()
    config = run_config(gpus=3)
    describe(tmp_path / "raypose", config)
    assert RunConfig.from_file(tmp_path / place) == config


def test_relative_inputs_are_those_of_the_runs_directory(tmp_path: Path) -> None:
    config = run_config(videos=["v/*.mp4", "s3://lab/v", "/abs.mp4"], models="m")
    again = RunConfig.from_file(describe(tmp_path, config, cwd="/home/me"))
    assert again.videos == ("/home/me/v/*.mp4", "s3://lab/v", "/abs.mp4")
    assert again.models == ("/home/me/m",)


def test_settings_as_json(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text('{"videos": "a.mp4", "model": "m", "eks-mode": "pupil"}')
    assert RunConfig.from_file(path).eks_options.mode == "pupil"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
        ("[1]", "holds no settings"),
        ('{"raypose": "1", "config": {"videos": 5, "models": "m"}}', "videos is 5"),
        ('{"raypose": "1", "config": {"device": "cpu", "warp": 1}}', "no setting 'warp'"),
        ('{"raypose": "1", "config": {"tables": ["t"]}}', "describes a run of raypose smooth"),
    ],
)
def test_what_is_refused(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "run.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=words) as caught:
        RunConfig.from_file(path)
    assert caught.value.path == str(path)


def test_a_run_is_no_smoothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a run of raypose run, and can't be used with smooth"):
        SmoothConfig.from_file(describe(tmp_path, run_config()))


def test_the_largest_description_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = describe(tmp_path, run_config())
    size = path.stat().st_size
    monkeypatch.setattr(files, "MAX_RUN_JSON_BYTES", size)
    assert read_settings(path, RunConfig)["models"]
    monkeypatch.setattr(files, "MAX_RUN_JSON_BYTES", size - 1)
    with pytest.raises(UsageError, match=rf"can't be read \(larger than {size - 1} bytes\)"):
        read_settings(path, RunConfig)
