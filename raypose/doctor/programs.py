"""Checks of what raypose builds on: FFmpeg within PyAV, and Ray."""

from __future__ import annotations

import tempfile
from pathlib import Path

from raypose.doctor.clip import N_FRAMES, picture, write_clip
from raypose.doctor.findings import Asked, Finding
from raypose.inference.device import visible_gpus

_MOST_APART = 10.0
"""Mean difference, of 255, that encoding and limited range explain."""


def check_video(asked: Asked) -> Finding:
    """Encode a clip and decode it again, on the CPU."""
    import av
    import numpy as np

    from raypose.video.reader import FrameReader

    with tempfile.TemporaryDirectory(prefix="raypose-doctor-") as folder:
        clip = write_clip(Path(folder, "clip.mp4"))
        with FrameReader(clip, batch_size=N_FRAMES) as reader:
            (batch,) = reader
    expected = np.stack([picture(i) for i in range(N_FRAMES)]).astype(np.float32)
    apart = float(np.abs(batch.frames.mean(axis=3) - expected).mean())
    facts = {"av": av.__version__, "ffmpeg": av.ffmpeg_version_info, "apart": round(apart, 2)}
    if len(batch) != N_FRAMES or apart > _MOST_APART:
        found = f"a clip comes back with {len(batch)} of {N_FRAMES} frames, {apart:.0f} of 255 off"
        advice = "Install PyAV again from its wheel: pip install --force-reinstall av"
        return Finding("problem", found, advice, facts)
    found = f"PyAV {av.__version__} with FFmpeg {av.ffmpeg_version_info} writes and reads a clip"
    return Finding("ok", found, facts=facts)


def check_ray(asked: Asked) -> Finding:
    """Start Ray on this machine, run a task, and stop it again."""
    from raypose.execution.ray.trial import start_and_stop

    trial = start_and_stop()
    facts = {
        "ray": trial.version,
        "start_s": round(trial.start_s, 1),
        "cores": trial.cores,
        "gpus": trial.gpus,
        "object_store_bytes": trial.object_store_bytes,
    }
    found = (
        f"Ray {trial.version} started in {trial.start_s:.0f} s and ran a task: {trial.cores} "
        f"cores, {trial.gpus} GPUs, {trial.object_store_bytes / 1e9:.1f} GB for results"
    )
    n_gpus = visible_gpus()
    if trial.gpus < n_gpus:
        advice = "Give --gpus, and check CUDA_VISIBLE_DEVICES."
        return Finding("warning", f"{found}, of {n_gpus} that are visible", advice, facts)
    return Finding("ok", found, facts=facts)
