"""Training of the demo's ensemble: Lightning Pose's own heatmap tracker, from random weights.

It makes model directories as Lightning Pose does. The network is Lightning Pose's; the loop is a
simple one that takes about a minute on two cores. It always trains on the CPU, for similar results
everywhere, and so that no process of the demo holds a GPU. Each member has a process of its own:
it imports Lightning Pose's layers alone while the frames are drawn (`inference.minimal_import`, in
4 s instead of 20), and builds the member's network artifact at the end, so that the run has
nothing to prepare.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import yaml

from raypose import import_path
from raypose.demo import figure
from raypose.demo.project import LABELS_PROVENANCE, METHOD, Project
from raypose.errors import RayposeError
from raypose.inference import PASSIVE_THREADS
from raypose.storage import commits, digests, records
from raypose.worker.budget import usable_cores

if TYPE_CHECKING:
    import torch

SEEDS = (0, 1)
"""Seeds of the members' initial weights and order of frames."""

N_STEPS = 70
_GO = b"labels are there\n"
_MAX_THREADS = 4
# Side of the network's input, in pixels, and frames per step: those of the config.
_SIZE, _BATCH = 128, 8
# Of the Gaussians that are the heatmaps to learn, in pixels of the heatmap: Lightning Pose's.
_SIGMA = 1.25
# What Lightning Pose keeps with a model, apart from what depends on directory and seed.
_CONFIG = """
data: {image_resize_dims: {height: 128, width: 128}, downsample_factor: 2, num_keypoints: 7,
       columns_for_singleview_pca: [0, 1, 2, 3, 4, 5, 6], mirrored_column_matches: []}
training: {imgaug: default, train_batch_size: 8, val_batch_size: 8, test_batch_size: 8,
           train_prob: 0.95, val_prob: 0.05, train_frames: 1, num_gpus: 1, num_workers: 0,
           unfreezing_epoch: 0, min_epochs: 1, check_val_every_n_epoch: 5, log_every_n_steps: 1,
           optimizer: Adam, optimizer_params: {learning_rate: 0.005}, lr_scheduler: multisteplr}
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


@contextlib.contextmanager
def starting_members(project: Project, *, n_steps: int = N_STEPS) -> Iterator[Training]:
    """Start a process for each member that is not yet trained with these labels and settings; the
    processes end with the block."""
    members = [_Member(project, seed, n_steps) for seed in SEEDS]
    # The same whether all are trained or one again: sums depend on it.
    n_threads = max(1, min(_MAX_THREADS, usable_cores() // len(SEEDS)))
    with contextlib.ExitStack() as stack:
        missing = [member for member in members if not member.is_trained()]
        yield Training([stack.enter_context(_started(m, n_threads)) for m in missing])


@dataclass(frozen=True, slots=True)
class _Member:
    """A member of the ensemble, and the files of its model directory."""

    project: Project
    seed: int
    n_steps: int

    @property
    def config(self) -> dict[str, Any]:
        """The config that Lightning Pose keeps with a model."""
        config: dict[str, Any] = yaml.safe_load(_CONFIG)
        config["data"] |= {
            "data_dir": str(self.project.directory),
            "video_dir": str(self.project.video_dir),
            "csv_file": self.project.labels.name,
            "keypoint_names": list(figure.KEYPOINTS),
        }
        config["training"] |= {
            "max_epochs": self.n_steps,
            "rng_seed_data_pt": self.seed,
            "rng_seed_model_pt": self.seed,
            "lr_scheduler_params": {"multisteplr": {"milestones": [self.n_steps], "gamma": 0.5}},
        }
        return config

    @property
    def directory(self) -> Path:
        return self.project.model(self.seed)

    @property
    def checkpoint(self) -> Path:
        """Named as Lightning names the best checkpoint after these steps."""
        name: str = self.config["model"]["model_name"]
        folder = self.directory / "tb_logs" / name / "version_0" / "checkpoints"
        return folder / f"epoch=0-step={self.n_steps}-best.ckpt"

    @property
    def provenance(self) -> dict[str, Any]:
        return {
            "kind": "demo model",
            "method": METHOD,
            "labels": digests.digest_of_json(LABELS_PROVENANCE),
            "model": self.config["model"],
            "training": self.config["training"],
        }

    def is_trained(self) -> bool:
        return records.check(self.checkpoint, self.provenance).done

    def write_config(self) -> None:
        path = self.directory / "config.yaml"
        provenance = {"kind": "demo config", "method": METHOD, "config": self.config}
        if not records.check(path, provenance).done:
            with commits.committing(path, provenance) as temporary:
                temporary.write_text(
                    yaml.safe_dump(self.config, sort_keys=False), encoding="utf-8"
                )


@dataclass(slots=True)
class _Run:
    """The process that trains a member. It waits for `_GO`, and writes the finished fraction to
    its output, a line for each step."""

    member: _Member
    process: subprocess.Popen[bytes]
    errors: BinaryIO
    done: float = 0.0


@contextlib.contextmanager
def _started(member: _Member, n_threads: int) -> Iterator[_Run]:
    arguments = [str(member.project.directory), member.seed, member.n_steps, n_threads]
    command = import_path.command(__name__, json.dumps(arguments))
    environment = dict([PASSIVE_THREADS]) | os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    pipe = subprocess.PIPE
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=errors, env=environment
        ) as process,
    ):
        try:
            yield _Run(member, process, errors)
        finally:
            process.kill()
            process.wait()  # for as long as it takes: after Ctrl-C the block itself hardly waits


@dataclass(frozen=True, slots=True)
class Training:
    """The members that are trained now."""

    runs: list[_Run]

    def finish(self, on_progress: Callable[[float], None]) -> None:
        """Train the members on the labelled frames, which must exist, and write their directories.

        `on_progress` is called with the mean of what they have done, between 0 and 1.

        Raises:
            RayposeError: a member could not be trained.
        """
        import selectors

        if self.runs:
            on_progress(0.0)
        with selectors.DefaultSelector() as selector:
            for run in self.runs:
                assert run.process.stdin is not None and run.process.stdout is not None
                with contextlib.suppress(BrokenPipeError):  # told below, with what it said
                    run.process.stdin.write(_GO)
                    run.process.stdin.close()
                selector.register(run.process.stdout, selectors.EVENT_READ, run)
            while selector.get_map():
                for key, _ in selector.select():
                    run = key.data
                    line = run.process.stdout.readline()
                    if line:
                        run.done = float(line)
                        on_progress(sum(run.done for run in self.runs) / len(self.runs))
                        continue
                    selector.unregister(key.fileobj)
                    if run.process.wait():
                        raise _failure(run)


def _failure(run: _Run) -> RayposeError:
    run.errors.seek(0)
    said = run.errors.read().decode(errors="replace").strip().splitlines()
    return RayposeError(
        f"this model could not be trained ({said[-1] if said else 'its process died'})",
        path=run.member.directory,
        hint="raypose doctor checks this machine; if memory is short, close other programs.",
    )


def _train(member: _Member, n_threads: int, on_progress: Callable[[float], None]) -> None:
    """Train a member in this process, and write its directory."""
    import torch

    from raypose.inference.artifact import cached_artifact
    from raypose.inference.network import Architecture, HeatmapNetwork, new_tracker
    from raypose.inputs.models import open_model

    torch.set_num_threads(n_threads)
    data = member.config["data"]
    architecture = Architecture(
        "heatmap",
        member.config["model"]["backbone"],
        n_keypoints=data["num_keypoints"],
        n_views=1,
        downsample_factor=data["downsample_factor"],
        image_height=_SIZE,
        image_width=_SIZE,
    )
    tracker: Any = new_tracker(architecture)
    _draw_weights(tracker, member.seed)
    network = HeatmapNetwork(tracker).to(memory_format=torch.channels_last)
    if sys.stdin.buffer.readline() != _GO:
        return  # the demo has ended
    images, keypoints = _load_labels(member.project)
    _fit(network, images, keypoints, member, on_progress)
    member.write_config()
    with commits.committing(member.checkpoint, member.provenance) as temporary:
        torch.save(_as_checkpoint(tracker, member), temporary)
    cached_artifact(open_model(member.directory))


def _draw_weights(tracker: Any, seed: int) -> None:
    """Give a tracker the random weights of a seed; Lightning Pose's are always the same.

    Lightning Pose starts the head close to zero, to protect a pretrained backbone. A random
    backbone would then hardly get a gradient: after 100 steps the error is 50 px instead of 5.
    """
    import torch
    from torch import nn

    generator = torch.Generator().manual_seed(seed)
    for layer in tracker.backbone.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(
                layer.weight, mode="fan_out", nonlinearity="relu", generator=generator
            )
    for layer in tracker.head.upsampling_layers:
        if isinstance(layer, nn.ConvTranspose2d):
            nn.init.xavier_uniform_(layer.weight, gain=1.0, generator=generator)


def _load_labels(project: Project) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (n, 3, _SIZE, _SIZE) as Lightning Pose normalises them, and their keypoints
    (n, n_keypoints, 2) in pixels of these."""
    import cv2
    import pandas as pd
    import torch

    from raypose.inference.preprocess import MEAN, STD

    labels = pd.read_csv(project.labels, header=[0, 1, 2], index_col=0)
    pictures = [np.asarray(cv2.imread(str(project.directory / name))) for name in labels.index]
    small = [cv2.resize(picture, (_SIZE, _SIZE))[..., ::-1] for picture in pictures]
    images = torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).float()
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    keypoints = torch.tensor(labels.to_numpy(np.float32)).reshape(len(labels), -1, 2)
    # Lightning Pose's own scaling, without half a pixel: prediction undoes exactly this.
    return (images / 255 - mean) / std, keypoints * (_SIZE / figure.SIZE)


