"""Lightning Pose's networks, built offline and cut down to what prediction needs.

Second station of inference: weights → a torch module from normalised images to heatmaps (or
coordinates). The layers are Lightning Pose's own classes; nothing is ever downloaded, because
every weight comes from the checkpoint. Importing Lightning Pose costs about 20 s (4 s if
`minimal_import` leaves out its training), so this happens once per checkpoint and machine, and
`artifact` keeps the result.
"""

from __future__ import annotations

import contextlib
import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from raypose.errors import ModelError
from raypose.inference.checkpoint import load_weights, read_checkpoint
from raypose.inference.upstream import check_imported
from raypose.inference.vit import offline_backbones
from raypose.specs import ModelSpec


@dataclass(frozen=True, slots=True)
class Architecture:
    """What a network is made of, without its weights.

    Attributes:
        n_keypoints: of one view.
        n_views: views that go through the network together; 1 except in multi-view transformers.
        downsample_factor: heatmaps are smaller than the input by two to this power.
    """

    model_type: str
    backbone: str
    n_keypoints: int
    n_views: int
    downsample_factor: int
    image_height: int
    image_width: int

    @property
    def has_context(self) -> bool:
        """Whether a frame is predicted from its neighbours too."""
        return self.model_type == "heatmap_mhcrnn"

    @property
    def gives_coordinates(self) -> bool:
        """Whether the network gives coordinates instead of heatmaps."""
        return self.model_type == "regression"


def describe(spec: ModelSpec, hyperparameters: Mapping[str, Any]) -> Architecture:
    """The architecture, from the checkpoint's hyperparameters and, where absent, the config."""
    data = spec.config.get("data", {})
    views = len(spec.view_names) if spec.model_type == "heatmap_multiview_transformer" else 1
    return Architecture(
        model_type=spec.model_type,
        backbone=str(hyperparameters.get("backbone") or spec.backbone),
        n_keypoints=int(hyperparameters.get("num_keypoints") or len(spec.keypoint_names)),
        n_views=int(hyperparameters.get("num_views") or views),
        downsample_factor=int(
            hyperparameters.get("downsample_factor") or data.get("downsample_factor") or 2
        ),
        image_height=spec.image_height,
        image_width=spec.image_width,
    )


def load_module(spec: ModelSpec, *, allow_unsafe: bool = False) -> tuple[nn.Module, Architecture]:
    """The network of a model with its weights, ready for prediction on the CPU.

    Raises:
        ModelError: the checkpoint can't be read, does not fit the config, or changed after the run
            was planned.
    """
    checkpoint = read_checkpoint(
        spec.checkpoint,
        model_type=spec.model_type,
        allow_unsafe=allow_unsafe,
        digest=spec.checkpoint_digest,
    )
    architecture = describe(spec, checkpoint.hyperparameters)
    if architecture.n_keypoints != len(spec.keypoint_names):
        raise ModelError(
            f"the checkpoint's network has {architecture.n_keypoints} keypoints, and the config "
            f"names {len(spec.keypoint_names)}",
            path=spec.directory,
            hint="Check that config and checkpoint are of the same model.",
        )
    tracker = _tracker(architecture, spec.checkpoint)
    load_weights(tracker, checkpoint.weights, spec.checkpoint)
    return _for_prediction(tracker, architecture), architecture


def empty_module(architecture: Architecture) -> nn.Module:
    """The network with meaningless weights, to be replaced."""
    return _for_prediction(_tracker(architecture, ""), architecture)


def example_images(architecture: Architecture, batch: int, *, seed: int) -> torch.Tensor:
    """Random images of the shape, layout and rough range that the network takes."""
    generator = torch.Generator().manual_seed(seed)
    n_views = architecture.n_views
    size = (batch * n_views, 3, architecture.image_height, architecture.image_width)
    images = torch.randn(size, generator=generator).to(memory_format=torch.channels_last)
    return images.view(batch, n_views, *size[1:]) if n_views > 1 else images


def _tracker(architecture: Architecture, path: str) -> nn.Module:
    """Lightning Pose's own module, built without a network connection."""
    check_imported()
    from lightning_pose.models import get_model_class

    arguments: dict[str, Any] = {
        "num_keypoints": architecture.n_keypoints,
        # The backbone of the same layers that is built without downloading weights.
        "backbone": re.sub("^resnet50_.*", "resnet50", architecture.backbone),
        "pretrained": False,
        "image_size": architecture.image_height,
    }
    if architecture.model_type != "regression":
        arguments["downsample_factor"] = architecture.downsample_factor
    if architecture.model_type == "heatmap_multiview_transformer":
        arguments["num_views"] = architecture.n_views
    try:
        # Semi-supervised variants have the same layers; the rest is only for training.
        # Without gradients: the wrapper of SAM keeps a tensor of its own that could not be copied.
        with _offline(architecture.backbone), torch.no_grad():
            tracker: nn.Module = get_model_class(architecture.model_type, semi_supervised=False)(
                **arguments
            )
    except (ValueError, NotImplementedError, RuntimeError) as error:
        raise ModelError(
            f"Lightning Pose can't build this network ({error})",
            path=path,
            hint="Check model_type and backbone in the model's config.",
        ) from error
    return tracker


