"""Training of the demo's ensemble: Lightning Pose's own heatmap tracker, from random weights.

It makes model directories as Lightning Pose does; `litpose predict` takes them too. Network, loss
and target heatmaps are Lightning Pose's. The loop is a simple one that takes a minute on two cores
and stops at once on Ctrl-C. It always trains on the CPU, for the same result everywhere, and so
that the process that starts the run holds no GPU. Lightning Pose takes about 20 s to import, so it
is only imported if a member must be trained.
"""

from __future__ import annotations

import csv
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
# What Lightning Pose keeps with a model, apart from the settings of this training.
_CONFIG = """
data: {image_resize_dims: , data_dir: , video_dir: , csv_file: , downsample_factor: ,
       num_keypoints: , keypoint_names: , mirrored_column_matches: []}
training: {imgaug: default, train_batch_size: , val_batch_size: , test_batch_size: ,
           train_prob: 0.95, val_prob: 0.05, train_frames: 1, num_gpus: 1, num_workers: 0,
           unfreezing_epoch: 0, min_epochs: 1, max_epochs: , check_val_every_n_epoch: 5,
           log_every_n_steps: 1, rng_seed_data_pt: , rng_seed_model_pt: , optimizer: Adam,
           optimizer_params: , lr_scheduler: multisteplr}
model: {losses_to_use: [], backbone: , backbone_pretrained: false, model_type: heatmap,
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


@dataclass(frozen=True, slots=True)
class Training:
    """Settings of the training; the config of the models repeats them.

    Attributes:
        input_size: side of the network's input, in pixels.
        learning_rate: the peak of the schedule.
        max_scale: fraction by which frames are enlarged or shrunk at most.
        max_shift: pixels by which frames are shifted at most.
    """

    input_size: int = 128
    batch_size: int = 12
    n_steps: int = 130
    learning_rate: float = 2e-3
    max_scale: float = 0.1
    max_shift: float = 10.0
    backbone: str = "resnet18"
    downsample_factor: int = 2

    @property
    def checkpoint_name(self) -> str:
        """The name that Lightning gives the best checkpoint after these steps."""
        return f"epoch=0-step={self.n_steps}-best.ckpt"


def train_member(
    project: Project,
    seed: int,
    *,
    overwrite: bool,
    on_progress: Callable[[float], None],
    training: Training | None = None,
) -> bool:
    """Train one member and write its directory, unless it exists.

    `on_progress` is called with the finished fraction, 0 before anything is loaded.

    Returns:
        False if the member was already trained on these labels with these settings.
    """
    training = training or Training()
    directory = project.model(seed)
    config = _config(project, seed, training)
    config_path = directory / "config.yaml"
    config_provenance = {"kind": "demo config", "method": METHOD, "config": config}
    if overwrite or not records.check(config_path, config_provenance).done:
        with commits.committing(config_path, config_provenance) as temporary:
            temporary.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    folder = directory / "tb_logs" / config["model"]["model_name"] / "version_0" / "checkpoints"
    checkpoint = folder / training.checkpoint_name
    provenance = {
        "kind": "demo model",
        "method": METHOD,
        "labels": digests.digest_of_json(LABELS_PROVENANCE),
        "model": config["model"],
        "training": config["training"],
    }
    if not overwrite and records.check(checkpoint, provenance).done:
        return False
    on_progress(0.0)
    with _quiet():
        images, keypoints = _load_labels(project)
        model = _new_model(seed, training)
        _fit(model, images, keypoints, seed, training, on_progress)
        with commits.committing(checkpoint, provenance) as temporary:
            _save(model, temporary)
    return True


def _config(project: Project, seed: int, training: Training) -> dict[str, Any]:
    """The config that Lightning Pose keeps with a model."""
    size, n_keypoints = training.input_size, len(figure.KEYPOINTS)
    config: dict[str, Any] = yaml.safe_load(_CONFIG)
    config["data"] |= {
        "image_resize_dims": {"height": size, "width": size},
        "data_dir": str(project.directory),
        "video_dir": str(project.video_dir),
        "csv_file": project.labels.name,
        "downsample_factor": training.downsample_factor,
        "num_keypoints": n_keypoints,
        "keypoint_names": list(figure.KEYPOINTS),
        "columns_for_singleview_pca": list(range(n_keypoints)),
        "skeleton": [list(bone) for bone in figure.SKELETON],
    }
    splits = ("train", "val", "test")
    milestones = {"milestones": [training.n_steps], "gamma": 0.5}
    config["training"] |= {
        **{f"{split}_batch_size": training.batch_size for split in splits},
        "max_epochs": training.n_steps,
        "rng_seed_data_pt": seed,
        "rng_seed_model_pt": seed,
        "optimizer_params": {"learning_rate": training.learning_rate},
        "lr_scheduler_params": {"multisteplr": milestones},
    }
    config["model"]["backbone"] = training.backbone
    return config


@contextmanager
def _quiet() -> Iterator[None]:
    """Hides warnings and messages of libraries, and lets torch's threads wait without spinning."""
    with warnings.catch_warnings(), passive_threads():
        warnings.simplefilter("ignore")
        # Importing Lightning sets the level of its logger, so it comes first.
        import lightning.pytorch  # noqa: F401

        logger = logging.getLogger("lightning.pytorch")
        level = logger.level
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)