def _fit(
    network: torch.nn.Module,
    images: torch.Tensor,
    keypoints: torch.Tensor,
    member: _Member,
    on_progress: Callable[[float], None],
) -> None:
    """A few passes over the frames: too few for overfitting, and without augmentation the network
    converges sooner."""
    import torch

    rate = member.config["training"]["optimizer_params"]["learning_rate"]
    generator = torch.Generator().manual_seed(member.seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=rate, betas=(0.9, 0.98), fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=member.n_steps, pct_start=0.15
    )
    side = _SIZE >> member.config["data"]["downsample_factor"]
    wanted = _heatmaps(keypoints * (side / _SIZE), side)
    network.train()
    for step in range(member.n_steps):
        chosen = torch.randint(len(images), (_BATCH,), generator=generator)
        inputs = images[chosen].contiguous(memory_format=torch.channels_last)
        # The Kullback-Leibler divergence, up to a constant.
        loss = -(wanted[chosen] * (network(inputs) + 1e-9).log()).sum((2, 3)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        on_progress((step + 1) / member.n_steps)
    network.eval()


def _heatmaps(points: torch.Tensor, side: int) -> torch.Tensor:
    """Gaussians (n, n_keypoints, side, side) with sum 1 around points (n, n_keypoints, 2)."""
    import torch

    along = torch.arange(side)
    x, y = (torch.exp(-((along - points[..., [i]]) ** 2) / (2 * _SIGMA**2)) for i in (0, 1))
    maps = y[..., :, None] * x[..., None, :]
    return maps / maps.sum((2, 3), keepdim=True)


def _as_checkpoint(tracker: Any, member: _Member) -> dict[str, Any]:
    """As Lightning saves one, without the optimizer's state."""
    from importlib.metadata import version

    data, training = member.config["data"], member.config["training"]
    return {
        "epoch": 0,
        "global_step": member.n_steps,
        "pytorch-lightning_version": version("lightning"),
        "state_dict": tracker.state_dict(),
        "hparams_name": "kwargs",
        "hyper_parameters": {
            "num_keypoints": data["num_keypoints"],
            "num_targets": 2 * data["num_keypoints"],
            "backbone": member.config["model"]["backbone"],
            "downsample_factor": data["downsample_factor"],
            "pretrained": False,
            "torch_seed": member.seed,
            "optimizer": training["optimizer"],
            "optimizer_params": training["optimizer_params"],
            "lr_scheduler": training["lr_scheduler"],
            "lr_scheduler_params": training["lr_scheduler_params"]["multisteplr"],
            "image_size": _SIZE,
        },
    }


def _main(arguments: str) -> None:
    """What the process of a member does."""
    from raypose.inference.minimal_import import exclude_training

    directory, seed, n_steps, n_threads = json.loads(arguments)
    exclude_training()
    member = _Member(Project(Path(directory)), seed, n_steps)
    # What libraries print must not get among the fractions.
    with os.fdopen(os.dup(1), "w") as fractions:
        os.dup2(2, 1)
        _train(member, n_threads, lambda done: print(f"{done:.4f}", file=fractions, flush=True))


if __name__ == "__main__":
    _main(sys.argv[1])
