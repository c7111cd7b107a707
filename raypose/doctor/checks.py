"""All checks, in the order in which they are reported. A new one is a function, named here."""

from __future__ import annotations

from raypose.doctor import gpu, machine, programs, trial
from raypose.doctor.findings import Check

CHECKS = (
    Check("machine", machine.check_machine),
    Check("packages", machine.check_packages),
    Check("open files", machine.check_open_files),
    Check("shared memory", machine.check_shared_memory),
    Check("scratch disk", machine.check_scratch),
    Check("cache", machine.check_cache),
    Check("GPU", gpu.check_gpus),
    Check("torch", gpu.check_torch, limit_s=120),
    Check("video", programs.check_video, limit_s=60),
    Check("NVDEC", gpu.check_nvdec, limit_s=120),
    Check("NVENC", gpu.check_nvenc, limit_s=60),
    Check("Ray", programs.check_ray, limit_s=120),
    Check("your model", trial.check_model, limit_s=300, needs=("model",)),
    Check("your video", trial.check_video_file, limit_s=600, needs=("video",)),
    Check("trial", trial.check_speed, limit_s=300, needs=("model", "video")),
)