def _load_labels(project: Project) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (n, 3, height, width) as Lightning Pose normalises them, and their keypoints
    (n, n_keypoints, 2) in pixels."""
    import cv2
    import torch

    from raypose.inference.preprocess import MEAN, STD

    with project.labels.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[3:]
    pictures = [np.asarray(cv2.imread(str(project.directory / row[0]))) for row in rows]
    images = torch.from_numpy(np.stack(pictures)[..., ::-1].copy()).permute(0, 3, 1, 2).float()
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    keypoints = torch.tensor([[float(value) for value in row[1:]] for row in rows])
    return (images / 255 - mean) / std, keypoints.reshape(len(rows), -1, 2)


def _new_model(seed: int, training: Training) -> Any:
    """Lightning Pose's tracker with random weights; nothing is downloaded."""
    import torch
    from lightning_pose.losses.factory import LossFactory
    from lightning_pose.models import HeatmapTracker
    from omegaconf import OmegaConf

    model = HeatmapTracker(
        num_keypoints=len(figure.KEYPOINTS),
        loss_factory=LossFactory({"heatmap_kl": {"log_weight": 0.0}}, None),
        backbone=training.backbone,
        downsample_factor=training.downsample_factor,
        pretrained=False,
        torch_seed=seed,
        optimizer_params=OmegaConf.create({"learning_rate": training.learning_rate}),
        lr_scheduler_params=OmegaConf.create({"milestones": [training.n_steps], "gamma": 0.5}),
        image_size=training.input_size,
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
    seed: int,
    training: Training,
    on_progress: Callable[[float], None],
) -> None:
    import torch
    from lightning_pose.data.heatmaps import generate_heatmaps

    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=training.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, training.learning_rate, total_steps=training.n_steps, pct_start=0.15
    )
    size = training.input_size
    side = size >> training.downsample_factor
    n_threads = torch.get_num_threads()
    torch.set_num_threads(min(n_threads, _MAX_THREADS))
    model.train()
    try:
        for step in range(training.n_steps):
            chosen = torch.randint(len(images), (training.batch_size,), generator=generator)
            inputs, points = _augmented(images[chosen], keypoints[chosen], generator, training)
            loss, _ = model.loss_factory(
                heatmaps_targ=generate_heatmaps(points, size, size, (side, side)),
                heatmaps_pred=model(inputs.contiguous(memory_format=torch.channels_last)),
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            on_progress((step + 1) / training.n_steps)
    finally:
        torch.set_num_threads(n_threads)
    model.eval()


def _augmented(
    images: torch.Tensor, points: torch.Tensor, generator: torch.Generator, training: Training
) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames turned by any angle, scaled and shifted a little, and resized to the network's input;
    and their points (n, n_keypoints, 2), in pixels of the frame before and of the input after."""
    import torch

    n, size = len(images), training.input_size
    draws = 2 * torch.rand((n, 4), generator=generator) - 1
    angle = draws[:, 0] * torch.pi
    scale = 1 + training.max_scale * draws[:, 1]
    shift = training.max_shift * draws[:, 2:]
    cos, sin = scale * angle.cos(), scale * angle.sin()
    forward = torch.stack([cos, -sin, sin, cos], dim=-1).reshape(n, 2, 2)
    # Maps points of the new picture to the old one, in torch's coordinates of -1 to 1.
    backward = torch.linalg.inv(forward)
    origin = -backward @ shift[..., None] / (figure.SIZE / 2)
    theta = torch.cat([backward, origin], dim=-1)
    grid = torch.nn.functional.affine_grid(theta, [n, 3, size, size], align_corners=False)
    turned = torch.nn.functional.grid_sample(
        images, grid, padding_mode="reflection", align_corners=False
    )
    middle = (figure.SIZE - 1) / 2
    moved = (points - middle) @ forward.transpose(1, 2) + middle + shift[:, None]
    # Lightning Pose's own scaling, without half a pixel: prediction undoes exactly this.
    return turned, moved * (size / figure.SIZE)


def _save(model: Any, path: Path) -> None:
    """A checkpoint as Lightning saves it, without the optimizer's state."""
    from lightning.pytorch import Trainer

    quiet = ("logger", "enable_checkpointing", "enable_model_summary", "enable_progress_bar")
    trainer = Trainer(accelerator="cpu", **dict.fromkeys(quiet, False))
    trainer.strategy.connect(model)
    trainer.save_checkpoint(path, weights_only=True)
