"""How many GPUs torch will see, found out without importing torch (which takes longer than reading a config).

Where torch is loaded already it is asked. Otherwise NVIDIA's management library counts the devices - unlike the CUDA
runtime it leaves no state behind, so processes can still be forked - and CUDA_VISIBLE_DEVICES limits them.

>>> visible("0,1", 4), visible("", 4), visible("1,-1,0", 4), visible(None, 4), visible("7", 4)
(2, 0, 1, 4, 0)

A launcher gives each process its place in the group:

>>> place_in_group({"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"})
(1, 2)
>>> place_in_group({"SLURM_STEP_NODELIST": "n[1-2]", "SLURM_PROCID": "3", "SLURM_NTASKS": "4"})
(3, 4)
>>> place_in_group({"SLURM_PROCID": "0", "SLURM_NTASKS": "4"})  # the batch script itself, before srun
(0, 1)
"""

import ctypes
import os
import sys
from collections.abc import Mapping
from typing import Optional


def started_by_torchrun(environ: Mapping[str, str]) -> bool:
    """Whether torchrun, or a launcher that sets the same variables, started this process."""
    return all(key in environ for key in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"))


def place_in_group(environ: Mapping[str, str]) -> tuple[int, int]:
    """Rank and number of the processes that torchrun or `srun` started together; (0, 1) for one started by hand."""
    if started_by_torchrun(environ):
        return int(environ["RANK"]), int(environ["WORLD_SIZE"])
    # only a step has tasks; the script around it has one process, whatever the job has asked for
    if "SLURM_PROCID" in environ and ("SLURM_STEP_NUM_TASKS" in environ or "SLURM_STEP_NODELIST" in environ):
        tasks = int(environ.get("SLURM_STEP_NUM_TASKS") or environ.get("SLURM_NTASKS") or 1)
        return (int(environ["SLURM_PROCID"]), tasks) if tasks > 1 else (0, 1)
    return 0, 1


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
    from importlib import metadata  # a third of the time that `--help` takes, and needed only if there are GPUs

    try:
        return "+cpu" not in metadata.version("torch")
    except metadata.PackageNotFoundError:
        return False
