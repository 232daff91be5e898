"""A run of a model without data: fake tensors of symbolic sizes in place of its inputs, parameters and buffers.

torch's own export runs models in this way; the parts used here are private to torch 2.13.
"""

import contextlib
import linecache
import os
import sysconfig
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import sympy
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from torch.fx.experimental.symbolic_shapes import (
    DimDynamic,
    GuardOnDataDependentSymNode,
    ShapeEnv,
    StatelessSymbolicContext,
)
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_map

from fairseq.errors import ConfigError
from fairseq.graph.attributes import Attributes
from fairseq.graph.leaves import WHOLE

NEEDS_DATA = (DataDependentOutputException, DynamicOutputShapeException, GuardOnDataDependentSymNode)
PYTHON = sysconfig.get_paths()["stdlib"] + os.sep
OURS = tuple(f"{Path(file).parent}{os.sep}" for file in (torch.__file__, sympy.__file__, __file__))


class NotWritten(TypeError):
    """A graph is code: only what can be written there can be an argument."""


def new_fakes() -> FakeTensorMode:
    """A mode for one run. Equal sizes of different inputs are not taken for one size."""
    return FakeTensorMode(shape_env=ShapeEnv(duck_shape=False), allow_non_fake_inputs=True, static_shapes=False)


def fake_inputs(fakes: FakeTensorMode, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Tensors of `inputs` without data; sizes of 2 and more stand for any size, 1 stays 1."""
    return {name: _fake(fakes, name, value) if isinstance(value, Tensor) else value for name, value in inputs.items()}


def _fake(fakes: FakeTensorMode, name: str, value: Tensor) -> Tensor:
    from torch._dynamo.source import ConstantSource  # all of torch's compiler: a second, which reports do without

    sizes = [DimDynamic.DYNAMIC if size > 1 else DimDynamic.STATIC for size in value.shape]
    context: Any = StatelessSymbolicContext(dynamic_sizes=sizes)  # type: ignore[call-arg]
    return fakes.from_tensor(value, source=ConstantSource(name), symbolic_context=context)


class FakeState:
    """Parameters and buffers of a model without data, between entering and leaving. What the model has kept meanwhile,
    in its attributes too, is then gone.

    Attributes:
        names: tensor without data -> its name, by identity; shared ones have the first.
    """

    def __init__(self, model: nn.Module, fakes: FakeTensorMode):
        self.fakes, self.model = fakes, model
        self._before = Attributes(model, stores=True)
        made: dict[int, Tensor] = {}
        self.names: dict[str, Tensor] = {}
        self._places: list[tuple[dict[str, Any], str, Tensor]] = []  # store, key, fake
        for prefix, module in model.named_modules():
            for store in (module._parameters, module._buffers):
                for name, value in store.items():
                    if value is None:
                        continue
                    if id(value) not in made:
                        made[id(value)] = fakes.from_tensor(value, static_shapes=True)
                        self.names[f"{prefix}.{name}".lstrip(".")] = made[id(value)]
                    self._places.append((store, name, made[id(value)]))

    def __enter__(self) -> "FakeState":
        for store, name, fake in self._places:
            store[name] = fake
        return self

    def __exit__(self, *error: object) -> None:
        self._before.restore()

    def really_run(self, call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """What `call` gives, found by running it on made-up numbers: for layers that only run on data.

        A size of its result is that size of the arguments which has the same number, which is why sizes should differ.
        """
        sizes: dict[int, Any] = {}

        def real(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            numbers = []
            for size in value.shape:
                numbers.append(int(size.node.hint) if isinstance(size, torch.SymInt) else size)
                if isinstance(size, torch.SymInt):
                    sizes.setdefault(numbers[-1], size)
            if value.is_floating_point():
                return torch.randn(numbers, dtype=value.dtype, device=value.device)
            return torch.ones(numbers, dtype=value.dtype, device=value.device)

        def fake(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            return torch.empty([sizes.get(size, size) for size in value.shape], dtype=value.dtype, device=value.device)

        meanwhile = Attributes(self.model, stores=True)
        self.__exit__()
        try:
            with _disable_current_modes(), torch.random.fork_rng(), torch.no_grad():
                output = call(*tree_map(real, args), **tree_map(real, kwargs))
        finally:
            self.__exit__()  # what the call has kept
            meanwhile.restore()
        return tree_map(fake, output)


@contextlib.contextmanager
def intercepted_calls(call: Callable[..., Any]) -> Iterator[None]:
    """Calls of modules in this thread go to `call(module, usual, args, kwargs)`.

    Meanwhile `torch.compiler.is_exporting()` is true: models leave out what looks at values then.
    """
    usual, thread, exporting = nn.Module.__call__, threading.get_ident(), torch.compiler._is_exporting_flag

    def intercepted(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() != thread:
            return usual(module, *args, **kwargs)
        return call(module, usual, args, kwargs)

    nn.Module.__call__, torch.compiler._is_exporting_flag = intercepted, True  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Module.__call__ = usual  # type: ignore[method-assign]
        torch.compiler._is_exporting_flag = exporting


@contextlib.contextmanager
def naming_the_statement(model: nn.Module, failed: Callable[[Exception], str]) -> Iterator[None]:
    """Errors of a run without data as one line that says which statement or module is the reason.

    Args:
        failed: gives the path of the module in which an error arose.

    Raises:
        ConfigError: a value of a tensor decides what is computed, or the run fails otherwise.
    """
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        path, where = failed(error), f"{type(model).__name__} cannot be traced"
        own = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_of_torch(frame.filename)]
        if own:
            place = own[-1]
            code = " ".join((place.line or linecache.getline(place.filename, place.lineno or 0)).split())
            where += f" at {place.filename}:{place.lineno}, `{code}`"
        if path:
            where += f", in {path!r}, a {type(model.get_submodule(path)).__name__}"
        raise ConfigError(f"{where}: {_why(error)}{_advice(model, path, error, bool(own))}") from error


def _is_of_torch(file: str) -> bool:
    """Whether a file is no part of a model: torch, this folder, Python itself."""
    return file.startswith((*OURS, "<frozen", "<eval_with_key>")) or (
        file.startswith(PYTHON) and "site-packages" not in file
    )


def _why(error: Exception) -> str:
    if isinstance(error, NEEDS_DATA):
        return "the value of a tensor decides what follows"
    if isinstance(error, NotWritten):
        return str(error)
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}"


def _advice(model: nn.Module, path: str, error: Exception, own: bool) -> str:
    """What helps against `error`, which arose in the module at `path`."""
    name = type(model).__name__
    if isinstance(model, WHOLE):
        return f"; {name} is one node of a graph: trace a module that has it, such as nn.Sequential"
    if not isinstance(error, (*NEEDS_DATA, NotWritten)):
        return ""
    if path:
        return f"; name the module around it as a leaf: {path!r}"
    what = "the statement" if own else name
    return f"; the model itself cannot be a leaf: put {what} into a module of its own, and name that as one"
