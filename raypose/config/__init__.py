"""What was asked for, frozen, and checked when it is made: `RunConfig` and `SmoothConfig`.

The command line, a YAML file and a notebook all end here.
"""

from __future__ import annotations

from raypose.config.eks_options import EksOptions
from raypose.config.files import read_settings
from raypose.config.options import option_name
from raypose.config.settings import RunConfig, Settings, SmoothConfig

__all__ = ["EksOptions", "RunConfig", "Settings", "SmoothConfig", "option_name", "read_settings"]
