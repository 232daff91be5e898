"""State that a module keeps between steps of incremental decoding, in a dictionary that the caller owns.

Modules hold no state of their own: `incremental_state` maps "<module id>.<key>" to a dict of tensors, so that one
model can serve several decodings at once.

>>> counter, state = FairseqIncrementalState(), {}
>>> _ = counter.set_incremental_state(state, "seen", {"tokens": None})
>>> counter.get_incremental_state(state, "seen"), counter.get_incremental_state({}, "seen")
({'tokens': None}, None)
"""

import uuid
from typing import Any, Optional, TypeVar

from torch import Tensor

IncrementalState = dict[str, dict[str, Optional[Tensor]]]
Cls = TypeVar("Cls", bound=type)


class OwnStates(dict[str, Any]):
    """An incremental state that only modules of this library look into, which may keep in it what is no dict. Who makes
    one vouches for that."""


class FairseqIncrementalState:
    """Mixin, in front of nn.Module among the bases, that gives a module its own entries in `incremental_state`."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.init_incremental_state()

    def init_incremental_state(self) -> None:
        self._incremental_state_id = str(uuid.uuid4())

    def _full_key(self, key: str) -> str:
        return f"{self._incremental_state_id}.{key}"

    def get_incremental_state(
        self, incremental_state: Optional[IncrementalState], key: str
    ) -> Optional[dict[str, Optional[Tensor]]]:
        """What this module stored under `key`, or None."""
        return None if incremental_state is None else incremental_state.get(self._full_key(key))

    def set_incremental_state(
        self, incremental_state: Optional[IncrementalState], key: str, value: dict[str, Optional[Tensor]]
    ) -> Optional[IncrementalState]:
        """Store `value` under `key`; returns the same dictionary."""
        if incremental_state is not None:
            incremental_state[self._full_key(key)] = value
        return incremental_state


def with_incremental_state(cls: Cls) -> Cls:
    """Class decorator that adds the mixin to a class written without it."""
    cls.__bases__ = (FairseqIncrementalState, *(b for b in cls.__bases__ if b is not FairseqIncrementalState))
    return cls
