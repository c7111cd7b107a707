"""Networks built without what only training needs, against those built with everything."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from raypose.inference.artifact import build_artifact, load_network
from raypose.inference.network import example_images
from raypose.specs import ModelSpec

BUILD = """
import pathlib, pickle, sys
from raypose.inference.artifact import build_artifact
from raypose.inference.minimal_import import exclude_training

exclude_training()
request = pathlib.Path(sys.argv[1])
artifacts = [build_artifact(spec) for spec in pickle.loads(request.read_bytes())]
request.write_bytes(pickle.dumps((artifacts, sorted(sys.modules))))
"""


def build_minimal(specs: Sequence[ModelSpec], folder: Path) -> tuple[list[bytes], set[str]]:
    """The artifacts, and the modules that the process that built them had imported."""
    request = folder / "request"
    request.write_bytes(pickle.dumps(specs))
    done = subprocess.run([sys.executable, "-c", BUILD, request], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    artifacts, modules = pickle.loads(request.read_bytes())
    return artifacts, set(modules)


def assert_same(got: bytes, spec: ModelSpec) -> None:
    """Both artifacts are of the same kind, and give exactly the same."""
    expected = build_artifact(spec)
    assert (b'"torchscript"' in got[:400]) == (b'"torchscript"' in expected[:400])
    ours, theirs = load_network(got), load_network(expected)
    assert ours.architecture == theirs.architecture
    images = example_images(ours.architecture, 5, seed=0)
    with torch.inference_mode():
        assert torch.equal(ours.forward(images), theirs.forward(images))
        if ours.heads is not None and theirs.heads is not None:
            features = ours.forward(images)
            assert torch.equal(ours.heads(features), theirs.heads(features))


def test_convolutional_networks(make_spec: Callable[..., ModelSpec], tmp_path: Path) -> None:
    specs = [
        make_spec(),
        make_spec(backbone="efficientnet_b0", height=96, width=64),
        make_spec(model_type="regression", height=64, width=128),
        make_spec(model_type="heatmap_mhcrnn"),
    ]
    artifacts, modules = build_minimal(specs, tmp_path)
    # What took the time; a Lightning Pose that needs it elsewhere is a reason to look again.
    heavy = {"torch._dynamo", "lightning.fabric", "matplotlib", "pandas", "transformers"}
    assert not heavy & modules
    for artifact, spec in zip(artifacts, specs, strict=True):
        assert_same(artifact, spec)


@pytest.mark.long
def test_transformers(make_spec: Callable[..., ModelSpec], tmp_path: Path) -> None:
    specs = [make_spec(backbone=name) for name in ("vits_dino", "vits_dinov3", "vitt_sam2")]
    specs.append(
        make_spec(
            model_type="heatmap_multiview_transformer",
            backbone="vits_dino",
            view_names=("top", "side"),
        )
    )
    artifacts, _ = build_minimal(specs, tmp_path)
    for artifact, spec in zip(artifacts, specs, strict=True):
        assert_same(artifact, spec)
