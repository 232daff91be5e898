"""Plain attributes of modules as they were, after runs in which a model keeps something: a mask for the next call, a
list of attention weights. A graph is a view, so that tracing leaves no trace; and what a run without data keeps has no
data.

>>> layer = nn.Linear(2, 2)
>>> before = Attributes(layer)
>>> layer.last_input = 1
>>> before.restore()
>>> hasattr(layer, "last_input")
False
"""

import operator
from collections import OrderedDict, defaultdict, deque
from typing import Any

from torch import nn

STORES = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set")
CONTAINERS = (list, dict, OrderedDict, defaultdict, set, deque)  # exactly these: a subclass may forbid changes
OF_EVERY_MODULE = frozenset(nn.Module().__dict__)  # the stores, hooks and the mode


class Attributes:
    """What modules of `model` have as plain attributes now, with the contents of lists, dicts and sets in them.

    Args:
        stores: also which parameters, buffers and submodules each has.
    """

    def __init__(self, model: nn.Module, stores: bool = False):
        self._modules: list[tuple[dict[str, Any], dict[str, Any]]] = []  # attributes of a module, and their copy
        self._containers: list[tuple[Any, Any]] = []
        self._seen: set[int] = set()
        for module in model.modules():
            plain = {name: value for name, value in module.__dict__.items() if name not in OF_EVERY_MODULE}
            self._modules.append((module.__dict__, plain))
            self._look(list(plain.values()))
            if stores:
                self._containers.extend((store, store.copy()) for store in map(module.__dict__.__getitem__, STORES))

    def _look(self, values: list[Any]) -> None:
        """Copy containers among `values`, and those in them."""
        while values:
            value = values.pop()
            if type(value) not in (*CONTAINERS, tuple) or id(value) in self._seen:
                continue
            self._seen.add(id(value))
            if type(value) is not tuple:
                self._containers.append((value, value.copy()))
            values.extend(value.values() if isinstance(value, dict) else value)

    def restore(self) -> None:
        """Put all of them back."""
        for attributes, plain in self._modules:
            for name in [name for name in attributes if name not in OF_EVERY_MODULE and name not in plain]:
                del attributes[name]
            attributes.update(plain)
        for container, copy in self._containers:
            if not _same(container, copy):
                container.clear()
                (container.extend if isinstance(container, (list, deque)) else container.update)(copy)


def _same(container: Any, copy: Any) -> bool:
    """Whether both hold the same objects in the same order."""
    if isinstance(container, dict) and not _same(list(container.values()), list(copy.values())):
        return False
    return len(container) == len(copy) and all(map(operator.is_, container, copy))
