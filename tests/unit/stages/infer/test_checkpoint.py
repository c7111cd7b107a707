"""Checkpoints: what is read, what is refused, and what is said of damaged ones."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from raypose.digests import remembered_digest
from raypose.errors import ModelChangedError, ModelError, UnsafeCheckpointError
from raypose.stages.infer.checkpoint import load_weights, read_checkpoint
from raypose.tasks import ModelSpec


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
    assert checkpoint.hyperparameters["lr"].gamma == 0.5


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
