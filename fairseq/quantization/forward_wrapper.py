"""`ForwardWrapper`: stands in the place of one module's `forward`, and goes where the module goes.

It is no pair of hooks, because PyTorch runs no hook when an interrupt ends a forward. A copy or pickle of the module
takes its wrapper along; replicas that share a module's attributes (nn.DataParallel, copy.copy) say which of them is
called. A forward that was replaced before is called in its turn.

>>> class Twice(ForwardWrapper):
...     def __call__(self, *args, **kwargs):
...         module, forward, args = self.resolve(args)
...         return 2 * forward(*args, **kwargs)
>>> layer = nn.Identity()
>>> wrapper = Twice(layer)
>>> wrapper.install()
>>> layer(3)
6
>>> wrapper.remove()
>>> layer(3), "forward" in vars(layer)
(3, False)
"""

import inspect
from typing import Any, NamedTuple, Optional

from torch import nn
from torch.utils.hooks import RemovableHandle

from fairseq.quantization.call_state import untraced


class _Replica(NamedTuple):
    """Says of which copy of the module this is the call."""

    module: nn.Module


class ForwardWrapper:
    """In the place of `module.forward`; a subclass has `__call__`.

    Attributes:
        module: whose forward it is.
        is_installed: False where somebody has wrapped this one and kept it beyond `remove`.
    """

    def __init__(self, module: nn.Module):
        self.module = module
        self._replaced = vars(module).get("forward")  # of the instance's own
        self.is_installed = False
        self._handle: Optional[RemovableHandle] = None

    @property
    def _own_forward(self) -> Any:
        """The module's own forward, as a method."""
        return self._replaced if self._replaced is not None else type(self.module).forward.__get__(self.module)

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self._own_forward)

    @property
    def __code__(self) -> Any:  # torch.export notes where a forward was written
        return self._own_forward.__code__

    @untraced
    def resolve(self, args: tuple[Any, ...]) -> tuple[nn.Module, Any, tuple[Any, ...]]:
        """The module that is called, its own forward as a function, and the arguments for that."""
        module = self.module
        if args and isinstance(args[0], _Replica):
            module, args = args[0].module, args[1:]
        if self._replaced is not None:
            return module, self._replaced, args
        # the class's, with the module as an argument: as its method it would be looked up again
        return module, type(module).forward, (module, *args)

    def install(self) -> None:
        """Take the place of `module.forward`."""
        self.module.forward = self  # type: ignore[method-assign, assignment]
        self.is_installed = True
        self._handle = self.module.register_forward_pre_hook(self._before, prepend=True)

    def remove(self) -> None:
        """Give `module.forward` back."""
        self.is_installed = False
        if self._handle is not None:
            self._handle.remove()
        if vars(self.module).get("forward") is self:
            if self._replaced is not None:
                self.module.forward = self._replaced
            else:
                del self.module.forward

    def _before(self, module: nn.Module, args: tuple[Any, ...]) -> Optional[tuple[Any, ...]]:
        """Forward pre-hook: replicas of a module share its attributes, this forward too."""
        return None if module is self.module else (_Replica(module), *args)
