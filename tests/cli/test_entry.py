"""How commands end: what the system does to the process is told with the place where it happened."""

import subprocess
import sys

FAULT = """
import os, signal
from fairseq_cli.entry import command

@command
def read_of_a_page_that_is_gone():
    os.kill(os.getpid(), signal.SIGBUS)

read_of_a_page_that_is_gone()
"""


def test_a_bus_error_says_where_it_was():
    ended = subprocess.run([sys.executable, "-c", FAULT], capture_output=True, text=True)
    assert ended.returncode == -7
    assert "Bus error" in ended.stderr and "in read_of_a_page_that_is_gone" in ended.stderr
