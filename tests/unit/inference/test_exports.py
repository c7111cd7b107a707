"""Which exports of Lightning Pose there are, what is wrong with them, and how they travel."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
import torch

from raypose.errors import ModelChangedError, ModelError
from raypose.execution.artifacts import ArtifactBuilder
from raypose.inference.artifact import cached_artifact, is_cached
from raypose.inference.exports import is_outdated
from raypose.inference.predictor import Predictor
from raypose.inputs.models import open_model
from tests.models import make_model
from tests.predictions import predict_frames
from tests.stores import Store
from tests.unit.inference.conftest import put_engine, smooth_frames


class TestFinding:
    def test_none_is_needed_for_torch(self, exported: Path) -> None:
        assert open_model(exported).exported is None

    def test_the_weights_beside_the_onnx_file_belong_to_it(self, exported: Path) -> None:
        export = open_model(exported, runtime="onnx").exported
        assert export is not None and export.precision == "fp32"
        names = [Path(file).name for file in export.files]
        assert names[0] == "epoch=9-step=100-best_fp32.onnx"
        assert set(names[1:]) <= {f"{names[0]}.data"}

    def test_another_export_is_another_model(self, model: Path) -> None:
        put_engine(model, {})
        specs = [
            open_model(model),
            open_model(model, runtime="onnx"),
            open_model(model, runtime="onnx", precision="fp16"),
            open_model(model, runtime="tensorrt"),
        ]
        assert len({spec.fingerprint for spec in specs}) == 4
        (onnx,) = (model / "exports_onnx").glob("*_fp32.onnx")
        onnx.write_bytes(onnx.read_bytes() + b"\n")
        assert open_model(model, runtime="onnx").fingerprint != specs[1].fingerprint
        assert open_model(model).fingerprint == specs[0].fingerprint

    def test_no_export(self, model: Path) -> None:
        shutil.rmtree(model / "exports_onnx")
        with pytest.raises(ModelError) as caught:
            open_model(model, runtime="onnx")
        assert "no ONNX export of this model's checkpoint in fp32" in str(caught.value)
        assert "exports_onnx/epoch=9-step=100-best_fp32.onnx" in str(caught.value)
        command = f"litpose export '{model}' --runtime onnx --onnx-precision fp32"
        assert command in caught.value.hint and caught.value.path == str(model)

    def test_exports_of_another_checkpoint_do_not_count(self, model: Path) -> None:
        (checkpoint,) = model.rglob("*.ckpt")
        checkpoint.rename(checkpoint.with_name("epoch=19-step=200-best.ckpt"))
        with pytest.raises(ModelError, match=r"epoch=19-step=200-best_fp32\.onnx"):
            open_model(model, runtime="onnx")

    def test_half_precision_is_not_taken_unasked(self, model: Path) -> None:
        for file in (model / "exports_onnx").glob("*_fp32*"):
            file.unlink()
        with pytest.raises(ModelError, match="use it with --precision fp16"):
            open_model(model, runtime="onnx")
        assert open_model(model, runtime="onnx", precision="fp16").exported is not None

    def test_context_models_have_no_export_to_use(self, tmp_path: Path) -> None:
        directory = make_model(tmp_path / "m", model_type="heatmap_mhcrnn")
        with pytest.raises(ModelError, match="a single window") as caught:
            open_model(directory, runtime="onnx")
        assert "--runtime torch" in caught.value.hint

    def test_no_tensorrt_export(self, model: Path) -> None:
        with pytest.raises(ModelError, match="no TensorRT export") as caught:
            open_model(model, runtime="tensorrt")
        assert "--runtime onnx --onnx-precision fp32, then" in caught.value.hint
        assert "--runtime tensorrt --onnx-precision fp32" in caught.value.hint
        put_engine(model)
        with pytest.raises(ModelError, match=r"not complete.*trt_metadata.json"):
            open_model(model, runtime="tensorrt")

    def test_an_export_older_than_the_checkpoint(self, model: Path) -> None:
        spec = open_model(model, runtime="onnx")
        assert not is_outdated(spec) and not is_outdated(open_model(model))
        assert spec.exported is not None
        os.utime(spec.exported.path, (1, 1))
        assert is_outdated(spec)

    def test_a_model_in_a_store(self, store: Store, exported: Path) -> None:
        here = open_model(exported, runtime="onnx")
        there = open_model(store.put_folder("m", exported), runtime="onnx")
        assert there.fingerprint == here.fingerprint and there.exported is not None
        assert there.exported.path.startswith("s3://lab/m/exports_onnx/")
        frames = smooth_frames(3, 100, 120)
        (got, expected) = (predict_frames(Predictor(spec), frames) for spec in (there, here))
        assert torch.equal(got, expected)
        with pytest.raises(ModelError, match="no TensorRT export"):
            open_model("s3://lab/m", runtime="tensorrt")
        assert not is_outdated(there)


class TestCarrying:
    def test_nothing_is_built(self, exported: Path) -> None:
        spec = open_model(exported, runtime="onnx")
        assert is_cached(spec)
        with ArtifactBuilder([spec], allow_unsafe=False) as builder:
            ((of, packed),) = builder.artifacts(lambda what: None)
        assert of == spec and packed == cached_artifact(spec)

    def test_files_that_changed_since_the_plan(self, model: Path) -> None:
        spec = open_model(model, runtime="onnx")
        assert spec.exported is not None
        with open(spec.exported.files[-1], "ab") as file:
            file.write(b"\n")
        with pytest.raises(ModelChangedError, match="changed after the run was planned"):
            cached_artifact(spec)
        os.unlink(spec.exported.files[-1])
        with pytest.raises(ModelError, match="can't be read"):
            cached_artifact(spec)

    @pytest.mark.parametrize(
        ("runtime", "package"),
        [("onnx", "onnxruntime"), ("tensorrt", "onnxruntime"), ("tensorrt", "tensorrt")],
    )
    def test_a_package_that_is_missing(
        self, model: Path, monkeypatch: pytest.MonkeyPatch, runtime: str, package: str
    ) -> None:
        put_engine(model, {})
        spec = open_model(model, runtime=runtime)
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(ModelError, match=f"needs the package {package}") as caught:
            cached_artifact(spec)
        assert f"uv sync --extra {runtime} in" in caught.value.hint
