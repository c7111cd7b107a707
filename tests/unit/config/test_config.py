"""RunConfig: defaults, what is refused and in which words, and `run.yaml`."""

from __future__ import annotations

import json
import math
import pickle
import tempfile
from pathlib import Path
from typing import Any

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from upath import UPath

from raypose.config import EksOptions, RunConfig, read_settings
from raypose.errors import UsageError


def build(**values: Any) -> RunConfig:
    return RunConfig(**{"videos": ("v.mp4",), "models": ("m",), **values})


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def assert_plain(sentence: str) -> None:
    """One line in raypose's words, none of Pydantic's."""
    assert "\n" not in sentence
    for word in ("Input should", "valid", "dict[", "tuple[", "pydantic", "eks_options.", "defect"):
        assert word not in sentence


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


@pytest.mark.parametrize(
    ("given", "held"),
    [
        ("a.mp4", ("a.mp4",)),
        (Path("a.mp4"), ("a.mp4",)),
        ([Path("a.mp4"), "s3://b/c.mp4"], ("a.mp4", "s3://b/c.mp4")),
        ((name for name in ("a", "b")), ("a", "b")),
        ({"a": 1}.keys(), ("a",)),
        (UPath("memory://b/c.mp4"), ("memory://b/c.mp4",)),
    ],
)
def test_one_or_many_paths_or_texts(given: Any, held: tuple[str, ...]) -> None:
    assert build(videos=given).videos == held


def test_names_and_sections_in_any_form() -> None:
    config = build(views=["top", "side"], label="full", eks_options=EksOptions(mode="multicam"))
    assert (config.views, config.label) == (("top", "side"), ("full",))
    assert config.eks_options.mode == "multicam"
    blocks = build(eks_options={"blocks": (x for x in ("a,b", ["c", "d"]))}).eks_options.blocks
    assert blocks == (("a", "b"), ("c", "d"))


def test_with_the_listed_recordings_no_videos_are_given() -> None:
    assert RunConfig(models="m", sessions="recordings.csv").videos == ()


def test_a_copy_is_checked_as_a_new_config_is() -> None:
    config = build(gpus=2, eks_options={"mode": "pupil"})
    copy = config.model_copy(update={"videos": Path("b.mp4"), "output_dir": "/o"})
    assert (copy.videos, copy.output_dir, copy.gpus) == (("b.mp4",), Path("/o"), 2)
    assert copy.eks_options == config.eks_options
    assert copy.model_fields_set == {*config.model_fields_set, "output_dir"}
    with pytest.raises(UsageError, match="--gpus is 0"):
        config.model_copy(update={"gpus": 0})
    with pytest.raises(UsageError, match="--avg-mode is 'x', and must be median or mean"):
        config.eks_options.model_copy(update={"avg_mode": "x"})


def test_options_of_the_smoother_alone_are_refused_in_the_same_words() -> None:
    with pytest.raises(UsageError, match="--eks-mode is 'best', and must be auto") as caught:
        EksOptions(mode="best")  # type: ignore[arg-type]
    assert_plain(str(caught.value))


def test_configs_can_be_sent_to_other_processes() -> None:
    config = build(eks_options={"smooth_param": "nose=2"})
    assert pickle.loads(pickle.dumps(config)) == config


