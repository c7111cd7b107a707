"""A model that is loaded and stays loaded: frames in, keypoints out.

The heart of inference. A worker keeps its predictors between tasks, since loading costs more than
predicting a short clip. A predictor knows nothing of videos; `loop` feeds it.
"""

from __future__ import annotations

import torch

from raypose.errors import ModelError
from raypose.inference.artifact import NetworkArtifact, cached_artifact, load_network
from raypose.inference.exported import load_exported
from raypose.inference.frame_batch import Bboxes, FrameBatch, Sizes, sliced
from raypose.inference.gpu_memory import FrameLimit, choose_batch_size, unless_memory_runs_out
from raypose.inference.preprocess import prepare_images
from raypose.inference.subpixel import keypoints_from_heatmaps
from raypose.inference.windows import CONTEXT
from raypose.specs import ModelSpec


class Predictor:
    """A network on a device, with what goes before and after it.

    Args:
        spec: the model.
        artifact: the model as `artifact.cached_artifact` gives it; None asks for it here.
        device: `cpu`, or `cuda:0` and so on.
        precision: `fp32`, `bf16` or `fp16`; an exported model has its own.
        allow_unsafe: unpickle whatever is in the checkpoint, if it must be read.

    Attributes:
        spec: the model.
        precision: of its arithmetic, for the record.
        limit: frames that fit into the GPU's memory; batches of others may be larger.

    Raises:
        ModelError: the model can't be built.
    """

    def __init__(
        self,
        spec: ModelSpec,
        artifact: NetworkArtifact | None = None,
        device: str = "cpu",
        precision: str = "fp32",
        *,
        allow_unsafe: bool = False,
    ) -> None:
        self.spec = spec
        self.precision = precision if spec.exported is None else spec.exported.precision
        if artifact is None:
            artifact = cached_artifact(spec, allow_unsafe=allow_unsafe)
        if spec.exported is None:
            self.network = load_network(artifact, device, precision, path=spec.directory)
        else:
            self.network = load_exported(spec, artifact, device)
        self._check()
        self.limit = FrameLimit(spec.directory)
        self._batch_size = self.network.batch_size or choose_batch_size(self.network, self.limit)

    @property
    def batch_size(self) -> int:
        """Frames that best go through the network at a time."""
        return min(self._batch_size, self.limit.n_frames or self._batch_size)

    @property
    def n_views(self) -> int:
        """Views that the network takes at once."""
        return self.network.architecture.n_views

    def forward(self, batch: FrameBatch, images: SharedImages | None = None) -> torch.Tensor:
        """What the network gives for a batch: all at once if it fits, else in smaller parts.

        Images of the batch may be shared with other predictors.

        Raises:
            DeviceError: the GPU's memory is too small for one frame.
        """
        images = images or SharedImages(batch)
        if self.limit.allows(len(batch)):
            outputs = unless_memory_runs_out(lambda: self._forward(images.of(self)))
            if outputs is not None:
                return outputs
            images.release()
            self.limit.lower(len(batch))
        images.release()
        return self.limit.in_parts(
            lambda start, stop: self._forward(self.prepare(batch.part(start, stop))),
            len(batch),
            self.batch_size,
        )

    def _forward(self, images: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return self.network.forward(images)

    def prepare(self, batch: FrameBatch) -> torch.Tensor:
        """The images that the network takes: (B, 3, h, w), of several views (B, V, 3, h, w)."""
        with torch.inference_mode():
            images = [
                prepare_images(
                    pixels,
                    self.spec.image_height,
                    self.spec.image_width,
                    device=self.network.device,
                    dtype=self.network.dtype,
                    bboxes=None if batch.bboxes is None else batch.bboxes[v],
                )
                for v, pixels in enumerate(batch.pixels)
            ]
            if self.n_views == 1:
                return images[0]
            # Channels stay last in memory, as `prepare_images` leaves them.
            return torch.stack([i.permute(0, 2, 3, 1) for i in images], 1).permute(0, 1, 4, 2, 3)

    def predict_windows(
        self, features: torch.Tensor, sizes: Sizes, bboxes: Bboxes | None
    ) -> torch.Tensor:
        """Keypoints of a model with temporal context.

        Args:
            features: (T + 4, …) what the network gave for consecutive frames.
            sizes: of the frames.
            bboxes: of the inner T frames.

        Returns:
            (T, K, 3) of the inner frames, each keypoint from the one of the two heads that is more
            confident of it.
        """
        heads = self.network.heads
        assert heads is not None

        def part(start: int, stop: int) -> torch.Tensor:
            inner = sliced(bboxes, start, stop)
            with torch.inference_mode():
                alone, several = (
                    self._decode(heatmaps, sizes, inner)
                    for heatmaps in heads(features[start : stop + 2 * CONTEXT])
                )
                # A NaN in one of the two must not hide behind the other.
                sure = several[..., 2:] > alone[..., 2:]
                return torch.where(sure | several[..., 2:].isnan(), several, alone)

        n_frames = len(features) - 2 * CONTEXT
        return self.limit.in_parts(part, n_frames, n_frames)

    def decode_heatmaps(
        self, outputs: torch.Tensor, sizes: Sizes, bboxes: Bboxes | None
    ) -> torch.Tensor:
        """(B, V·K, 3) keypoints in pixels of the frame, from what the network gave."""
        return self.limit.in_parts(
            lambda start, stop: self._decode(
                outputs[start:stop], sizes, sliced(bboxes, start, stop)
            ),
            len(outputs),
            len(outputs),
        )

    def _decode(self, outputs: torch.Tensor, sizes: Sizes, bboxes: Bboxes | None) -> torch.Tensor:
        architecture = self.network.architecture
        height, width = self.spec.image_height, self.spec.image_width
        with torch.inference_mode():
            if architecture.gives_coordinates:
                # Without a notion of confidence; Lightning Pose's `predict_frame` says 1.
                found = torch.cat((outputs, torch.ones_like(outputs[..., :1])), dim=-1)
            else:
                found = keypoints_from_heatmaps(outputs, architecture.downsample_factor)
            for v, view in enumerate(found.chunk(self.n_views, dim=1)):
                if bboxes is None:
                    view[..., 0].div_(width).mul_(sizes[v][1])
                    view[..., 1].div_(height).mul_(sizes[v][0])
                else:
                    x, y, h, w = torch.from_numpy(bboxes[v]).to(found).unbind(1)
                    view[..., 0].div_(width).mul_(w[:, None]).add_(x[:, None])
                    view[..., 1].div_(height).mul_(h[:, None]).add_(y[:, None])
            return found

    def _check(self) -> None:
        architecture = self.network.architecture
        n_views = len(self.spec.view_names) if self.spec.takes_views else 1
        if architecture.n_views != n_views:
            raise ModelError(
                f"the network takes {architecture.n_views} views, and the config names {n_views}",
                path=self.spec.directory,
                hint="Check data.view_names in the config.",
            )
        if architecture.n_keypoints != len(self.spec.keypoint_names):
            raise ModelError(
                "the prepared network is of another model",
                path=self.spec.directory,
                hint="Delete raypose's cache directory and run the same command again.",
            )


class SharedImages:
    """The images of a batch, made once for all predictors that take the same ones."""

    def __init__(self, batch: FrameBatch) -> None:
        self._batch = batch
        self._images: dict[tuple[object, ...], torch.Tensor] = {}

    def of(self, predictor: Predictor) -> torch.Tensor:
        """The images that a predictor takes."""
        spec, network = predictor.spec, predictor.network
        key = (spec.image_height, spec.image_width, network.device, network.dtype)
        if key not in self._images:
            self._images[key] = predictor.prepare(self._batch)
        return self._images[key]

    def release(self) -> None:
        """Give the memory back; images that are needed again are made again."""
        self._images.clear()
