"""fairseq's older import path of `fairseq.distributed.utils`."""

from typing import Any

from fairseq.distributed import utils


def __dir__() -> list[str]:
    return dir(utils)


def __getattr__(name: str) -> Any:
    return getattr(utils, name)
