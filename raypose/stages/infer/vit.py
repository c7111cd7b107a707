"""Vision transformers from their architecture alone, without a hub.

Lightning Pose makes these backbones with `from_pretrained`, which downloads weights that the
checkpoint then replaces. Here the same modules are made from what is known of each published
architecture; `load_weights` sees to it that every weight fits. Used by `network`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import nn

from raypose.errors import ModelError

_SMALL: dict[str, Any] = {"hidden_size": 384, "num_attention_heads": 6}
_BASE: dict[str, Any] = {"hidden_size": 768, "num_attention_heads": 12}
_VIT = {
    "vits_dino": {**_SMALL, "intermediate_size": 1536},
    "vitb_dino": {**_BASE, "intermediate_size": 3072},
    "vitb_imagenet": {**_BASE, "intermediate_size": 3072},
}
_DINOV2 = {"vits_dinov2": _SMALL, "vitb_dinov2": _BASE}


@contextlib.contextmanager
def offline_backbones() -> Iterator[None]:
    """Within it, Lightning Pose's modules make transformer backbones without downloading.

    The function that they all call for a backbone is replaced for as long; there is no argument
    that would do it.
    """
    from lightning_pose.models import base

    original = base.build_backbone

    def build(backbone_arch: str, **arguments: Any) -> tuple[nn.Module, int]:
        if backbone_arch.startswith("vit"):
            return build_transformer(backbone_arch)
        built: tuple[nn.Module, int] = original(backbone_arch, **arguments)
        return built

    base.build_backbone = build
    try:
        yield
    finally:
        base.build_backbone = original


def build_transformer(name: str) -> tuple[nn.Module, int]:
    """Lightning Pose's wrapper around a transformer, and the number of its features.

    Raises:
        ModelError: the architecture is not known here.
    """
    if name in _VIT:
        return _plain(_VIT[name])
    if name in _DINOV2:
        return _dinov2(_DINOV2[name])
    raise ModelError(
        f"raypose can't build the backbone {name} without downloading it",
        hint=f"It knows {', '.join(sorted((*_VIT, *_DINOV2)))} and all convolutional ones.",
    )


def _plain(sizes: dict[str, Any]) -> tuple[nn.Module, int]:
    from lightning_pose.models.backbones.vit import VisionEncoder
    from transformers import ViTConfig, ViTModel

    wrapper = _bare(VisionEncoder)
    config = ViTConfig(image_size=224, patch_size=16, **sizes)
    wrapper.vision_encoder = ViTModel(config, add_pooling_layer=False)
    return wrapper, int(config.hidden_size)


def _dinov2(sizes: dict[str, Any]) -> tuple[nn.Module, int]:
    from lightning_pose.models.backbones.vit_dino import VisionEncoderDino
    from transformers import Dinov2Config, Dinov2Model

    wrapper = _bare(VisionEncoderDino)
    config = Dinov2Config(image_size=518, patch_size=14, **sizes)
    encoder = wrapper.vision_encoder = Dinov2Model(config)
    # As VisionEncoderDino.__init__ goes on after loading: patches of 16 pixels.
    wrapper.patch_size = encoder.config.patch_size = encoder.embeddings.patch_size = 16
    wrapper._resize_patch_embedding_weights()
    encoder.embeddings.patch_embeddings.patch_size = (16, 16)
    return wrapper, int(config.hidden_size)


def _bare(kind: Any) -> Any:
    """An instance whose `__init__`, which downloads, has not run."""
    wrapper = kind.__new__(kind)
    nn.Module.__init__(wrapper)
    return wrapper
