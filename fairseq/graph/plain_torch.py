"""torch as tracing needs it: one road through its transformer layers, and no log of its own.

In evaluation nn.TransformerEncoder packs padded sentences into nested tensors, for which there are no symbolic sizes,
and gives zeros where they were padded; of a mask of numbers it hides all but 0. It looks at the values of a mask as
well, to see whether a faster kernel does.
"""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any, Optional

import torch
from torch.nn.modules import transformer


@contextlib.contextmanager
def without_fast_path() -> Iterator[None]:
    """Layers of torch compute what they do in training, and take a mask as it is."""
    enabled, looks = torch.backends.mha.get_fastpath_enabled(), transformer._detect_is_causal_mask
    torch.backends.mha.set_fastpath_enabled(False)  # type: ignore[no-untyped-call]
    transformer._detect_is_causal_mask = _as_given
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)  # type: ignore[no-untyped-call]
        transformer._detect_is_causal_mask = looks


def _as_given(mask: Any, is_causal: Optional[bool] = None, size: Optional[int] = None) -> bool:
    return is_causal is True  # else the mask is used, which gives the same


@contextlib.contextmanager
def without_log() -> Iterator[None]:
    """torch logs a traceback of a layer that does not take its input; the error that follows says it in a line."""
    known = [logging.getLogger(name) for name in list(logging.Logger.manager.loggerDict) if name.startswith("torch.")]
    quiet = [logger for logger in known if not logger.disabled]
    for logger in quiet:
        logger.disabled = True
    try:
        yield
    finally:
        for logger in quiet:
            logger.disabled = False