def test_is_frozen() -> None:
    with pytest.raises(pydantic.ValidationError):
        build().metrics = False  # type: ignore[misc]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"videos": ()}, "videos: at least one is needed"),
        ({"models": ()}, "--model: at least one is needed"),
        ({"views": ","}, "--views is ',', and must be names with commas between"),
        ({"views": ("top",)}, "--views names a single view, top: give two or more"),
        ({"views": "top,top"}, "--views is 'top,top': top is named twice"),
        ({"sessions": "s.csv"}, "give no others with it"),
        ({"sessions": "s3://b/s.csv"}, "can't be a URL"),
        ({"shard": "3/3"}, "--shard is 3/3, and must be I/N, with I from 0 to N − 1"),
        ({"shard": "one"}, "--shard is 'one', and must be I/N"),
        ({"output_dir": 5}, "--output-dir is 5, and must be a path"),
        ({"output_dir": ""}, "--output-dir is '', and must be a path"),
        ({"data_dir": ["a"]}, "--data-dir is ['a'], and must be a path"),
        ({"run_dir": "a\0b"}, r"--run-dir is 'a\x00b', and must be a path"),
        ({"inline": True, "address": "10.0.0.1:6379"}, "--inline"),
        ({"label": ("half",)}, "--label is 'half', and must be full or snippet"),
        ({"layout": "dlc"}, "--layout is 'dlc', and must be app or pose-app"),
        ({"layout": "poseapp"}, "Did you mean pose-app?"),
        ({"precision": "int8"}, "--precision is 'int8', and must be auto, fp32, bf16 or fp16"),
        ({"precision": "FP-16"}, "Did you mean fp16?"),
        ({"runtime": "eager"}, "--runtime is 'eager', and must be torch, onnx or tensorrt"),
        ({"runtime": "onnx", "precision": "bf16"}, "--runtime onnx has no bf16"),
        ({"runtime": "tensorrt", "device": "cpu"}, "--runtime tensorrt needs a GPU"),
        ({"gpus": 0}, "--gpus is 0, and must be a whole number of at least 1"),
        ({"gpus": True}, "--gpus is True, and must be a whole number"),
        ({"gpus": "two"}, "--gpus is 'two', and must be a whole number"),
        ({"gpus": 10**5000}, "--gpus is something of type int, and must be a whole number"),
        ({"batch_size": -1}, "--batch-size is -1"),
        ({"batch_size": 2.5}, "--batch-size is 2.5, and must be a whole number"),
        ({"chunk_frames": 0}, "--chunk-frames is 0"),
        ({"metrics": "maybe"}, "--metrics is 'maybe', and must be true or false"),
        ({"snippet_s": 0}, "snippet_s is 0, and must be a number of seconds above 0"),
        ({"snippet_s": False}, "snippet_s is False, and must be a number of seconds"),
        ({"scratch_gb": math.inf}, "--scratch-gb is inf, and must be a number of GB above 0"),
        ({"scratch_gb": "1e400"}, "--scratch-gb is '1e400', and must be a number of GB"),
        ({"scratch_gb": math.nan}, "--scratch-gb is nan"),
        ({"labels": ("full",)}, "there is no setting 'labels'"),
        ({"labels": ("full",)}, "Did you mean --label?"),
        ({"videos": 5}, "videos is 5, and must be text, or a list of texts"),
        ({"overrides": {"a": 1}}, "--override is {'a': 1}, and must be key=value"),
        ({"eks_options": 5}, "eks_options is 5"),
        ({"eks_options": {"mode": "best"}}, "--eks-mode is 'best', and must be auto, singlecam"),
        ({"eks_options": {"modus": "auto"}}, "Did you mean --eks-mode?"),
        ({"eks_options": {"blocks": 5}}, "--block is 5, and must be groups of keypoints"),
        ({"eks_options": {"blocks": "a,b"}}, "--block is 'a,b', and must be groups"),
        (
            {"eks_options": {"s_frames": "a:b"}},
            "--s-frames is 'a:b', and must be ranges of frames",
        ),
        ({"eks_options": {"s_frames": "5"}}, "and must be ranges of frames, as in 0:500,1000:"),
        ({"eks_options": {"s_frames": "9:5"}}, "9:5 holds no frame"),
        ({"eks_options": {"s_frames": "-5:"}}, "--s-frames is '-5:', and must be ranges"),
        (
            {"eks_options": {"quantile_keep_pca": 0}},
            "--quantile-keep-pca is 0, and must be a perc",
        ),
        ({"eks_options": {"min_members": 1}}, "--min-members is 1, and must be a whole number"),
        ({"eks_options": {"keypoints": "a,a"}}, "a is named twice"),
        *(
            ({"eks_options": {"smooth_param": param}}, f"--smooth-param is {said}")
            for param, said in [
                (-1.0, "-1.0, and must be a number above 0, or one for each keypoint"),
                ("lots", "'lots', and must be a number above 0"),
                ("nose=-1", "'nose=-1', and must be a number above 0, or one for each keypoint"),
                ("nose=2,paw", "'nose=2,paw', and must be"),
                ("nose=2,nose=3", "'nose=2,nose=3': nose is named twice"),
                ({"nose": "x"}, "{'nose': 'x'}, and must be"),
                (math.inf, "inf, and must be"),
                ([1, 2], "[1, 2], and must be"),
            ]
        ),
    ],
)
def test_what_makes_no_sense_is_named(values: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        build(**values)
    assert words in str(caught.value)
    assert_plain(str(caught.value))


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        build(models=(), gpus=0, layout="dlc")
    assert all(word in str(caught.value) for word in ("--model", "--gpus", "--layout"))


def test_eks_is_content_with_either_directory() -> None:
    assert build(eks=True, models=("a", "b"), output_dir="o").eks
    assert build(eks=True, models=("a", "b"), eks_dir="e").eks


def test_inline_goes_with_a_local_address() -> None:
    assert build(inline=True, address="local").inline


@pytest.mark.parametrize("written", ["nwb,slp", ("nwb", "slp", "nwb"), ["nwb, slp", "nwb"]])
def test_formats_with_commas_between_come_once(written: Any) -> None:
    assert build(formats=written).formats == ("nwb", "slp")


@pytest.mark.parametrize("wrong", [",", "", [["nwb"]], [{"nwb": "slp"}], 5])
def test_what_is_no_format_is_refused(wrong: Any) -> None:
    with pytest.raises(UsageError, match="--format is"):
        build(formats=wrong)


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
    config = RunConfig.from_file(path)
    assert config.videos == ("a.mp4", "b.mp4")
    assert config.models == ("m1", "m2")
    assert config.eks_dir == Path("/e")
    assert config.label == ("full",)
    assert config.overrides == ("model.backbone=resnet50",)
    assert config.eks_options == EksOptions(avg_mode="mean")


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "run.yaml", "videos: a.mp4\nmodels: m\nmetrics: true\ngpus: 4\n")
    config = RunConfig.from_file(path, {"metrics": False, "gpus": 1})
    assert (config.metrics, config.gpus, config.videos) == (False, 1, ("a.mp4",))


