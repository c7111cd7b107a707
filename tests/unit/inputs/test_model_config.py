"""A model's config: every field that raypose reads is checked at the door, and nothing escapes."""

from __future__ import annotations

import copy
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raypose.eks.recording import mirrored_views
from raypose.errors import LabelsError, ModelError, RayposeError, UsageError
from raypose.inputs.model_config import read_config
from raypose.inputs.models import open_model
from raypose.limits import MAX_CONFIG_BYTES, MAX_CONFIG_VALUES, MAX_NETWORK_SIDE
from raypose.metrics.compute import PcaMetrics, wanted_metrics
from raypose.metrics.labels import training_split
from tests.models import make_config


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYPOSE_CACHE_DIR", str(tmp_path / "cache"))


def write(folder: Path, config: Any) -> Path:
    path = folder / "config.yaml"
    text = config if isinstance(config, str) else yaml.safe_dump(config)
    path.write_text(text, encoding="utf-8")
    return path


def changed(option: str, value: Any) -> dict[str, Any]:
    config = make_config()
    section: Any = config
    *names, last = option.split(".")
    for name in names:
        section = section[name]
    section[last] = value
    return config


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("model.losses_to_use", 5, "is 5, and must be a list of losses"),
        ("model.losses_to_use", "temporal", "is 'temporal', and must be a list of losses"),
        ("data.view_names", 5, "is 5, and must be a list of names"),
        ("data.view_names", "top", "is 'top', and must be a list of names"),
        ("data.view_names", ["top", "top"], "names 'top' more than once"),
        ("eval", "str", "is 'str', and must be a section"),
        ("data", [1], r"is \[1\], and must be a section"),
        ("losses", 5, "is 5, and must be a section"),
        ("training", "x", "is 'x', and must be a section"),
        ("data.mirrored_column_matches", [0, 1], r"is \[0, 1\], and must be a list of lists"),
        ("data.mirrored_column_matches", [[0], 1], r"must be a list of lists"),
        ("data.mirrored_column_matches", 5, "is 5, and must be a list of lists"),
        ("data.mirrored_column_matches", [[0, 1], [2]], "must be lists of equally many"),
        ("data.columns_for_singleview_pca", [0, 3], "must be numbers of keypoints from 0 to 2"),
        ("data.columns_for_singleview_pca", [-1], r"\[0\] is -1, and must be a list of keypoints"),
        ("data.columns_for_singleview_pca", ["nose"], r"\[0\] is 'nose', and must be a list"),
        ("data.keypoint_names", "nose", "is 'nose', and must be a list of names"),
        ("data.keypoint_names", ["a", False], r"\[1\] is False, and must be a list of names"),
        ("data.keypoint_names", ["a", "a"], "names 'a' more than once"),
        ("data.keypoint_names", ["a", ["b"]], r"\[1\] is \['b'\], and must be"),
        ("data.keypoint_names", ["a\nb"], r"\[0\] is 'a\\nb', and must be"),
        ("data.image_resize_dims", 256, "is 256, and must be a section with height and width"),
        ("data.image_resize_dims.height", "256", "is '256', and must be a number of pixels"),
        ("data.image_resize_dims.width", 0, "is 0, and must be a number of pixels"),
        ("data.image_resize_dims.width", 10**9, "is 1000000000, and must be a number of pixels"),
        ("data.image_resize_dims.width", True, "is True, and must be a number of pixels"),
        ("data.downsample_factor", 9, "is 9, and must be 1, 2 or 3"),
        ("data.csv_file", {"a": 1}, "must be a file, or a list of files"),
        ("data.data_dir", ["a"], "must be a directory"),
        ("model.model_type", ["heatmap"], "must be one of heatmap, regression"),
        ("model.backbone", "${oops", r"is '\$\{oops', and must be the name of a backbone"),
        ("model.backbone", "${gone.away}", "must be the name of a backbone"),
        ("model.model_name", "../../etc", "must be the name of a folder"),
        ("eval.confidence_thresh_for_vid", "high", "is 'high', and must be a number from 0 to 1"),
        ("eval.confidence_thresh_for_vid", float("nan"), "is nan, and must be a number"),
        ("eval.confidence_thresh_for_vid", 90, "is 90, and must be a number from 0 to 1"),
        ("eval.colormap", 5.5, None),
        ("eval.colormap", ["cool"], "must be the name of a colormap"),
        ("losses.pca_singleview.components_to_keep", "all", "is 'all', and must be a number"),
        ("losses.pca_singleview.components_to_keep", True, "is True, and must be a number"),
        ("training.train_prob", "most", "is 'most', and must be a number from 0 to 1"),
        ("training.rng_seed_data_pt", -1, "is -1, and must be a whole number"),
        ("training.rng_seed_data_pt", 1 << 32, "must be a whole number"),
        ("training.train_frames", float("inf"), "is inf, and must be a number of frames"),
    ],
)
def test_a_value_that_is_not_allowed(
    tmp_path: Path, option: str, value: Any, message: str | None
) -> None:
    path = write(tmp_path, changed(option, value))
    if message is None:
        read_config(path)
        return
    with pytest.raises(ModelError, match=message) as caught:
        read_config(path)
    assert str(caught.value).startswith(f"{path}: {option}")
    assert "pydantic" not in str(caught.value)


