"""Counting GPUs without torch."""

import subprocess
import sys

import pytest

from fairseq.dataclass import devices
from fairseq.dataclass.configs import DistributedTrainingConfig


@pytest.mark.parametrize(
    "selection,devices_there,seen",
    [(None, 8, 8), ("", 8, 0), ("0", 8, 1), ("3,1", 8, 2), ("0,-1,1", 8, 1), ("9", 8, 0), ("GPU-1a,MIG-2", 8, 2)],
)
def test_visible(selection, devices_there, seen):
    assert devices.visible(selection, devices_there) == seen


def test_defaults_follow_the_count(monkeypatch):
    monkeypatch.setattr("fairseq.dataclass.groups.distributed.count_gpus", lambda: 4)
    monkeypatch.setenv("LOCAL_RANK", "3")
    config = DistributedTrainingConfig()
    assert config.distributed_world_size == config.nprocs_per_node == 4 and config.device_id == 3
    monkeypatch.setattr("fairseq.dataclass.groups.distributed.count_gpus", lambda: 0)
    assert DistributedTrainingConfig().distributed_world_size == 1


def test_the_count_is_torchs():
    code = (
        "from fairseq.dataclass.devices import count_gpus; ours = count_gpus(); "
        "import torch; assert ours == torch.cuda.device_count() == count_gpus(), ours"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
