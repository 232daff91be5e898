"""The part of a task that is saved in checkpoints."""

from collections.abc import Callable
from typing import Any


class StatefulContainer:
    """What a task computes once and checkpoints carry: attributes made on first use, or taken from a checkpoint.

    >>> state = StatefulContainer()
    >>> state.add_factory("answer", lambda: 42)
    >>> state.answer, state.state_dict
    (42, {'answer': 42})
    """

    def __init__(self) -> None:
        self._state: dict[str, Any] = {}
        self._factories: dict[str, Callable[[], Any]] = {}

    def add_factory(self, name: str, factory: Callable[[], Any]) -> None:
        """Make attribute `name` by calling `factory` when it is first read, unless a checkpoint has brought it."""
        self._factories[name] = factory

    def merge_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the entries of a saved state."""
        self._state.update(state_dict)

    @property
    def state_dict(self) -> dict[str, Any]:
        return self._state

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or (name not in self._state and name not in self._factories):
            raise AttributeError(f"the task's state has no {name!r}")
        if name not in self._state:
            self._state[name] = self._factories[name]()
        return self._state[name]
