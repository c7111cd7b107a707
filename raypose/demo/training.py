"""Training of the demo's ensemble: Lightning Pose's own heatmap tracker, from random weights.

It makes model directories as Lightning Pose does. Network, loss and target heatmaps are Lightning
Pose's; the loop is a simple one that takes a minute on two cores. It always trains on the CPU, for
the same result everywhere, and so that the process that starts the run holds no GPU. Lightning
Pose takes about 20 s to import, so it is only imported if a member must be trained.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from raypose.demo import figure
from raypose.demo.project import LABELS_PROVENANCE, METHOD, Project
from raypose.inference import passive_threads
from raypose.storage import commits, digests, records

if TYPE_CHECKING:
    import torch

SEEDS = (0, 1)
"""Seeds of the members' initial weights and order of frames."""

_MAX_THREADS = 8
# Side of the network's input, in pixels, and frames per step: those of the config.
_SIZE, _BATCH = 128, 12
# Frames are scaled by this fraction and shifted by as many pixels at most.
_MAX_SCALE, _MAX_SHIFT = 0.1, 10.0
# What Lightning Pose keeps with a model, apart from what depends on directory and seed.
_CONFIG = """
data: {image_resize_dims: {height: 128, width: 128}, downsample_factor: 2, num_keypoints: 7,
       columns_for_singleview_pca: [0, 1, 2, 3, 4, 5, 6], mirrored_column_matches: []}
training: {imgaug: default, train_batch_size: 12, val_batch_size: 12, test_batch_size: 12,
           train_prob: 0.95, val_prob: 0.05, train_frames: 1, num_gpus: 1, num_workers: 0,
           unfreezing_epoch: 0, min_epochs: 1, check_val_every_n_epoch: 5, log_every_n_steps: 1,
           optimizer: Adam, optimizer_params: {learning_rate: 0.002}, lr_scheduler: multisteplr}
model: {losses_to_use: [], backbone: resnet18, backbone_pretrained: false, model_type: heatmap,
        heatmap_loss_type: kl, model_name: mouse}
dali:
  base: {train: {sequence_length: 16}, predict: {sequence_length: 64}}
  context: {train: {batch_size: 16}, predict: {sequence_length: 64}}
losses:
  pca_multiview: {log_weight: 5.0, components_to_keep: 3, epsilon: null}
  pca_singleview: {log_weight: 5.0, components_to_keep: 0.99, epsilon: null}
  temporal: {log_weight: 5.0, epsilon: 20.0, prob_threshold: 0.05}
callbacks:
  anneal_weight: {attr_name: total_unsupervised_importance, init_val: 0.0, increase_factor: 0.01,
                  final_val: 1.0, freeze_until_epoch: 0}
eval: {predict_vids_after_training: false, save_vids_after_training: false,
       test_videos_directory: "${data.video_dir}", confidence_thresh_for_vid: 0.9}
"""


def train_member(
    project: Project,
    seed: int,
    *,
    on_progress: Callable[[float], None],
    n_steps: int = 130,
) -> bool:
    """Train one member and write its directory, unless it exists.

    `on_progress` is called with the finished fraction, 0 before anything is loaded.

    Returns:
        False if the member was already trained on these labels with these settings.
    """
    directory = project.model(seed)
    config = _config(project, seed, n_steps)
    config_path = directory / "config.yaml"
    config_provenance = {"kind": "demo config", "method": METHOD, "config": config}
    if not records.check(config_path, config_provenance).done:
        with commits.committing(config_path, config_provenance) as temporary:
            temporary.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    # Named as Lightning names the best checkpoint after these steps.
    folder = directory / "tb_logs" / config["model"]["model_name"] / "version_0" / "checkpoints"
    checkpoint = folder / f"epoch=0-step={n_steps}-best.ckpt"
    provenance = {
        "kind": "demo model",
        "method": METHOD,
        "labels": digests.digest_of_json(LABELS_PROVENANCE),
        "model": config["model"],
        "training": config["training"],
    }
    if records.check(checkpoint, provenance).done:
        return False
    on_progress(0.0)
    with warnings.catch_warnings(), passive_threads():
        warnings.simplefilter("ignore")
        # Importing Lightning sets the level of its logger, so it comes first.
        import lightning.pytorch  # noqa: F401

        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        images, keypoints = _load_labels(project)
        model = _new_model(config)
        _fit(model, images, keypoints, config, on_progress)
        with commits.committing(checkpoint, provenance) as temporary:
            _save(model, temporary)
    return True


def _config(project: Project, seed: int, n_steps: int) -> dict[str, Any]:
    """The config that Lightning Pose keeps with a model."""
    config: dict[str, Any] = yaml.safe_load(_CONFIG)
    config["data"] |= {
        "data_dir": str(project.directory),
        "video_dir": str(project.video_dir),
        "csv_file": project.labels.name,
        "keypoint_names": list(figure.KEYPOINTS),
    }
    config["training"] |= {
        "max_epochs": n_steps,
        "rng_seed_data_pt": seed,
        "rng_seed_model_pt": seed,
        "lr_scheduler_params": {"multisteplr": {"milestones": [n_steps], "gamma": 0.5}},
    }
    return config


