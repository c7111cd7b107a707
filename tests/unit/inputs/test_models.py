"""Model directories: what is read, what is chosen, and what is said of broken ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from raypose.errors import ModelError, UsageError
from raypose.inputs.models import find_checkpoint, open_model, shortest_names
from tests.models import make_config


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYPOSE_CACHE_DIR", str(tmp_path / "cache"))


def write(
    directory: Path,
    config: dict[str, Any] | None = None,
    *,
    checkpoints: tuple[str, ...] = ("version_0/checkpoints/epoch=1-step=10.ckpt",),
    config_name: str = "config.yaml",
) -> Path:
    """A model directory whose checkpoints hold nothing but their names."""
    path = directory / config_name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(make_config() if config is None else config))
    for name in checkpoints:
        file = directory / "tb_logs" / "test_model" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(name.encode())
    return directory


def test_reads_what_inference_needs(tmp_path: Path) -> None:
    spec = open_model(write(tmp_path / "model"))
    assert spec.model_type == "heatmap"
    assert spec.backbone == "resnet18"
    assert spec.keypoint_names == ("nose", "paw", "tail")
    assert (spec.image_height, spec.image_width) == (64, 64)
    assert spec.view_names == ()
    assert spec.confidence_threshold == 0.9
    assert spec.scorer == "heatmap_tracker"
    assert spec.name == "model"
    assert Path(spec.checkpoint).name == "epoch=1-step=10.ckpt"


def test_does_not_import_torch(tmp_path: Path) -> None:
    write(tmp_path / "model")
    code = (
        "import sys; from raypose.inputs.models import open_model; "
        f"open_model({str(tmp_path / 'model')!r}); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'pandas', 'lightning_pose')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_interpolations_that_have_no_value_stay(tmp_path: Path) -> None:
    config = make_config()
    config["hydra"] = {"dir": "${now:%Y}", "gone": "${data.no_such_key}"}
    spec = open_model(write(tmp_path / "model", config))
    assert spec.config["eval"]["test_videos_directory"] == "/nowhere/data/videos"
    assert spec.config["hydra"] == {"dir": "${now:%Y}", "gone": "${data.no_such_key}"}


def test_old_config(tmp_path: Path) -> None:
    config = make_config()
    config["data"]["keypoints"] = config["data"].pop("keypoint_names")
    for section, key in (
        ("data", "downsample_factor"),
        ("model", "losses_to_use"),
        ("model", "backbone_pretrained"),
    ):
        del config[section][key]
    del config["eval"]
    spec = open_model(write(tmp_path / "model", config, config_name=".hydra/config.yaml"))
    assert spec.keypoint_names == ("nose", "paw", "tail")
    assert spec.confidence_threshold == 0.9
    assert spec.losses == ()


def test_overrides(tmp_path: Path) -> None:
    model = write(tmp_path / "model")
    overrides = ["eval.confidence_thresh_for_vid=0.5", "+eval.colormap=viridis"]
    spec = open_model(model, overrides=overrides)
    assert spec.confidence_threshold == 0.5
    assert spec.colormap == "viridis"
    assert spec.fingerprint == open_model(model).fingerprint, "drawing is not inference"
    resized = open_model(model, overrides=["data.image_resize_dims={height: 96, width: 64}"])
    assert resized.image_height == 96
    assert resized.fingerprint != spec.fingerprint


@pytest.mark.parametrize(
    "override", ["model.bakbone=x", "backbone", "=3", "model..x=1", "data.csv_file.x=1"]
)
def test_override_that_means_nothing(tmp_path: Path, override: str) -> None:
    with pytest.raises(UsageError, match="override"):
        open_model(write(tmp_path / "model"), overrides=[override])


def test_fingerprint_follows_bytes_and_config_not_place(tmp_path: Path) -> None:
    first = open_model(write(tmp_path / "a" / "model"))
    assert open_model(write(tmp_path / "b" / "moved")).fingerprint == first.fingerprint
    config = make_config()
    config["training"]["max_epochs"] = 7
    assert open_model(write(tmp_path / "c", config)).fingerprint == first.fingerprint
    config["data"]["image_resize_dims"]["height"] = 128
    assert open_model(write(tmp_path / "d", config)).fingerprint != first.fingerprint
    Path(first.checkpoint).write_bytes(b"other weights")
    assert open_model(tmp_path / "a" / "model").fingerprint != first.fingerprint


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["version_0/checkpoints/a.ckpt"], "version_0/checkpoints/a.ckpt"),
        (
            ["version_2/checkpoints/epoch=1-step=9.ckpt", "version_10/checkpoints/a.ckpt"],
            "version_10/checkpoints/a.ckpt",
        ),
        (
            ["version_0/checkpoints/step=900.ckpt", "version_0/checkpoints/step=10-best.ckpt"],
            "version_0/checkpoints/step=10-best.ckpt",
        ),
        (
            ["version_0/checkpoints/step=9-best.ckpt", "version_0/checkpoints/step=10-best.ckpt"],
            "version_0/checkpoints/step=10-best.ckpt",
        ),
        (
            ["version_0/checkpoints/step=9.ckpt", "version_0/checkpoints/step=10.ckpt"],
            "version_0/checkpoints/step=10.ckpt",
        ),
    ],
)
def test_choice_of_checkpoint(tmp_path: Path, names: list[str], chosen: str) -> None:
    write(tmp_path, checkpoints=tuple(names))
    assert find_checkpoint(tmp_path, "test_model") == tmp_path / "tb_logs/test_model" / chosen


def test_checkpoint_of_a_renamed_model(tmp_path: Path) -> None:
    write(tmp_path)
    assert find_checkpoint(tmp_path, "another name").name == "epoch=1-step=10.ckpt"


def test_checkpoints_that_cannot_be_told_apart(tmp_path: Path) -> None:
    write(tmp_path, checkpoints=("version_0/checkpoints/a.ckpt", "version_0/checkpoints/b.ckpt"))
    with pytest.raises(ModelError, match=r"several checkpoints.*a\.ckpt.*b\.ckpt"):
        open_model(tmp_path)


def _without(section: str, key: str) -> dict[str, Any]:
    config = make_config()
    del config[section][key]
    return config


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (_without("model", "model_type"), "no model.model_type"),
        (_without("model", "backbone"), "no model.backbone"),
        (_without("data", "image_resize_dims"), "no data.image_resize_dims"),
        (_without("data", "keypoint_names"), "no data.keypoint_names"),
        ({"model": {}}, "no data"),
        ({}, "no data"),
    ],
)
def test_missing_keys_are_named(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        open_model(write(tmp_path, config))


def test_model_type_that_is_unknown(tmp_path: Path) -> None:
    config = make_config()
    config["model"]["model_type"] = "heatmap_4d"
    with pytest.raises(ModelError, match="heatmap_4d"):
        open_model(write(tmp_path, config))


def test_broken_directories(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such model directory"):
        open_model(tmp_path / "nowhere")
    file = tmp_path / "file.ckpt"
    file.write_bytes(b"")
    with pytest.raises(UsageError, match="a file, not a model directory"):
        open_model(file)
    with pytest.raises(UsageError, match=r"no config\.yaml"):
        open_model(tmp_path)
    with pytest.raises(ModelError, match="no checkpoint"):
        open_model(write(tmp_path / "bare", checkpoints=()))
    broken = write(tmp_path / "broken")
    (broken / "config.yaml").write_text("data: [unclosed")
    with pytest.raises(ModelError, match="no valid YAML"):
        open_model(broken)
    (broken / "config.yaml").write_text("")
    with pytest.raises(ModelError, match="empty"):
        open_model(broken)


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["/a/2026-11-01/10-00-00"], ["2026-11-01_10-00-00"]),
        (["/a/2020-01-02/10:11:12"], ["2020-01-02_10-11-12"]),
        (["/a/2026-11-01/10-00-00-x", "/a/m"], ["2026-11-01_10-00-00-x", "m"]),
        (["/lab/mouse", "/lab/fly"], ["mouse", "fly"]),
        (["/a/x/m", "/a/y/m"], ["x_m", "y_m"]),
        (["/a/x/M", "/a/y/m"], ["x_M", "y_m"]),
        (["/x/m 1"], ["m-1"]),
        (["/m", "/a/m"], ["m", "a_m"]),
        ([], []),
    ],
)
def test_shortest_names(paths: list[str], names: list[str]) -> None:
    assert shortest_names(paths) == names


def test_shortest_names_are_always_different() -> None:
    names = shortest_names(["/a/b_c", "/a/b/c", "/x/b/c", "/x/b/c"])
    assert len(set(names)) == 4


def test_shared_models(shared_data: Path) -> None:
    folder = shared_data / "models" / "2026-11-01"
    spec = open_model(folder / "10-00-00-effb0-seed0")
    assert spec.name == "2026-11-01_10-00-00-effb0-seed0"
    assert spec.backbone == "efficientnet_b0"
    assert len(spec.keypoint_names) == 17
