"""A large block that was freed is handed out again without new pages."""

import os
import platform
import subprocess
import sys

import pytest

from fairseq.allocator import keep_freed_memory

COUNT_NEW_PAGES = """
import resource, torch
from fairseq.allocator import keep_freed_memory
assert keep_freed_memory({})
def touch():
    torch.empty(16 << 20).fill_(1.0)  # 64 MiB, above the limit to which glibc adapts by itself
for _ in range(10):  # small blocks settle into the gaps
    touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    touch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator only")
def test_freed_blocks_are_reused():
    env = {key: value for key, value in os.environ.items() if not key.startswith(("MALLOC_", "GLIBC_", "LD_PRELOAD"))}
    done = subprocess.run([sys.executable, "-c", COUNT_NEW_PAGES], capture_output=True, text=True, env=env, check=True)
    assert int(done.stdout) < 1000  # 5 x 16,384 pages without


@pytest.mark.parametrize("name", ["LD_PRELOAD", "GLIBC_TUNABLES", "MALLOC_ARENA_MAX"])
def test_a_users_own_choice_stays(name):
    assert not keep_freed_memory({name: "1"})


def test_switched_off():
    assert not keep_freed_memory({"FAIRSEQ_KEEP_MEMORY": "0"})