def test_the_hint_does_not_repeat_an_option_that_was_given(tmp_path: Path) -> None:
    path = write(tmp_path, make_config())
    with pytest.raises(ModelError, match=r"Correct the --override of data\.downsample_factor"):
        read_config(path, ["data.downsample_factor=9"])
    write(tmp_path, changed("data.downsample_factor", 9))
    with pytest.raises(ModelError, match=r"or give --override data\.downsample_factor="):
        read_config(path)
    config, _ = read_config(path, ["data.downsample_factor=2"])
    assert config.data.downsample_factor == 2


def test_what_raypose_does_not_read_may_be_anything(tmp_path: Path) -> None:
    config = make_config()
    config["anything"] = {5: [None, {"a": 1e300}], None: 1, True: ["${oops", "${now:%Y}"]}
    config["created"] = "2026-13-45"
    text = yaml.safe_dump(config).replace("'2026-13-45'", "2026-13-45")
    _, values = read_config(write(tmp_path, text))
    assert values["created"] == "2026-13-45"
    assert values["anything"]["True"] == ["${oops", "${now:%Y}"]
    assert values["anything"]["5"] == [None, {"a": 1e300}]


def test_values_that_are_read_in_several_forms(tmp_path: Path) -> None:
    config = changed("data.keypoint_names", [1, "b", 2.5])
    config["model"]["losses_to_use"] = [""]
    config["eval"] = config["losses"] = None
    config["data"]["view_names"] = ["only"]
    config["data"]["mirrored_column_matches"] = [[0], [2]]
    read, values = read_config(write(tmp_path, config))
    assert read.keypoint_names == ("1", "b", "2.5")
    assert values["data"]["keypoint_names"] == ["1", "b", "2.5"]
    assert read.model.losses_to_use == []
    assert read.view_names == ()


def test_a_model_of_several_views_has_columns_of_other_tables(tmp_path: Path) -> None:
    config = changed("data.mirrored_column_matches", [0, 1, 40])
    config["data"]["view_names"] = ["top", "side"]
    read, _ = read_config(write(tmp_path, config))
    assert read.view_names == ("top", "side")


def test_no_reference_reaches_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYPOSE_TEST_SECRET", "swordfish")
    config = make_config()
    written = [
        "${oc.env:RAYPOSE_TEST_SECRET}",
        "${oc.decode:${oc.env:RAYPOSE_TEST_SECRET}}",
        "${oc.create:{a: 1}}",
        "${other:${data.data_dir}}",
    ]
    config["data"]["data_dir"], config["anything"] = written[0], {"list": written}
    config["anything"]["again"] = "${data.data_dir}"
    _, values = read_config(write(tmp_path, config))
    assert "swordfish" not in repr(values)
    assert values["data"]["data_dir"] == values["anything"]["again"] == written[0]
    assert values["anything"]["list"][:3] == written[:3]
    config["model"]["backbone"] = written[0]
    with pytest.raises(ModelError, match=r"model\.backbone is '\$\{oc\.env:RAYPOSE_TEST_SECRET"):
        read_config(write(tmp_path, config))
    config["model"]["backbone"] = "resnet18"
    with pytest.raises(ModelError, match=r"model\.backbone is '\$\{oc\.env"):
        read_config(write(tmp_path, config), ["model.backbone=${oc.env:RAYPOSE_TEST_SECRET}"])


