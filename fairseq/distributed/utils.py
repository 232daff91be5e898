"""fairseq's import path for everything distributed: collectives, group facts and `call_main`."""

from fairseq.distributed.collectives import *  # noqa: F403
from fairseq.distributed.launch import call_main

__all__ = ["call_main"]
