"""Handing `num_bits` on, from call to call, to whatever takes it.

    x = self.fc1(x, **bits_for(self.fc1, num_bits))

A module of a plugin whose forward knows no `num_bits` is called as ever; what it calls in turn runs at the bits of the
model's call (`context.py` says what `num_bits` means). Without bits nothing is handed on and nothing is looked up.

>>> class Takes:
...     def forward(self, x, num_bits=None): ...
>>> class Does_not:
...     def forward(self, x, **more): ...
>>> bits_for(Takes(), 4), bits_for(Takes(), None), bits_for(Does_not(), 4)
({'num_bits': 4}, {}, {})
"""

import functools
import inspect
from typing import Any, Optional


def bits_kwargs(num_bits: Optional[int]) -> dict[str, int]:
    """Keyword arguments for the call of a whole model: a quantized one takes `num_bits` whatever its forward knows."""
    return {} if num_bits is None else {"num_bits": num_bits}


def bits_for(module: Any, num_bits: Optional[int], method: str = "forward") -> dict[str, int]:
    """Keyword arguments for a call of `module`: `num_bits`, if there are any and the module's `method` names them."""
    if num_bits is None or not _takes_bits(type(module), method):  # type: ignore[arg-type]  # a class is hashable
        return {}
    return {"num_bits": num_bits}


@functools.cache
def _takes_bits(kind: type, method: str) -> bool:
    return "num_bits" in inspect.signature(getattr(kind, method)).parameters