def _offline(backbone: str) -> contextlib.AbstractContextManager[None]:
    """Keeps a transformer from being downloaded; other backbones need not import transformers."""
    if backbone.startswith(("resnet", "efficientnet")):
        return contextlib.nullcontext()
    return offline_backbones()


def _for_prediction(tracker: nn.Module, architecture: Architecture) -> nn.Module:
    networks: dict[str, type[nn.Module]] = {
        "heatmap": HeatmapNetwork,
        "regression": CoordinateNetwork,
        "heatmap_mhcrnn": ContextNetwork,
        "heatmap_multiview_transformer": MultiviewNetwork,
    }
    return networks[architecture.model_type](tracker).eval().requires_grad_(False)


class HeatmapNetwork(nn.Module):
    """(B, 3, H, W) images → (B, K, h, w) heatmaps, each with sum 1, in float32."""

    def __init__(self, tracker: Any) -> None:
        super().__init__()
        self.backbone = tracker.backbone
        self.layers = tracker.head.upsampling_layers

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The heatmaps, as `HeatmapHead.forward` computes them from the logits."""
        return _heatmaps(self.layers(self.backbone(images)))


class ContextNetwork(nn.Module):
    """Images → features of each frame → heatmaps of each frame from those of five.

    The recurrent head of Lightning Pose (`UpsamplingCRNN`) applies its convolutions of single
    frames to every window that a frame is in, five times the same; here they are in `forward`,
    once a frame, and only the recurrence is in `heads`.
    """

    def __init__(self, tracker: Any) -> None:
        super().__init__()
        self.backbone = tracker.backbone
        self.single = tracker.head.head_sf.upsampling_layers
        recurrent = tracker.head.head_mf
        self.shuffle = recurrent.pixel_shuffle
        self.before = recurrent.W_pre if recurrent.upsampling_factor == 2 else nn.Identity()
        self.forth, self.forth_again = recurrent.W_f, recurrent.H_f
        self.back, self.back_again = recurrent.W_b, recurrent.H_b

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) images → (B, 3·K, h, w): logits of the single frame, and the terms that
        it adds to the recurrence forwards and backwards in time."""
        features = self.backbone(images)
        shuffled = self.before(self.shuffle(features))
        return torch.cat((self.single(features), self.forth(shuffled), self.back(shuffled)), dim=1)

    def heads(self, features: torch.Tensor) -> torch.Tensor:
        """(T + 4, 3·K, h, w) features of consecutive frames → (2, T, K, h, w) heatmaps of the
        inner T frames: from the frame alone, and from the window of five."""
        single, forth, back = features.chunk(3, dim=1)
        n = features.shape[0] - 4
        forwards, backwards = forth[0:n], back[4 : n + 4]
        for step in range(1, 5):
            forwards = forth[step : n + step] + self.forth_again(forwards)
            backwards = back[4 - step : n + 4 - step] + self.back_again(backwards)
        several = (forwards + backwards) / 2
        return torch.stack((_heatmaps(single[2 : n + 2]), _heatmaps(several)))


def _heatmaps(logits: torch.Tensor) -> torch.Tensor:
    """As Lightning Pose's `spatial_softmax2d`, in float32 whatever the layers' precision."""
    return logits.to(torch.float32).flatten(2).softmax(-1).view(logits.shape)


class MultiviewNetwork(nn.Module):
    """(B, V, 3, H, W) images of the views → (B, V·K, h, w) heatmaps, view by view."""

    def __init__(self, tracker: Any) -> None:
        super().__init__()
        self.backbone = tracker.backbone
        self.num_views = tracker.num_views
        self.view_embeddings = tracker.view_embeddings
        self.layers = tracker.head.upsampling_layers
        # Lightning Pose's function, which uses the three attributes above. A module of Lightning
        # itself can't be traced.
        self._forward_vit = type(tracker).forward_vit

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """As `HeatmapTrackerMultiviewTransformer.forward`."""
        heatmaps = _heatmaps(self.layers(self._forward_vit(self, images.flatten(0, 1))))
        return heatmaps.view(images.shape[0], -1, *heatmaps.shape[-2:])


class CoordinateNetwork(nn.Module):
    """(B, 3, H, W) images → (B, K, 2) x and y in pixels of the input, in float32."""

    def __init__(self, tracker: Any) -> None:
        super().__init__()
        self.backbone = tracker.backbone
        self.head = tracker.head

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The coordinates."""
        coordinates: torch.Tensor = self.head(self.backbone(images)).to(torch.float32)
        return coordinates.view(coordinates.shape[0], -1, 2)


def fold_batch_norms(module: nn.Module) -> nn.Module:
    """A copy in which batch norms that directly follow a convolution are part of it.

    The caller must check that the copy gives the same outputs: a norm listed after a convolution
    is applied after it by custom only.
    """
    folded = copy.deepcopy(module)
    _fold_children(folded)
    return folded


def _fold_children(module: nn.Module) -> None:
    previous_name, previous = "", None
    for name, child in list(module.named_children()):
        if isinstance(child, nn.BatchNorm2d) and isinstance(previous, nn.Conv2d):
            setattr(module, previous_name, fuse_conv_bn_eval(previous, child))
            setattr(module, name, nn.Identity())
        else:
            _fold_children(child)
        previous_name, previous = name, child
