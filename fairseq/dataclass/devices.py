"""How many GPUs torch will see, found out without importing torch (which takes longer than reading a config).

Where torch is loaded already it is asked. Otherwise NVIDIA's management library counts the devices - unlike the CUDA
runtime it leaves no state behind, so processes can still be forked - and CUDA_VISIBLE_DEVICES limits them.

>>> visible("0,1", 4), visible("", 4), visible("1,-1,0", 4), visible(None, 4), visible("7", 4)
(2, 0, 1, 4, 0)
"""

import ctypes
import importlib.metadata
import os
import sys
from typing import Optional


def count_gpus() -> int:
    """The number of CUDA devices that this process may use."""
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "cuda"):
        return int(torch.cuda.device_count())
    devices = _nvml_count()
    if devices == 0 or not _torch_has_cuda():
        return 0
    return visible(os.environ.get("CUDA_VISIBLE_DEVICES"), devices)


def visible(selection: Optional[str], devices: int) -> int:
    """How many of `devices` CUDA_VISIBLE_DEVICES=`selection` leaves; the first invalid entry ends the list."""
    if selection is None:
        return devices
    count = 0
    for entry in selection.split(","):
        entry = entry.strip()
        if entry.isdigit():
            if int(entry) >= devices:
                break
        elif not entry.startswith(("GPU-", "MIG-")):
            break
        count += 1
    return count


def _nvml_count() -> int:
    try:
        nvml = ctypes.CDLL("nvml.dll" if os.name == "nt" else "libnvidia-ml.so.1")
        if nvml.nvmlInit_v2() != 0:
            return 0
        count = ctypes.c_uint(0)
        failed = nvml.nvmlDeviceGetCount_v2(ctypes.byref(count))
        nvml.nvmlShutdown()
    except (OSError, AttributeError):  # no driver, or one too old
        return 0
    return 0 if failed else count.value


def _torch_has_cuda() -> bool:
    try:
        return "+cpu" not in importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return False
