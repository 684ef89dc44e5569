"""Versions of the software, and the hardware of a run."""

import os
import platform
from pathlib import Path
from typing import Any

from dalmax_sk._base.versions import package_versions

__all__ = ["describe_hardware", "describe_versions"]

_PACKAGES = (
    "torch",
    "torchvision",
    "scikit-learn",
    "skorch",
    "numpy",
    "scipy",
    "pandas",
    "pillow",
    "matplotlib",
    "seaborn",
    "safetensors",
)


def describe_versions() -> dict[str, str | None]:
    """Return the versions of Python, dalmax_sk and the packages it requires.

    Returns
    -------
    dict of str to str
        None for a package that is not installed.

    Examples
    --------
    >>> from dalmax_sk.reports import describe_versions
    >>> list(describe_versions())[:3]
    ['python', 'dalmax_sk', 'torch']
    """
    return package_versions(_PACKAGES)


def describe_hardware() -> dict[str, Any]:
    """Return the machine's processor, cores, memory (bytes) and GPUs.

    Returns
    -------
    dict
        ``system``, ``cpu`` (model name), ``cores`` (of the machine), ``usable_cores``
        (those this process may use), ``torch_threads``, ``memory_bytes`` (None where
        the system does not tell), ``cuda`` (version torch was built for, or None),
        ``gpus`` (list of ``{"name", "memory_bytes"}``).

    Examples
    --------
    >>> from dalmax_sk.reports import describe_hardware
    >>> describe_hardware()["cores"] >= 1
    True
    """
    import torch

    gpus = []
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            gpus.append(
                {"name": properties.name, "memory_bytes": properties.total_memory}
            )
    cores = os.cpu_count()
    has_affinity = hasattr(os, "sched_getaffinity")  # not on macOS and Windows
    return {
        "system": platform.platform(),
        "cpu": _cpu_name(),
        "cores": cores,
        "usable_cores": len(os.sched_getaffinity(0)) if has_affinity else cores,
        "torch_threads": torch.get_num_threads(),
        "memory_bytes": _memory_bytes(),
        "cuda": torch.version.cuda,
        "gpus": gpus,
    }


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _memory_bytes() -> int | None:
    names = getattr(os, "sysconf_names", {})
    if "SC_PHYS_PAGES" not in names or "SC_PAGE_SIZE" not in names:
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
