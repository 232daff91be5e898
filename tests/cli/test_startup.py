"""`--help` answers at once: it imports none of what takes long to import (benchmarks/startup.py measures the time)."""

import subprocess
import sys

HELP = """
import sys
before = set(sys.modules)  # what Python itself, and the environment's own hooks, have imported
from fairseq.dataclass import devices
devices._nvml_count = lambda: 0  # a GPU's driver is asked for more than its number
from fairseq_cli import hydra_train, other_distributions
other_distributions.others = lambda path: []
hydra_train.cli_main(["--help"])
heavy = {"torch", "numpy", "hydra", "importlib.metadata", "email", "multiprocessing", "asyncio", "http"}
print(sorted(heavy & (set(sys.modules) - before)), file=sys.stderr)
"""


def test_help_imports_nothing_that_takes_long(repository):
    done = subprocess.run([sys.executable, "-c", HELP], cwd=repository, capture_output=True, text=True, check=True)
    assert "KEY=VALUE" in done.stdout and done.stderr == "[]\n"
