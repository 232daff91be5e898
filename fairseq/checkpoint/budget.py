"""How much a model that is built from a file may allocate: a config can ask for terabytes in a few bytes.

    with Budget.of(state["model"], "checkpoint_best.pt"):
        model = task.build_model(cfg.model)

Every tensor that is made in the block is counted before it is made. A model is about as large as its weights in the
file; what it may take beyond them covers tables that are not stored, such as sinusoidal positions.

>>> with Budget(1000, "checkpoint c.pt"):
...     _ = torch.nn.Linear(10, 10)
...     _ = torch.nn.Linear(10_000_000, 10_000_000)
Traceback (most recent call last):
...
fairseq.errors.CheckpointError: checkpoint c.pt: its config asks for a model much larger than its weights; the file is \
damaged, use another copy of it
"""

from collections.abc import Callable, Mapping
from typing import Any, Optional

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from fairseq.errors import CheckpointError

RATIO, FREE = 4, 1 << 24  # times the elements in the file, plus
PER_TENSOR = 1 << 13  # elements: about what modules, parameters and their dicts weigh in Python
SIZED = {torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn, torch.full}
COUNTED = {torch.arange, torch.linspace, torch.randperm, torch.eye}


class Budget(TorchFunctionMode):
    """Raises CheckpointError where more elements are about to be made.

    Args:
        elements: how many may be.
        where: the file, for the message.
    """

    def __init__(self, elements: int, where: str):
        super().__init__()
        self.left, self.where = elements, where

    @classmethod
    def of(cls, weights: Mapping[str, Any], filename: str) -> "Budget":
        """For the model whose weights are `weights`."""
        stored = sum(value.numel() + PER_TENSOR for value in weights.values() if isinstance(value, Tensor))
        return cls(RATIO * stored + FREE, f"checkpoint {filename}")

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple = (), kwargs: Optional[dict[str, Any]] = None
    ) -> Any:
        kwargs = kwargs or {}
        requested = _elements(func, args, kwargs)
        if requested is not None:
            self.left -= requested + PER_TENSOR
            if self.left < 0:
                raise CheckpointError(
                    f"{self.where}: its config asks for a model much larger than its weights; the file is damaged, use "
                    "another copy of it"
                )
        return func(*args, **kwargs)


def _elements(func: Callable[..., Any], args: tuple, kwargs: Mapping[str, Any]) -> Optional[int]:
    """How many elements the call of a factory makes; None for other functions."""
    if func in SIZED:
        size = kwargs.get("size", args[0] if args and isinstance(args[0], (tuple, list)) else args)
        return _product(size)
    if func in COUNTED:
        numbers = [*args, *(kwargs[name] for name in ("start", "end", "n", "m", "steps") if name in kwargs)]
        longest = max((abs(int(number)) for number in numbers if isinstance(number, (int, float))), default=0)
        return longest**2 if func is torch.eye else longest
    return None


def _product(size: Any) -> int:
    count = 1
    for length in size if isinstance(size, (tuple, list)) else (size,):
        count *= length if isinstance(length, int) and length > 0 else 1
    return count
