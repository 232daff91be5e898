"""A large block that was freed is handed out again without new pages."""

import json
import os
import platform
import subprocess
import sys
from typing import Any

import pytest

from fairseq.allocator import keep_freed_memory
from tests import needs

COUNT_NEW_PAGES = """
import resource, torch
from fairseq.allocator import keep_freed_memory
from tests import needs
assert keep_freed_memory({}, for_elements=ELEMENTS)
def touch():
    torch.empty(16 << 20).fill_(1.0)  # 64 MiB, above the limit to which glibc adapts by itself
def new_pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    touch()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(min([new_pages() for _ in range(15)][5:]))  # small blocks settle into the gaps first
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator only")
@pytest.mark.parametrize("elements", [0, 1 << 24])
def test_freed_blocks_are_reused(elements):
    env = {key: value for key, value in os.environ.items() if not key.startswith(("MALLOC_", "GLIBC_", "LD_PRELOAD"))}
    code = f"ELEMENTS = {elements}\n{COUNT_NEW_PAGES}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    assert int(done.stdout) < 1000  # 16,384 pages without


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    """What `IN_A_REGION` finds, in a process of its own: an allocator is for the whole process."""
    if platform.libc_ver()[0] != "glibc" or not needs.has_compiler():
        pytest.skip("needs glibc and a C++ compiler")
    env = {key: value for key, value in os.environ.items() if not key.startswith(("MALLOC_", "GLIBC_", "LD_PRELOAD"))}
    done = subprocess.run([sys.executable, "-c", IN_A_REGION], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


IN_A_REGION = """
import gc, json, multiprocessing, os, threading
import torch
from fairseq.allocator import arena, keep_freed_memory, persistent_allocations, return_free_memory
torch.set_num_threads(1)  # OpenMP does not survive a fork
before = torch.ones(1 << 20)  # glibc's, and stays so
assert keep_freed_memory({}, for_elements=1 << 24)
MiB, found = 1 << 20, {}
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
def block(size):
    return torch.empty(size, dtype=torch.uint8).fill_(1)

# what is freed between two blocks takes one of the same size again; neighbours that are freed become one
a, b, c = (block(8 * MiB) for _ in range(3))
small = [torch.ones(100) for _ in range(1000)]
place = b.data_ptr()
del b
small += [torch.ones(100) for _ in range(1000)]
b = block(8 * MiB)
found["same place"] = b.data_ptr() == place
del a, b
found["joined"] = block(16 * MiB).data_ptr() == place - 8 * MiB
with persistent_allocations():
    state = block(MiB)
found["persistent apart"] = state.data_ptr() - c.data_ptr() > 1 << 30
found["after persistent"] = abs(block(MiB).data_ptr() - c.data_ptr()) < 1 << 30

# any order of sizes, from several threads: every block keeps its own bytes, and nothing is left in the end
used = arena().figures().used
def churn(seed):
    generator, kept = torch.Generator().manual_seed(seed), []
    for step in range(400):
        size = int(torch.randint(1, 4 * MiB, (1,), generator=generator))
        tensor = torch.empty(size, dtype=torch.uint8)
        tensor[0] = tensor[-1] = step % 251
        kept.append((tensor, step % 251))
        if len(kept) > 8:
            tensor, value = kept.pop(int(torch.randint(len(kept), (1,), generator=generator)))
            found["intact"] = found.get("intact", True) and int(tensor[0]) == int(tensor[-1]) == value
threads = [threading.Thread(target=churn, args=(seed,)) for seed in range(3)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
found["left over"] = arena().figures().used - used

# resizing and forking
grown = torch.ones(MiB)
grown.resize_(3 * MiB)
found["resized"] = bool(grown[:MiB].eq(1).all())
child = os.fork()
if child == 0:
    os._exit(int(not bool((block(MiB) + state).eq(2).all())))
found["fork"] = os.waitpid(child, 0)[1]

kept = resident()
block(256 * MiB)
full = resident()
return_free_memory()
found["released"] = (full - resident()) // MiB
found["kept bytes"] = bool(state.eq(1).all() and c.eq(1).all() and before.eq(1).all())
figures = arena().figures()
found["figures"] = figures.used <= min(figures.most_used, figures.touched) and figures.most_used > 256 * MiB
print(json.dumps(found))
"""


@pytest.mark.parametrize(
    "name",
    ["same place", "joined", "persistent apart", "after persistent", "intact", "resized", "kept bytes", "figures"],
)
def test_arena(figures, name):
    assert figures[name]


def test_arena_frees_everything_and_returns_memory(figures):
    assert figures["left over"] == 0
    assert figures["fork"] == 0
    assert figures["released"] >= 250


@pytest.mark.parametrize("name", ["LD_PRELOAD", "GLIBC_TUNABLES", "MALLOC_ARENA_MAX"])
def test_a_users_own_choice_stays(name):
    assert not keep_freed_memory({name: "1"})


def test_switched_off():
    assert not keep_freed_memory({"FAIRSEQ_KEEP_MEMORY": "0"})