def _load_labels(project: Project) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (n, 3, height, width) as Lightning Pose normalises them, and their keypoints
    (n, n_keypoints, 2) in pixels."""
    import cv2
    import pandas as pd
    import torch

    from raypose.inference.preprocess import MEAN, STD

    labels = pd.read_csv(project.labels, header=[0, 1, 2], index_col=0)
    pictures = [np.asarray(cv2.imread(str(project.directory / name))) for name in labels.index]
    images = torch.from_numpy(np.stack(pictures)[..., ::-1].copy()).permute(0, 3, 1, 2).float()
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    keypoints = torch.tensor(labels.to_numpy(np.float32)).reshape(len(labels), -1, 2)
    return (images / 255 - mean) / std, keypoints


def _new_model(config: dict[str, Any]) -> Any:
    """Lightning Pose's tracker with random weights; nothing is downloaded."""
    import torch
    from lightning_pose.losses.factory import LossFactory
    from lightning_pose.models import HeatmapTracker
    from omegaconf import OmegaConf

    data, training = config["data"], config["training"]
    model = HeatmapTracker(
        num_keypoints=data["num_keypoints"],
        loss_factory=LossFactory({"heatmap_kl": {"log_weight": 0.0}}, None),
        backbone=config["model"]["backbone"],
        downsample_factor=data["downsample_factor"],
        pretrained=False,
        torch_seed=training["rng_seed_model_pt"],
        optimizer_params=OmegaConf.create(training["optimizer_params"]),
        lr_scheduler_params=OmegaConf.create(training["lr_scheduler_params"]["multisteplr"]),
        image_size=_SIZE,
    )
    # Lightning Pose starts the head close to zero, to protect a pretrained backbone. A random
    # backbone would then hardly get a gradient: after 100 steps the error is 50 px instead of 5.
    for layer in model.head.upsampling_layers:
        if isinstance(layer, torch.nn.ConvTranspose2d):
            torch.nn.init.xavier_uniform_(layer.weight, gain=1.0)
    return model.to(memory_format=torch.channels_last)


def _fit(
    model: Any,
    images: torch.Tensor,
    keypoints: torch.Tensor,
    config: dict[str, Any],
    on_progress: Callable[[float], None],
) -> None:
    import torch
    from lightning_pose.data.heatmaps import generate_heatmaps

    training = config["training"]
    n_steps, rate = training["max_epochs"], training["optimizer_params"]["learning_rate"]
    generator = torch.Generator().manual_seed(training["rng_seed_data_pt"])
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=n_steps, pct_start=0.15
    )
    side = _SIZE >> config["data"]["downsample_factor"]
    n_threads = torch.get_num_threads()
    torch.set_num_threads(min(n_threads, _MAX_THREADS))
    model.train()
    try:
        for step in range(n_steps):
            chosen = torch.randint(len(images), (_BATCH,), generator=generator)
            inputs, points = _augmented(images[chosen], keypoints[chosen], generator)
            loss, _ = model.loss_factory(
                heatmaps_targ=generate_heatmaps(points, _SIZE, _SIZE, (side, side)),
                heatmaps_pred=model(inputs.contiguous(memory_format=torch.channels_last)),
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            on_progress((step + 1) / n_steps)
    finally:
        torch.set_num_threads(n_threads)
    model.eval()


def _augmented(
    images: torch.Tensor, points: torch.Tensor, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames turned by any angle, scaled and shifted a little, and resized to the network's input;
    and their points (n, n_keypoints, 2), in pixels of the frame before and of the input after."""
    import torch

    n = len(images)
    draws = 2 * torch.rand((n, 4), generator=generator) - 1
    angle = draws[:, 0] * torch.pi
    scale = 1 + _MAX_SCALE * draws[:, 1]
    shift = _MAX_SHIFT * draws[:, 2:]
    cos, sin = scale * angle.cos(), scale * angle.sin()
    forward = torch.stack([cos, -sin, sin, cos], dim=-1).reshape(n, 2, 2)
    # Maps points of the new picture to the old one, in torch's coordinates of -1 to 1.
    backward = torch.linalg.inv(forward)
    origin = -backward @ shift[..., None] / (figure.SIZE / 2)
    theta = torch.cat([backward, origin], dim=-1)
    grid = torch.nn.functional.affine_grid(theta, [n, 3, _SIZE, _SIZE], align_corners=False)
    turned = torch.nn.functional.grid_sample(
        images, grid, padding_mode="reflection", align_corners=False
    )
    middle = (figure.SIZE - 1) / 2
    moved = (points - middle) @ forward.transpose(1, 2) + middle + shift[:, None]
    # Lightning Pose's own scaling, without half a pixel: prediction undoes exactly this.
    return turned, moved * (_SIZE / figure.SIZE)


def _save(model: Any, path: Path) -> None:
    """A checkpoint as Lightning saves it, without the optimizer's state."""
    from lightning.pytorch import Trainer
    from lightning.pytorch.plugins.environments import LightningEnvironment

    quiet = ("logger", "enable_checkpointing", "enable_model_summary", "enable_progress_bar")
    # On a node of SLURM it would look for tasks of SLURM, and warn or fail.
    plugins = LightningEnvironment()
    trainer = Trainer(accelerator="cpu", plugins=plugins, **dict.fromkeys(quiet, False))
    trainer.strategy.connect(model)
    trainer.save_checkpoint(path, weights_only=True)