def test_what_the_command_line_got_wrong_is_not_the_files_fault(tmp_path: Path) -> None:
    path = write(tmp_path / "run.yaml", "videos: a.mp4\nmodels: m\neks_options: {avg_mode: x}\n")
    with pytest.raises(UsageError) as caught:
        RunConfig.from_file(path, {"gpus": 0})
    assert "--gpus is 0" in caught.value.message
    assert "eks_options.avg_mode is 'x'" in caught.value.message
    assert caught.value.path == str(path)
    path.write_text("videos: a.mp4\nmodels: m\neks_options: {avg_mode: mean}\n")
    with pytest.raises(UsageError, match=r"^--gpus is 0"):
        RunConfig.from_file(path, {"gpus": 0})
    with pytest.raises(UsageError, match=r"^--smooth-param is '-1'"):
        RunConfig.from_file(path, {"eks_options": {"smooth_param": "-1"}})


def test_options_of_the_smoother_by_the_command_lines_names(tmp_path: Path) -> None:
    path = write(
        tmp_path / "run.yaml",
        "videos: a.mp4\nmodels: m\neks-mode: singlecam\nsmooth-param: nose=2\nblock: [nose,paw]\n"
        "eks_options: {avg-mode: mean}\n",
    )
    options = RunConfig.from_file(path).eks_options
    assert (options.mode, options.avg_mode) == ("singlecam", "mean")
    assert options.smooth_param == {"nose": 2}
    assert options.blocks == (("nose",), ("paw",))


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(
        ["a=1", "a=", "0:5", "1/2", "auto", "", "\0", "s3://b", "x://", "~", "1e999"]
    ),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=5,
)
KEYS = st.sampled_from(
    [*RunConfig.model_fields, *EksOptions.model_fields, "model", "block", "eks-dir"]
)


