"""Small Lightning Pose model directories with random weights, for tests.

They are what Lightning Pose writes: `config.yaml` and a checkpoint saved by Lightning, of
Lightning Pose's own classes, so `litpose predict` accepts them too. Weights are seeded, and the
head is scaled so that heatmaps have one clear peak that depends on the image; what a model
predicts is meaningless but reproducible. Nothing is downloaded. The first call of a process
imports Lightning Pose (about 20 s); the same network is built once a process.
"""

from __future__ import annotations

import functools
import io
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

KEYPOINTS = ("nose", "paw", "tail")


def make_model(
    directory: Path,
    *,
    model_type: str = "heatmap",
    backbone: str = "resnet18",
    keypoint_names: Sequence[str] = KEYPOINTS,
    height: int = 64,
    width: int = 64,
    downsample_factor: int = 2,
    seed: int = 0,
    view_names: Sequence[str] = (),
    losses: Sequence[str] = (),
    data_dir: str | Path = "/nowhere/data",
    csv_file: str = "CollectedData.csv",
    confidence_threshold: float = 0.9,
    checkpoint_name: str = "epoch=9-step=100-best.ckpt",
    data: Mapping[str, Any] | None = None,
) -> Path:
    """Write a model directory and return it.

    Args:
        directory: where; parents are made.
        model_type: as in the config.
        backbone: as in the config; resnet18 is the quickest.
        keypoint_names: names, in order.
        height: rows of the network's input.
        width: columns of the network's input.
        downsample_factor: heatmaps are smaller than the input by two to this power.
        seed: of the random weights.
        view_names: camera views, for multi-view models.
        losses: unsupervised losses that the config names.
        data_dir: the training data's directory, as the config names it.
        csv_file: the labels' file in it.
        confidence_threshold: likelihood above which markers are drawn.
        checkpoint_name: file name of the checkpoint.
        data: further entries of the config's `data` section (`columns_for_singleview_pca`, …).
    """
    config = make_config(
        model_type=model_type,
        backbone=backbone,
        keypoint_names=keypoint_names,
        height=height,
        width=width,
        downsample_factor=downsample_factor,
        view_names=view_names,
        losses=losses,
        data_dir=data_dir,
        csv_file=csv_file,
        confidence_threshold=confidence_threshold,
        data=data,
    )
    folder = directory / "tb_logs" / "test_model" / "version_0" / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    (directory / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    (folder / checkpoint_name).write_bytes(
        checkpoint_bytes(
            model_type,
            backbone,
            len(keypoint_names),
            height,
            width,
            downsample_factor,
            seed,
            len(view_names),
        )
    )
    return directory


def make_config(
    *,
    model_type: str = "heatmap",
    backbone: str = "resnet18",
    keypoint_names: Sequence[str] = KEYPOINTS,
    height: int = 64,
    width: int = 64,
    downsample_factor: int = 2,
    view_names: Sequence[str] = (),
    losses: Sequence[str] = (),
    data_dir: str | Path = "/nowhere/data",
    csv_file: str = "CollectedData.csv",
    confidence_threshold: float = 0.9,
    data: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The config of such a model as plain containers, with an interpolation as real ones have."""
    data_section: dict[str, Any] = {
        "image_resize_dims": {"height": height, "width": width},
        "data_dir": str(data_dir),
        "video_dir": f"{data_dir}/videos",
        "csv_file": csv_file,
        "downsample_factor": downsample_factor,
        "num_keypoints": len(keypoint_names),
        "keypoint_names": list(keypoint_names),
        "mirrored_column_matches": [],
        "columns_for_singleview_pca": [],
    }
    if view_names:
        data_section["view_names"] = list(view_names)
    data_section.update(data or {})
    return {
        "data": data_section,
        "training": {
            "rng_seed_model_pt": 0,
            "train_batch_size": 4,
            "val_batch_size": 4,
            "test_batch_size": 4,
            "train_prob": 0.9,
            "val_prob": 0.1,
            "train_frames": 1,
            "num_gpus": 1,
            "num_workers": 0,
            "imgaug": "dlc",
            "min_epochs": 1,
            "max_epochs": 1,
            "rng_seed_data_pt": 0,
            "lr_scheduler_params": {"multisteplr": {"milestones": [1], "gamma": 0.5}},
        },
        "model": {
            "losses_to_use": list(losses),
            "backbone": backbone,
            "backbone_pretrained": False,
            "model_type": model_type,
            "heatmap_loss_type": "mse",
            "model_name": "test_model",
        },
        "dali": {
            "base": {"train": {"sequence_length": 8}, "predict": {"sequence_length": 16}},
            "context": {"train": {"batch_size": 8}, "predict": {"sequence_length": 16}},
        },
        "losses": {
            "pca_multiview": {"log_weight": 5.0, "components_to_keep": 3, "epsilon": None},
            "pca_singleview": {"log_weight": 5.0, "components_to_keep": 0.99, "epsilon": None},
            "temporal": {"log_weight": 5.0, "epsilon": 20.0, "prob_threshold": 0.05},
        },
        "eval": {
            "predict_vids_after_training": False,
            "save_vids_after_training": False,
            "test_videos_directory": "${data.video_dir}",
            "confidence_thresh_for_vid": confidence_threshold,
        },
    }


@functools.cache
def checkpoint_bytes(
    model_type: str,
    backbone: str,
    n_keypoints: int,
    height: int,
    width: int,
    downsample_factor: int,
    seed: int,
    n_views: int = 0,
) -> bytes:
    """A checkpoint as Lightning saves it, without the optimizer's state."""
    import torch
    from lightning.pytorch import Trainer
    from lightning.pytorch.plugins.environments import LightningEnvironment

    model = make_module(
        model_type, backbone, n_keypoints, height, width, downsample_factor, seed, n_views
    )
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_model_summary=False,
        enable_progress_bar=False,
        plugins=LightningEnvironment(),  # else it warns where SLURM's programs are installed
    )  # fmt: skip
    trainer.strategy.connect(model)
    checkpoint = trainer._checkpoint_connector.dump_checkpoint(weights_only=True)
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    return buffer.getvalue()


def make_module(
    model_type: str,
    backbone: str,
    n_keypoints: int,
    height: int,
    width: int,
    downsample_factor: int,
    seed: int,
    n_views: int = 0,
) -> Any:
    """Lightning Pose's module with seeded weights, in evaluation mode."""
    import torch
    from lightning_pose.models import get_model_class
    from omegaconf import OmegaConf

    from raypose.inference.network import offline_backbones

    arguments: dict[str, Any] = {
        "num_keypoints": n_keypoints,
        "backbone": backbone,
        "pretrained": False,
        "torch_seed": seed,
        "image_size": height,
        "lr_scheduler_params": OmegaConf.create({"milestones": [1], "gamma": 0.5}),
        "optimizer_params": OmegaConf.create({"learning_rate": 1e-3}),
    }
    if model_type != "regression":
        arguments["downsample_factor"] = downsample_factor
    if model_type == "heatmap_multiview_transformer":
        arguments["num_views"] = n_views
    with offline_backbones():
        model = get_model_class(model_type, semi_supervised=False)(**arguments).eval()
    with torch.no_grad():
        _calibrate(model, seed, height, width)
    return model


def _calibrate(model: Any, seed: int, height: int, width: int) -> None:
    """Make untrained weights answer to the image.

    Batch norms get the statistics of some smooth random images (without, deep backbones give
    the same features for every image), and the last layer of a heatmap head is scaled until its
    logits have a standard deviation of 4.
    """
    import torch

    torch.manual_seed(seed)
    images = torch.randn(8, 3, height, width) * 0.02
    coarse = torch.randn(8, 3, 4, 4)
    images += torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic")
    norms = [m for m in model.backbone.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    if norms:
        for norm in norms:
            norm.momentum = 1.0
        model.backbone.train()(images)
        for norm in norms:
            norm.momentum = 0.1
        model.eval()
    head = getattr(model.head, "head_sf", model.head)
    layers = getattr(head, "upsampling_layers", None)
    if layers is not None:
        features = model.backbone(images)
        logits = layers(features)
        layers[-1].weight.mul_(4.0 / logits.std().clamp_min(1e-9))


def export_onnx(directory: Path, precision: str = "fp32") -> Path:
    """Export a model with Lightning Pose, as `litpose export` does; returns the `.onnx` file."""
    import warnings

    from lightning_pose.api import Model

    from raypose.inference.network import offline_backbones

    with warnings.catch_warnings(), offline_backbones():
        warnings.simplefilter("ignore")  # of torch's exporter, and of unsafe unpickling
        return Path(Model.from_dir(directory).export("onnx", onnx_precision=precision))