def _ten_of_each(reference: str, joined: str, around: str, *, anchors: bool = False) -> str:
    """Lines of which each refers ten times to the one before."""
    value, lines = "x" * 1000, []
    for i in range(12):
        lines.append(f"a{i}: {f'&a{i} ' if anchors else ''}{around.format(value)}")
        value = joined.join([reference.replace("BEFORE", f"a{i}")] * 10)
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (_ten_of_each("'${BEFORE}'", ", ", "[{}]"), "unfold to more than"),
        (_ten_of_each("${BEFORE}", "", "{}"), "unfold to more than"),
        ("a: ${a}", "in a circle"),
        ("a: ${b}\nb: ${a}", "in a circle"),
        ("a: {b: '${a}'}", "in a circle"),
        ("a: '${b.c}'\nb: '${a.c}'", "in a circle"),
        ("\n".join(f"a{i}: ${{a{i + 1}}}" for i in range(5000)), "in a circle, or too far"),
        (_ten_of_each("*BEFORE", ", ", "[{}]", anchors=True), "more than 100000"),
        ("[" * 50_000, "nested more than"),
        ("a: " + "[" * 50_000, "nested more than"),
        ("x" * (2 << 20), "larger than"),
    ],
    ids=lambda text: str(text)[:12],
)
def test_hostile_configs_are_refused_at_once(tmp_path: Path, text: str, message: str) -> None:
    if text.startswith("a"):
        text = f"{text}\n{yaml.safe_dump(make_config())}"
    begun = time.process_time()
    with pytest.raises(ModelError, match=message):
        read_config(write(tmp_path, text))
    assert time.process_time() - begun < 5


@pytest.mark.parametrize("value", ["[" * 50_000, "&a [*a]", "!!int x", "{a: 1, a: 2}", "a: b: c"])
def test_hostile_overrides(tmp_path: Path, value: str) -> None:
    with pytest.raises(UsageError, match="the value of the override") as caught:
        read_config(write(tmp_path, make_config()), [f"+x={value}"])
    assert len(str(caught.value)) < 500


# What a broken or hostile config may hold in any place.
_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["${data}", "${..b}", "${oops", "heatmap", "2026-13-45", "../x", "a\0b"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)
_options = [
    *("data", "model", "eval", "losses", "training"),
    *(f"data.{key}" for key in (*make_config()["data"], "keypoints", "view_names")),
    *(f"model.{key}" for key in (*make_config()["model"], "head")),
    *("data.image_resize_dims.height", "eval.confidence_thresh_for_vid", "eval.colormap"),
    *("losses.pca_singleview", "losses.pca_singleview.components_to_keep"),
    *(f"training.{key}" for key in ("train_prob", "val_prob", "rng_seed_data_pt", "train_frames")),
]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    checkpoint = tmp_path / "model/tb_logs/test_model/version_0/checkpoints/a.ckpt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"weights")
    write(tmp_path / "model", make_config())
    return tmp_path / "model"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.dictionaries(st.sampled_from(_options), _values, max_size=3))
def test_any_values_give_a_model_or_an_error(model: Path, changes: dict[str, Any]) -> None:
    config = copy.deepcopy(make_config())
    for option, value in changes.items():
        section: Any = config
        *names, last = option.split(".")
        for name in names:
            section = section.get(name) if isinstance(section, dict) else None
        if isinstance(section, dict):
            section[last] = value
    write(model, config)
    try:
        spec = open_model(model)
    except RayposeError as error:
        assert "defect" not in str(error)
        return
    # Whatever reads the config later finds what it expects.
    mirrored_views(spec)
    wanted_metrics(spec)
    for read in (
        lambda: training_split(20, spec.config.get("training") or {}),
        lambda: PcaMetrics.fit(spec),
    ):
        try:
            read()
        except LabelsError:
            continue


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.binary(max_size=80),
    st.integers(0, 2000),
    st.integers(0, 40),
)
def test_any_bytes_give_a_model_or_an_error(
    model: Path, content: bytes, at: int, n_replaced: int
) -> None:
    intact = yaml.safe_dump(make_config()).encode()
    for text in (content, intact[:at] + content + intact[at + n_replaced :]):
        (model / "config.yaml").write_bytes(text)
        try:
            open_model(model)
        except RayposeError as error:
            assert str(model) in str(error)


def test_the_largest_config(tmp_path: Path) -> None:
    text = yaml.safe_dump(make_config()) + "#"
    read_config(write(tmp_path, text.ljust(MAX_CONFIG_BYTES, ".")))
    with pytest.raises(ModelError, match=f"the config is larger than {MAX_CONFIG_BYTES} bytes"):
        read_config(write(tmp_path, text.ljust(MAX_CONFIG_BYTES + 1, ".")))
    values = yaml.safe_dump(make_config()) + "more: ["
    read_config(write(tmp_path, values + "1," * (MAX_CONFIG_VALUES - 1000) + "]"))
    with pytest.raises(ModelError, match=f"holds more than {MAX_CONFIG_VALUES} values"):
        read_config(write(tmp_path, values + "1," * MAX_CONFIG_VALUES + "]"))


def test_the_largest_network(tmp_path: Path) -> None:
    config = make_config()
    config["data"]["image_resize_dims"]["width"] = MAX_NETWORK_SIDE
    read_config(write(tmp_path, config))
    config["data"]["image_resize_dims"]["width"] += 1
    with pytest.raises(ModelError, match=r"width is 4097, and must be .* pixels up to 4096"):
        read_config(write(tmp_path, config))
