"""Checkpoints: what is read, what is refused, and what is said of damaged ones."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from raypose.errors import ModelChangedError, ModelError, UnsafeCheckpointError
from raypose.inference.checkpoint import load_weights, read_checkpoint
from raypose.limits import MAX_KEYPOINTS, MAX_VIEWS
from raypose.specs import ModelSpec
from raypose.storage.digests import remembered_digest


class Payload:
    """Unpickles into a call, as a malicious file would."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


def save(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def test_weights_and_hyperparameters(make_spec: Callable[..., ModelSpec]) -> None:
    spec = make_spec()
    checkpoint = read_checkpoint(spec.checkpoint)
    assert checkpoint.hyperparameters["backbone"] == "resnet18"
    assert checkpoint.weights["head.upsampling_layers.1.weight"].shape[1] == 3


def test_hyperparameters_of_omegaconf_are_harmless(tmp_path: Path) -> None:
    from omegaconf import OmegaConf

    parameters = OmegaConf.create({"milestones": [1, 2], "gamma": 0.5})
    content = {"state_dict": {"w": torch.zeros(1)}, "hyper_parameters": {"lr": parameters}}
    checkpoint = read_checkpoint(save(tmp_path / "a.ckpt", content))
    assert checkpoint.hyperparameters == {}
    content["hyper_parameters"] = OmegaConf.create({"backbone": "resnet18", "num_views": 2})
    checkpoint = read_checkpoint(save(tmp_path / "b.ckpt", content))
    assert checkpoint.hyperparameters == {"backbone": "resnet18", "num_views": 2}


def test_hyperparameters_do_not_reach_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from omegaconf import OmegaConf

    monkeypatch.setenv("RAYPOSE_TEST_SECRET", "swordfish")
    hidden = OmegaConf.create({"backbone": "${oc.env:RAYPOSE_TEST_SECRET}"})
    content = {"state_dict": {"w": torch.zeros(1)}, "hyper_parameters": hidden}
    checkpoint = read_checkpoint(save(tmp_path / "a.ckpt", content))
    assert checkpoint.hyperparameters == {"backbone": "${oc.env:RAYPOSE_TEST_SECRET}"}
    weights = OmegaConf.create({"state_dict": "${oc.env:RAYPOSE_TEST_SECRET}"})
    with pytest.raises(ModelError, match="no weights"):
        read_checkpoint(save(tmp_path / "b.ckpt", weights))


_W = {"w": torch.zeros(2)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": _W, "hyper_parameters": [1]}, "hyper_parameters are a list"),
        ({"state_dict": _W, "hyper_parameters": 5}, "hyper_parameters are a int"),
        (
            {"state_dict": _W, "hyper_parameters": {"num_keypoints": "many"}},
            "hyper_parameters.num_keypoints is 'many', and must be 1 to 10000",
        ),
        ({"state_dict": _W, "hyper_parameters": {"backbone": 5}}, "backbone is 5, and must be"),
        ({"state_dict": _W, "hyper_parameters": {"num_views": True}}, "num_views is True"),
        ({"state_dict": _W, "hyper_parameters": {"downsample_factor": 99}}, "must be 1 to 3"),
        ({"state_dict": {5: torch.zeros(1)}}, "called 5, which is no name"),
        ({5: torch.zeros(1)}, "called 5, which is no name"),
        ({"state_dict": {**_W, "v": "text"}}, "weight v is no tensor"),
        ({"state_dict": {"w": torch.zeros(1).expand(10**12)}}, "w repeats fewer values"),
        ({"state_dict": {"w": torch.zeros(3, device="meta")}}, "w is no dense tensor"),
        ({"state_dict": []}, "no weights"),
        (torch.zeros(3), "no weights"),
    ],
)
def test_contents_that_are_no_model(tmp_path: Path, content: Any, message: str) -> None:
    path = save(tmp_path / "a.ckpt", content)
    with pytest.raises(ModelError, match=message) as caught:
        read_checkpoint(path)
    assert str(caught.value).startswith(f"{path}: the checkpoint")
    assert caught.value.hint


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_named(value: float) -> None:
    module = nn.Sequential(OrderedDict(a=nn.Linear(2, 3), n=nn.BatchNorm1d(3)))
    good = module.state_dict()
    for name in ("a.bias", "n.running_var"):
        broken = {key: tensor.clone() for key, tensor in good.items()}
        broken[name].view(-1)[1] = value
        with pytest.raises(ModelError, match=rf"1 of its weights hold.*\({name}\)") as caught:
            load_weights(module, broken, "x.ckpt")
        assert str(caught.value).startswith("x.ckpt: ")


