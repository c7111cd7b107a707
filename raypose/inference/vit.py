"""Vision transformers from their architecture alone, without a hub.

Lightning Pose makes these backbones with `from_pretrained`, which downloads weights that the
checkpoint then replaces. Here that function makes the same module from its published architecture;
`load_weights` checks that every weight fits. Used by `network`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from raypose.errors import ModelError

_SMALL: dict[str, Any] = {
    "hidden_size": 384,
    "num_attention_heads": 6,
    "intermediate_size": 1536,
    "image_size": 224,
}
_BASE: dict[str, Any] = {
    **_SMALL,
    "hidden_size": 768,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
}
_HIERA_TINY: dict[str, Any] = {
    "blocks_per_stage": [1, 2, 7, 2],
    "global_attention_blocks": [5, 7, 9],
}
_HIERA_SMALL: dict[str, Any] = {
    "blocks_per_stage": [1, 2, 11, 2],
    "global_attention_blocks": [7, 10, 13],
}
_HIERA_BASE_PLUS: dict[str, Any] = {
    "hidden_size": 112,
    "num_attention_heads": 2,
    "blocks_per_stage": [2, 3, 16, 3],
    "embed_dim_per_stage": [112, 224, 448, 896],
    "num_attention_heads_per_stage": [2, 4, 8, 16],
    "global_attention_blocks": [12, 16, 20],
    "window_positional_embedding_background_size": [14, 14],
}


@contextlib.contextmanager
def offline_backbones() -> Iterator[None]:
    """Within it, Lightning Pose's modules make transformer backbones without downloading.

    No argument does that, so the functions that download are replaced: they make an empty network
    of the same architecture.

    Raises:
        ModelError: the architecture is not known here.
    """
    from transformers import AutoModel, PreTrainedModel

    with (
        mock.patch.object(AutoModel, "from_pretrained", _empty_transformer),
        mock.patch.object(PreTrainedModel, "from_pretrained", _empty_transformer),
    ):
        yield


def _empty_transformer(name: str, **_: Any) -> Any:
    """The network of this name on the hub, with meaningless weights."""
    if name not in _MODELS:
        raise ModelError(
            f"raypose can't build the backbone {name} without downloading it",
            hint=f"It knows {', '.join(sorted(_MODELS))} and all convolutional ones.",
        )
    kind, sizes = _MODELS[name]
    return kind(sizes)


def _vit(sizes: dict[str, Any]) -> Any:
    from transformers import ViTConfig, ViTModel

    return ViTModel(ViTConfig(patch_size=16, **sizes), add_pooling_layer=False)


def _dinov2(sizes: dict[str, Any]) -> Any:
    from transformers import Dinov2Config, Dinov2Model

    sizes = {k: v for k, v in sizes.items() if k != "intermediate_size"}  # a ratio there
    return Dinov2Model(Dinov2Config(**{**sizes, "image_size": 518, "patch_size": 14}))


def _dinov3(sizes: dict[str, Any]) -> Any:
    from transformers import DINOv3ViTConfig, DINOv3ViTModel

    return DINOv3ViTModel(DINOv3ViTConfig(num_register_tokens=4, **sizes))


def _sam(sizes: dict[str, Any]) -> Any:
    from transformers import SamConfig, SamModel

    return SamModel(SamConfig(vision_config=sizes))


def _sam2(sizes: dict[str, Any]) -> Any:
    from transformers import Sam2Config, Sam2Model
    from transformers.models.sam2 import Sam2HieraDetConfig, Sam2VisionConfig

    channels = sizes.get("embed_dim_per_stage", [96, 192, 384, 768])
    hiera = Sam2HieraDetConfig(**{**sizes, "embed_dim_per_stage": channels})
    vision = Sam2VisionConfig(backbone_config=hiera, backbone_channel_list=channels[::-1])
    return Sam2Model(Sam2Config(vision_config=vision))


_MODELS: dict[str, tuple[Callable[[dict[str, Any]], Any], dict[str, Any]]] = {
    "facebook/dino-vits16": (_vit, _SMALL),
    "facebook/dino-vitb16": (_vit, _BASE),
    "facebook/vit-mae-base": (_vit, _BASE),
    "facebook/dinov2-small": (_dinov2, _SMALL),
    "facebook/dinov2-base": (_dinov2, _BASE),
    "facebook/dinov3-vits16-pretrain-lvd1689m": (_dinov3, _SMALL),
    "facebook/dinov3-vitb16-pretrain-lvd1689m": (_dinov3, _BASE),
    "facebook/sam-vit-base": (_sam, {}),
    "facebook/sam2.1-hiera-tiny": (_sam2, _HIERA_TINY),
    "facebook/sam2.1-hiera-small": (_sam2, _HIERA_SMALL),
    "facebook/sam2.1-hiera-base-plus": (_sam2, _HIERA_BASE_PLUS),
}
"""Name on the hub, as Lightning Pose asks for it → how to make its network."""
