"""Lightning Pose's networks, built offline and cut down to what prediction needs.

The layers are Lightning Pose's own classes; nothing is ever downloaded, because every weight comes
from the checkpoint. Importing Lightning Pose costs about 20 s (4 s if `minimal_import` leaves out
its training), so this happens once per checkpoint and machine, and `artifact` keeps the result.
"""

from __future__ import annotations

import contextlib
import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from raypose.errors import ModelError
from raypose.import_path import installed_folder
from raypose.inference.checkpoint import load_weights, read_checkpoint
from raypose.specs import ModelSpec

_Sizes = dict[str, Any]
_SMALL: _Sizes = {"hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536}
_BASE: _Sizes = {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}
_HIERA_TINY: _Sizes = {"blocks_per_stage": [1, 2, 7, 2], "global_attention_blocks": [5, 7, 9]}
_HIERA_SMALL: _Sizes = {"blocks_per_stage": [1, 2, 11, 2], "global_attention_blocks": [7, 10, 13]}
_HIERA_BASE_PLUS: _Sizes = {
    "hidden_size": 112,
    "num_attention_heads": 2,
    "blocks_per_stage": [2, 3, 16, 3],
    "embed_dim_per_stage": [112, 224, 448, 896],
    "num_attention_heads_per_stage": [2, 4, 8, 16],
    "global_attention_blocks": [12, 16, 20],
    "window_positional_embedding_background_size": [14, 14],
}
_TRANSFORMERS: dict[str, tuple[str, _Sizes]] = {
    "facebook/dino-vits16": ("vit", _SMALL),
    "facebook/dino-vitb16": ("vit", _BASE),
    "facebook/vit-mae-base": ("vit", _BASE),
    "facebook/dinov2-small": ("dinov2", _SMALL),
    "facebook/dinov2-base": ("dinov2", _BASE),
    "facebook/dinov3-vits16-pretrain-lvd1689m": ("dinov3", _SMALL),
    "facebook/dinov3-vitb16-pretrain-lvd1689m": ("dinov3", _BASE),
    "facebook/sam-vit-base": ("sam", {}),
    "facebook/sam2.1-hiera-tiny": ("sam2", _HIERA_TINY),
    "facebook/sam2.1-hiera-small": ("sam2", _HIERA_SMALL),
    "facebook/sam2.1-hiera-base-plus": ("sam2", _HIERA_BASE_PLUS),
}
"""Name on the hub, as Lightning Pose asks for it → its kind and sizes."""


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
        return self.model_type == "heatmap_mhcrnn"

    @property
    def gives_coordinates(self) -> bool:
        return self.model_type == "regression"


def _describe(spec: ModelSpec, found: Mapping[str, Any]) -> Architecture:
    """The architecture, from the checkpoint's hyperparameters and, where absent, the config."""
    factor = found.get("downsample_factor") or spec.config.get("data", {}).get("downsample_factor")
    views = len(spec.view_names) if spec.model_type == "heatmap_multiview_transformer" else 1
    return Architecture(
        spec.model_type,
        str(found.get("backbone") or spec.backbone),
        n_keypoints=int(found.get("num_keypoints") or len(spec.keypoint_names)),
        n_views=int(found.get("num_views") or views),
        downsample_factor=int(factor or 2),
        image_height=spec.image_height,
        image_width=spec.image_width,
    )


def load_module(spec: ModelSpec, *, allow_unsafe: bool = False) -> tuple[nn.Module, Architecture]:
    """The network of a model with its weights, ready for prediction on the CPU."""
    checkpoint = read_checkpoint(
        spec.checkpoint,
        model_type=spec.model_type,
        allow_unsafe=allow_unsafe,
        digest=spec.checkpoint_digest,
    )
    architecture = _describe(spec, checkpoint.hyperparameters)
    if architecture.n_keypoints != len(spec.keypoint_names):
        raise ModelError(
            f"the checkpoint's network has {architecture.n_keypoints} keypoints, and the config "
            f"names {len(spec.keypoint_names)}",
            path=spec.directory,
            hint="Check that config and checkpoint are of the same model.",
        )
    tracker = new_tracker(architecture, spec.checkpoint)
    load_weights(tracker, checkpoint.weights, spec.checkpoint)
    return _for_prediction(tracker, architecture), architecture


def empty_module(architecture: Architecture) -> nn.Module:
    """The network with meaningless weights, to be replaced."""
    return _for_prediction(new_tracker(architecture), architecture)


def example_images(architecture: Architecture, batch: int, *, seed: int) -> torch.Tensor:
    """Random images of the shape, layout and rough range that the network takes."""
    generator = torch.Generator().manual_seed(seed)
    n_views = architecture.n_views
    size = (batch * n_views, 3, architecture.image_height, architecture.image_width)
    images = torch.randn(size, generator=generator).to(memory_format=torch.channels_last)
    return images.view(batch, n_views, *size[1:]) if n_views > 1 else images


def check_imported() -> None:
    """Refuse a clone of Lightning Pose that a script or notebook beside it would import here.

    Our own processes import the installed package.
    """
    found = find_spec("lightning_pose")
    here = next(iter(found.submodule_search_locations or ()), None) if found else None
    installed = installed_folder("lightning_pose")
    if here is None or (installed and Path(here).resolve() == Path(installed).resolve()):
        return
    raise ModelError(
        "this process imports Lightning Pose from here, and not the installed one"
        + (f" ({installed})" if installed else ""),
        path=here,
        hint="Start it in another directory; or install this one with pip install -e.",
    )


def new_tracker(architecture: Architecture, path: str = "") -> nn.Module:
    """Lightning Pose's own module with random weights, built without a network connection.

    Errors name the path.
    """
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
    offline: contextlib.AbstractContextManager[None] = offline_backbones()
    if architecture.backbone.startswith(("resnet", "efficientnet")):
        offline = contextlib.nullcontext()  # they need not import transformers
    try:
        # Semi-supervised variants have the same layers; the rest is only for training.
        # Without gradients: the wrapper of SAM keeps a tensor of its own that could not be copied.
        with offline, torch.no_grad():
            make = get_model_class(architecture.model_type, semi_supervised=False)
            tracker: nn.Module = make(**arguments)
    except (ValueError, NotImplementedError, RuntimeError) as error:
        raise ModelError(
            f"Lightning Pose can't build this network ({error})",
            path=path,
            hint="Check model_type and backbone in the model's config.",
        ) from error
    return tracker


@contextlib.contextmanager
def offline_backbones() -> Iterator[None]:
    """Within it, Lightning Pose's modules make transformer backbones without a hub.

    They use `from_pretrained`, which downloads weights that the checkpoint then replaces. Here it
    makes the same module from its published architecture.
    """
    from transformers import AutoModel, PreTrainedModel

    with (
        mock.patch.object(AutoModel, "from_pretrained", _empty_transformer),
        mock.patch.object(PreTrainedModel, "from_pretrained", _empty_transformer),
    ):
        yield


def _empty_transformer(name: str, **_: Any) -> Any:
    """The network of this name on the hub, with meaningless weights."""
    import transformers as hub

    if name not in _TRANSFORMERS:
        raise ModelError(
            f"raypose can't build the backbone {name} without downloading it",
            hint=f"It knows {', '.join(sorted(_TRANSFORMERS))} and all convolutional ones.",
        )
    kind, sizes = _TRANSFORMERS[name]
    if kind == "sam":
        return hub.SamModel(hub.SamConfig(vision_config=sizes))
    if kind == "sam2":
        from transformers.models.sam2 import Sam2HieraDetConfig, Sam2VisionConfig

        channels = sizes.get("embed_dim_per_stage", [96, 192, 384, 768])
        hiera = Sam2HieraDetConfig(**{**sizes, "embed_dim_per_stage": channels})
        vision = Sam2VisionConfig(backbone_config=hiera, backbone_channel_list=channels[::-1])
        return hub.Sam2Model(hub.Sam2Config(vision_config=vision))
    if kind == "dinov2":
        sizes = {k: v for k, v in sizes.items() if k != "intermediate_size"}  # a ratio there
        return hub.Dinov2Model(hub.Dinov2Config(image_size=518, patch_size=14, **sizes))
    if kind == "dinov3":
        dinov3 = hub.DINOv3ViTConfig(num_register_tokens=4, image_size=224, **sizes)
        return hub.DINOv3ViTModel(dinov3)
    vit = hub.ViTConfig(patch_size=16, image_size=224, **sizes)
    return hub.ViTModel(vit, add_pooling_layer=False)


def _for_prediction(tracker: nn.Module, architecture: Architecture) -> nn.Module:
    networks: dict[str, type[nn.Module]] = {
        "heatmap": HeatmapNetwork,
        "regression": CoordinateNetwork,
        "heatmap_mhcrnn": ContextNetwork,
        "heatmap_multiview_transformer": MultiviewNetwork,
    }
    return networks[architecture.model_type](tracker).eval().requires_grad_(False)


class HeatmapNetwork(nn.Module):
    """(B, 3, H, W) images → (B, K, h, w) heatmaps with sum 1, as `HeatmapHead.forward`."""

    def __init__(self, tracker: Any) -> None:
        super().__init__()
        self.backbone = tracker.backbone
        self.layers = tracker.head.upsampling_layers

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return _heatmaps(self.layers(self.backbone(images)))


class ContextNetwork(nn.Module):
    """Images → features of each frame → heatmaps of each frame from those of five.

    Lightning Pose's recurrent head (`UpsamplingCRNN`) applies its convolutions of single frames to
    every window that a frame is in; here they are in `forward`, once per frame, and only the
    recurrence is in `heads`.
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
    """(B, V, 3, H, W) images → (B, V·K, h, w), as `HeatmapTrackerMultiviewTransformer.forward`."""

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
        heatmaps = _heatmaps(self.layers(self._forward_vit(self, images.flatten(0, 1))))
        return heatmaps.view(images.shape[0], -1, *heatmaps.shape[-2:])


class CoordinateNetwork(nn.Module):
    """(B, 3, H, W) images → (B, K, 2) x and y in pixels of the input, in float32."""

    def __init__(self, tracker: Any) -> None:
        super().__init__()
        self.backbone = tracker.backbone
        self.head = tracker.head

    def forward(self, images: torch.Tensor) -> torch.Tensor:
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