def test_a_pipe_is_no_checkpoint(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.ckpt")
    with pytest.raises(ModelError, match="a named pipe, not a file"):
        read_checkpoint(tmp_path / "a.ckpt")


def test_code_is_not_run_unless_asked_for(tmp_path: Path) -> None:
    target = tmp_path / "touched"
    content = {"state_dict": {"w": torch.zeros(1)}, "hyper_parameters": {"x": Payload(target)}}
    path = save(tmp_path / "evil.ckpt", content)
    with pytest.raises(UnsafeCheckpointError, match="would run code") as caught:
        read_checkpoint(path)
    assert "--allow-unsafe-checkpoint" in caught.value.hint
    assert not target.exists()
    read_checkpoint(path, allow_unsafe=True)
    assert target.exists()


def test_damaged_files(tmp_path: Path, make_spec: Callable[..., ModelSpec]) -> None:
    whole = Path(make_spec().checkpoint).read_bytes()
    cut = tmp_path / "cut.ckpt"
    for content in (whole[: len(whole) // 2], b"", b"not a checkpoint at all"):
        cut.write_bytes(content)
        with pytest.raises(ModelError) as caught:
            read_checkpoint(cut)
        assert not isinstance(caught.value, UnsafeCheckpointError)
    with pytest.raises(ModelError, match="can't be read"):
        read_checkpoint(tmp_path / "nowhere.ckpt")
    with pytest.raises(ModelError, match="no weights"):
        read_checkpoint(save(tmp_path / "empty.ckpt", {"epoch": 3}))
    with pytest.raises(ModelError, match="no weights"):
        read_checkpoint(save(tmp_path / "list.ckpt", [1, 2]))


def test_bytes_that_are_not_those_of_the_plan(make_spec: Callable[..., ModelSpec]) -> None:
    spec = make_spec()
    path = Path(spec.checkpoint)
    assert remembered_digest(path) == spec.checkpoint_digest
    assert read_checkpoint(path, digest=spec.checkpoint_digest).weights
    content = path.read_bytes()
    path.write_bytes(content + b"\0")  # torch does not mind
    assert read_checkpoint(path).weights
    with pytest.raises(ModelChangedError, match="changed after the run was planned") as caught:
        read_checkpoint(path, digest=spec.checkpoint_digest)
    assert caught.value.path == spec.checkpoint
    assert "Run the same command again" in caught.value.hint


def test_old_names(tmp_path: Path) -> None:
    weights = {
        "backbone.0.weight": torch.zeros(1),
        "upsampling_layers.1.weight": torch.ones(2),
        "loss_factory.pca.log_weight": torch.zeros(1),
    }
    path = save(tmp_path / "old.ckpt", {"state_dict": weights})
    assert set(read_checkpoint(path).weights) == {
        "backbone.0.weight",
        "head.upsampling_layers.1.weight",
    }
    context = read_checkpoint(path, model_type="heatmap_mhcrnn").weights
    assert "head.head_sf.upsampling_layers.1.weight" in context


def test_every_weight_is_checked() -> None:
    module = nn.Sequential(OrderedDict(a=nn.Linear(2, 3), b=nn.Linear(3, 1)))
    good = module.state_dict()
    load_weights(module, good, "x.ckpt")
    without = {name: value for name, value in good.items() if name != "b.bias"}
    with pytest.raises(ModelError, match=r"1 weights are missing \(b\.bias\)"):
        load_weights(module, without, "x.ckpt")
    with pytest.raises(ModelError, match=r"no place in the network \(c\.weight\)"):
        load_weights(module, {**good, "c.weight": torch.zeros(1)}, "x.ckpt")
    with pytest.raises(ModelError, match=r"b\.weight is \(1, 4\) instead of \(1, 3\)"):
        load_weights(module, {**good, "b.weight": torch.zeros(1, 4)}, "x.ckpt")


@pytest.mark.parametrize(
    ("name", "most"), [("num_keypoints", MAX_KEYPOINTS), ("num_views", MAX_VIEWS)]
)
def test_the_most_keypoints_and_views(tmp_path: Path, name: str, most: int) -> None:
    content = {"state_dict": _W, "hyper_parameters": {name: most}}
    assert read_checkpoint(save(tmp_path / "a.ckpt", content)).hyperparameters == {name: most}
    content["hyper_parameters"] = {name: most + 1}
    with pytest.raises(ModelError, match=f"{name} is {most + 1}, and must be 1 to {most}"):
        read_checkpoint(save(tmp_path / "b.ckpt", content))
