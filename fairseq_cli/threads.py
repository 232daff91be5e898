"""How threads wait for each other in a command: asleep, so that runs on the same machine keep their speed.

torch computes in OpenMP threads, which meet at the end of every operation. By default one that waits spins, and where
other programs want the cores it spins while the thread that it waits for cannot run. Asleep, it wakes up a little
later. A training step, 2 threads on 2 cores shared with several other programs (torch 2.13, its own libgomp):

    two layers, 128 wide, 16 x 12 tokens     2001 ms spinning, 15 ms asleep (median; the fastest one 82 and 13 ms)
    two layers, 384 wide, 16 x 48 tokens       12 s  spinning, 2.0 s asleep
    fairseq-hydra-train, acceptability.yaml    26 updates in 53 s spinning, 361 asleep

The policy is read when torch is loaded, and is inherited by the processes that a run starts. Importing the library
changes nothing: in a script of one's own, set OMP_WAIT_POLICY before torch is imported.
"""

import sys
from collections.abc import MutableMapping

# what says already how threads wait: OpenMP's own variable, those of GNU's library, of Intel's and of LLVM's
SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")


def sleep_while_waiting(environ: MutableMapping[str, str]) -> None:
    """Set OMP_WAIT_POLICY=passive in `environ`, the process's, unless the user has chosen or torch is loaded."""
    if "torch" not in sys.modules and not any(name in environ for name in SETTINGS):
        environ["OMP_WAIT_POLICY"] = "passive"
