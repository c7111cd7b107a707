"""RunConfig: defaults, what is refused and in which words, and `run.yaml`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydantic
import pytest

from raypose.config import EksOptions, RunConfig, read_yaml
from raypose.errors import UsageError


def build(**values: Any) -> RunConfig:
    return RunConfig.build(**{"videos": ("v.mp4",), "models": ("m",), **values})


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_predict_and_measure_and_nothing_else() -> None:
    config = build()
    assert config.metrics
    assert not config.label
    assert not config.eks
    assert config.layout == "app"
    assert (config.device, config.precision) == ("auto", "auto")


def test_only_a_gpus_encoder_needs_to_see_gpus() -> None:
    assert build(encoder="nvenc").gpu_encoder
    assert not build().gpu_encoder


def test_is_frozen() -> None:
    with pytest.raises(pydantic.ValidationError):
        build().metrics = False  # type: ignore[misc]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"videos": ()}, "videos: at least one is needed"),
        ({"models": ()}, "models: at least one is needed"),
        ({"views": ("top",)}, "views: two or more"),
        ({"views": "top,top"}, "each named once"),
        ({"sessions": "s.csv"}, "give no others with it"),
        ({"shard": "3/3"}, "shard"),
        ({"shard": "one"}, "shard"),
        ({"eks_options": {"smooth_param": "nose=-1"}}, "eks_options.smooth_param"),
        ({"eks_options": {"s_frames": "a:b"}}, "eks_options.s_frames"),
        ({"eks_options": {"mode": "best"}}, "eks_options.mode"),
        ({"inline": True, "address": "10.0.0.1:6379"}, "--inline"),
        ({"label": ("half",)}, "label.0"),
        ({"layout": "dlc"}, "layout"),
        ({"precision": "int8"}, "precision"),
        ({"runtime": "eager"}, "runtime"),
        ({"runtime": "onnx", "precision": "bf16"}, "--runtime onnx has no bf16"),
        ({"runtime": "tensorrt", "device": "cpu"}, "--runtime tensorrt needs a GPU"),
        ({"gpus": 0}, "gpus"),
        ({"batch_size": -1}, "batch_size"),
        ({"chunk_frames": 0}, "chunk_frames"),
        ({"snippet_s": 0}, "snippet_s"),
        ({"eks_options": {"smooth_param": -1.0}}, "eks_options.smooth_param"),
        ({"labels": ("full",)}, "labels"),
    ],
)
def test_what_makes_no_sense_is_named(values: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        build(**values)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        build(models=(), gpus=0, layout="dlc")
    assert all(word in str(caught.value) for word in ("models", "gpus", "layout"))


def test_eks_is_content_with_either_directory() -> None:
    assert build(eks=True, models=("a", "b"), output_dir="o").eks
    assert build(eks=True, models=("a", "b"), eks_dir="e").eks


def test_inline_goes_with_a_local_address() -> None:
    assert build(inline=True, address="local").inline


def test_label_kinds_come_once_in_fixed_order() -> None:
    assert build(label=("snippet", "full", "snippet")).label == ("full", "snippet")


def test_directories_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    config = build(output_dir="out", run_dir="../runs", data_dir="~/data", eks_dir=tmp_path)
    assert config.output_dir == tmp_path / "out"
    assert config.run_dir == tmp_path.parent / "runs"
    assert config.data_dir == Path("/home/somebody/data")
    assert config.eks_dir == tmp_path


def test_yaml_with_the_names_of_the_command_line(tmp_path: Path) -> None:
    path = write(
        tmp_path / "run.yaml",
        "videos: [a.mp4, b.mp4]\nmodel: [m1, m2]\neks: true\neks-dir: /e\nlabel: full\n"
        "override: model.backbone=resnet50\neks-options: {avg_mode: mean}\n",
    )
    config = RunConfig.from_yaml(path)
    assert config.videos == ("a.mp4", "b.mp4")
    assert config.models == ("m1", "m2")
    assert config.eks_dir == Path("/e")
    assert config.label == ("full",)
    assert config.overrides == ("model.backbone=resnet50",)
    assert config.eks_options == EksOptions(avg_mode="mean")


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "run.yaml", "videos: a.mp4\nmodels: m\nmetrics: true\ngpus: 4\n")
    config = RunConfig.from_yaml(path, {"metrics": False, "gpus": 1})
    assert (config.metrics, config.gpus, config.videos) == (False, 1, ("a.mp4",))


def test_a_config_survives_its_own_yaml(tmp_path: Path) -> None:
    import yaml

    config = build(label=("snippet",), output_dir=tmp_path / "o", snippet_s=12.5)
    path = write(tmp_path / "run.yaml", yaml.safe_dump(config.model_dump(mode="json")))
    assert RunConfig.from_yaml(path) == config


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no settings"),
        (b"- a\n- b\n", "no settings"),
        (b"videos: [a\nmodels: }", "is not YAML"),
        (b"\xff\xfe\x00v", "is not YAML"),
        (b"videos: a.mp4\nmodels: m\nmodle: n\n", "modle"),
        (b"videos: a.mp4\n", "models"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        RunConfig.from_yaml(path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no\.yaml.*No such file"):
        read_yaml(tmp_path / "no.yaml")


def test_options_of_the_smoother_as_the_command_line_writes_them() -> None:
    options = RunConfig.build(
        videos=("v",),
        models=("a", "b"),
        views="top, side",
        shard="1/4",
        eks_options={
            "smooth_param": "nose=2.5,paw=4",
            "s_frames": "0:500,1000:",
            "blocks": ("nose,paw",),
            "keypoints": "nose,paw",
            "mirrored": "top,bot",
        },
    )
    assert (options.views, options.shard) == (("top", "side"), (1, 4))
    eks = options.eks_options
    assert eks.smooth_param == {"nose": 2.5, "paw": 4.0}
    assert eks.s_frames == ((0, 500), (1000, None))
    assert eks.blocks == (("nose", "paw"),)
    assert (eks.keypoints, eks.mirrored) == (("nose", "paw"), ("top", "bot"))
    assert (
        RunConfig.build(
            videos=("v",), models=("a",), eks_options={"smooth_param": "7"}
        ).eks_options.smooth_param
        == 7.0
    )


def test_options_of_the_smoother_in_a_file_are_kept_beside_those_given(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("videos: v\nmodels: [a, b]\neks_options: {avg_mode: mean, mode: pupil}\n")
    config = RunConfig.from_yaml(path, {"eks_options": {"mode": "singlecam"}})
    assert (config.eks_options.avg_mode, config.eks_options.mode) == ("mean", "singlecam")