@settings(max_examples=3 * settings().max_examples, deadline=None)
@given(
    content=st.binary(max_size=60)
    | st.dictionaries(KEYS | st.text(max_size=5), VALUES, max_size=4).map(
        lambda values: json.dumps({"videos": "v", "models": "m", **values}).encode()
    )
)
def test_any_file_is_a_config_or_one_sentence(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.yaml"
        path.write_bytes(content)
        try:
            config = RunConfig.from_file(path)
        except UsageError as error:
            assert "\n" not in str(error)
            assert "Input should" not in str(error)
        else:
            # Whatever was taken can be written to `run.json`, and means the same again.
            again = json.loads(json.dumps(config.model_dump(mode="json")))
            assert RunConfig(**again) == config


def test_a_config_survives_its_own_yaml(tmp_path: Path) -> None:
    import yaml

    config = build(label=("snippet",), output_dir=tmp_path / "o", snippet_s=12.5)
    path = write(tmp_path / "run.yaml", yaml.safe_dump(config.model_dump(mode="json")))
    assert RunConfig.from_file(path) == config


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no settings"),
        (b"- a\n- b\n", "no settings"),
        (b"videos: [a\nmodels: }", "is no valid YAML"),
        (b"\xff\xfe\x00v", "is no valid YAML"),
        (b"videos: a.mp4\nmodels: m\nmodle: n\n", "no setting 'modle'. Did you mean model?"),
        (b"videos: a.mp4\n", "models: at least one is needed"),
        (b"videos: a.mp4\nmodels: m\noutput_dir: 5\n", "output_dir is 5, and must be a path"),
        (b"videos: a.mp4\nmodels: m\nblocks: 5\n", "there is no setting 'blocks'"),
        (b"videos: a.mp4\nmodels: m\nblock: 5\n", "eks_options.blocks is 5"),
        (b"videos: a.mp4\nmodels: m\nscratch_gb: 1e400\n", "scratch_gb is inf, and must be"),
        (b"videos: a.mp4\nmodels: m\ngpus: 2026-02-30\n", "gpus is '2026-02-30'"),
        (b"videos: a\nmodels: m\neks-dir: /a\neks_dir: /b\n", "eks_dir is set twice"),
        (b"videos: a\nmodels: m\nblock: [a]\neks_options: {blocks: [b]}\n", "is set twice"),
        (b"videos: a\nmodels: m\neks_options: 5\navg_mode: mean\n", "is set twice"),
        (b"videos: a\nmodels: [m, 5]\n", "models is 5, and must be text"),
        (b"videos: a\nmodels: m\n5: b\n", "no setting '5'"),
        (b"a: &a [x, x]\nvideos: [*a, *a]\nmodels: m\n", "no setting 'a'"),
        (b"[" * 50_000, "nested"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        RunConfig.from_file(path)
    assert words in str(caught.value)
    assert caught.value.path == str(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no\.yaml.*No such file"):
        read_settings(tmp_path / "no.yaml", RunConfig)


def test_options_of_the_smoother_as_the_command_line_writes_them() -> None:
    options = RunConfig(
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
        RunConfig(
            videos=("v",), models=("a",), eks_options={"smooth_param": "7"}
        ).eks_options.smooth_param
        == 7.0
    )


def test_options_of_the_smoother_in_a_file_are_kept_beside_those_given(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("videos: v\nmodels: [a, b]\neks_options: {avg_mode: mean, mode: pupil}\n")
    config = RunConfig.from_file(path, {"eks_options": {"mode": "singlecam"}})
    assert (config.eks_options.avg_mode, config.eks_options.mode) == ("mean", "singlecam")
