"""`record`: a graph of modules from one run of a model on fake tensors.

The run has no data, only shapes, and sizes that stand for any size. What is seen on the way becomes nodes:

    call_module     a leaf: a layer that is called as a module, with its own arguments
    call_function   a function of torch; a method is a call_method
    get_attr        a parameter, a buffer or another tensor that a function uses
    placeholder     an input; sizes that later nodes need are read from it

A graph holds for the branches that the run has taken: which inputs were given, training or evaluation.
"""

import functools
import operator
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_aggregate
from torch.overrides import TorchFunctionMode
from torch.utils._sympy.interp import sympy_interp
from torch.utils._sympy.reference import PythonReferenceAnalysis

from fairseq.errors import ConfigError
from fairseq.graph.equality import quantizers_unchanged
from fairseq.graph.fake_run import (
    FakeState,
    NotWritten,
    fake_inputs,
    intercepted_calls,
    naming_the_statement,
    new_fakes,
)
from fairseq.graph.leaves import Leaves
from fairseq.graph.plain_torch import without_fast_path, without_log
from fairseq.graph.quantized_call import QuantizedCall
from fairseq.quantization.functions.base import QuantizedFunction

SYMBOLIC = (torch.SymInt, torch.SymFloat, torch.SymBool)
NUMBERS_AND_TEXTS: tuple[Any, ...] = (bool, int, float, complex, str)
WRITTEN = (*fx.node.base_types, *NUMBERS_AND_TEXTS, type(None), type(...), bytes, set, frozenset, range)
GRAD_MODE = {"_set_grad_enabled"}  # returns nothing, and changes what follows


class Recorder(TorchFunctionMode):
    """Writes down a run.

    Args:
        model: the module that runs.
        leaves: which of its modules become one node.

    Attributes:
        graph: what has been written.
        constants: attribute name -> tensor, for tensors that are neither an input nor the model's.
    """

    sees_calls = True  # compiled kernels step aside: see `fairseq.native.compiled`

    def __init__(self, model: nn.Module, state: FakeState, leaves: Leaves):
        super().__init__()
        self.state, self.leaves = state, leaves
        self.graph = fx.Graph()
        self.constants: dict[str, Tensor] = {}
        self.stack: list[str] = []  # paths of the modules that are under way
        self._tracer = fx.proxy.GraphAppendingTracer(self.graph)
        self._paths = {id(module): path for path, module in model.named_modules()}
        self._nodes: dict[int, fx.Node] = {}
        self._alive: list[Any] = []  # ids are of objects that live
        self._attributes: dict[int, str] = {}
        self._sizes: dict[Any, Any] = {}  # sympy expression -> proxy
        self._quiet = 0
        self._failed: tuple[Optional[Exception], str] = (None, "")
        for name, value in state.names.items():
            self._attributes[id(value)] = name

    # --- values ---------------------------------------------------------------------------------------------------

    def bind(self, value: Tensor, node: fx.Node) -> None:
        """From now on `value` is what `node` gives."""
        self._nodes[id(value)] = node
        self._alive.append(value)

    def placeholder(self, name: str, value: Any) -> None:
        """An input, and its sizes."""
        node = self.graph.placeholder(name)
        if not isinstance(value, Tensor):
            return
        self.bind(value, node)
        for axis, size in enumerate(value.shape):
            if isinstance(size, torch.SymInt):
                self._sizes.setdefault(size.node.expr, (node, axis))
        node.meta["value"] = value

    def argument(self, value: Any) -> Any:
        """What stands for `value` in a node's arguments."""
        return map_aggregate(_plain(value), self._argument)  # type: ignore[arg-type]

    def _argument(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return self._node_of(value)
        if isinstance(value, SYMBOLIC):
            return self._size(value)
        return _written(value)

    def _node_of(self, value: Tensor) -> fx.Node:
        node = self._nodes.get(id(value))
        if node is None:
            name = self._attributes.get(id(value))
            if name is None:
                name = f"_tensor_constant{len(self.constants)}"
                self.constants[name] = value
            node = self.graph.create_node("get_attr", name)
            node.meta["value"] = value
            self.bind(value, node)
        return node

    def _size(self, value: Any) -> Any:
        """A symbolic size: a number if the run has fixed it, else nodes that compute it from sizes of inputs."""
        expression = value.node.shape_env.replace(value.node.expr)
        if expression.is_number:
            return value.node.pytype(expression)
        for symbol in expression.free_symbols | {expression}:
            found = self._sizes.get(symbol)
            if isinstance(found, tuple):
                node, axis = found
                self._sizes[symbol] = self._tracer.proxy(self.graph.call_method("size", (node, axis)))
        if expression not in self._sizes:
            known = {symbol: self._sizes[symbol] for symbol in expression.free_symbols}
            self._sizes[expression] = sympy_interp(PythonReferenceAnalysis, known, expression)
        return self._sizes[expression].node

    # --- calls ----------------------------------------------------------------------------------------------------

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Optional[Mapping[str, Any]] = None
    ) -> Any:
        kwargs = kwargs or {}
        if self._quiet:
            return func(*args, **kwargs)
        versions = _versions((args, kwargs))
        output = func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        if name in GRAD_MODE:
            self.graph.call_function(func, args)
        elif name in ("__setitem__", "__set__") or _has_tensor(output):
            output = self._call(*_target(func, args, kwargs), output, versions)
        return output

    def module(self, module: nn.Module, call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """A module is called."""
        try:
            return self._module(module, call, args, kwargs)
        except Exception as error:
            path = self._paths.get(id(module))
            if path and self._failed[0] is not error:
                self._failed = error, path
            raise

    def failed(self, error: Exception) -> str:
        """The path of the innermost module of the model that has raised `error`."""
        return self._failed[1] if self._failed[0] is error else ""

    def _module(self, module: nn.Module, call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        path = self._paths.get(id(module))
        if self._quiet or path is None or not path:
            return call(module, *args, **kwargs)  # one that was made on the way is part of its maker
        if isinstance(module, QuantizedFunction):
            function, *rest = args
            versions = _versions((rest, kwargs))
            self._quiet += 1
            try:
                output = call(module, *args, **kwargs)
            finally:
                self._quiet -= 1
            return self._call("call_function", QuantizedCall(module, function), rest, kwargs, output, versions)
        if not self.leaves.has(path, module):
            self.stack.append(path)
            try:
                return call(module, *args, **kwargs)
            finally:
                self.stack.pop()
        versions = _versions((args, kwargs))
        self._quiet += 1
        try:
            output = call(module, *args, **kwargs)
        except Exception:  # it looks at values, or torch has no rule for its sizes
            output = self.state.really_run(functools.partial(call, module), args, kwargs)
        finally:
            self._quiet -= 1
        return self._call("call_module", path, args, kwargs, output, versions)

    def _call(self, kind: str, target: Any, args: Any, kwargs: Any, output: Any, versions: Mapping[int, int]) -> Any:
        node = self.graph.create_node(kind, target, self.argument(tuple(args)), self.argument(dict(kwargs)))
        node.meta["owner"] = self.stack[-1] if self.stack else ""
        self._quiet += 1
        try:
            output = self._results(node, output, versions)
        finally:
            self._quiet -= 1
        node.meta["value"] = output
        return output

    def _results(self, node: fx.Node, output: Any, versions: Mapping[int, int]) -> Any:
        """Bind what a call has returned; parts of a tuple or mapping are nodes of their own."""
        if isinstance(output, Tensor):
            if id(output) in versions and output._version == versions[id(output)]:
                output = output.view_as(output)  # an argument, unchanged: dropout in evaluation. It keeps its own node
            self.bind(output, node)
            return output
        if isinstance(output, (tuple, list)) and _has_tensor(output):
            parts = []
            for index, part in enumerate(output):
                if _has_tensor(part):
                    item = self.graph.call_function(operator.getitem, (node, index))
                    item.meta["owner"] = node.meta["owner"]
                    part = self._results(item, part, versions)
                    item.meta["value"] = part
                parts.append(part)
            return type(output)(*parts) if hasattr(output, "_fields") else type(output)(parts)
        if isinstance(output, Mapping) and _has_tensor(list(output.values())):
            for key, part in output.items():
                if _has_tensor(part):
                    item = self.graph.call_function(operator.getitem, (node, key))
                    item.meta["owner"] = node.meta["owner"]
                    self._results(item, part, versions)
                    item.meta["value"] = part
        return output


class Recording(NamedTuple):
    """What `record` has seen.

    Attributes:
        graph: nodes; `meta["value"]` is what a node gives, on fake tensors, and `meta["owner"]` the path of the module
            whose forward calls it.
        constants: attribute name -> tensor, for tensors that are neither an input nor the model's.
    """

    graph: fx.Graph
    constants: dict[str, Tensor]


def record(model: nn.Module, inputs: Mapping[str, Any], leaves: Leaves) -> Recording:
    """Run `model` on fake copies of `inputs`, by name of forward's parameter.

    Raises:
        ConfigError: a value decides what is computed; names the statement. Or the output holds other things than
            tensors, numbers and texts.
    """
    fakes = new_fakes()
    with quantizers_unchanged(model), without_fast_path(), without_log(), fakes, FakeState(model, fakes) as state:
        recorder, given = Recorder(model, state, leaves), fake_inputs(fakes, inputs)
        for name, value in given.items():
            recorder.placeholder(name, value)
        with intercepted_calls(recorder.module), naming_the_statement(model, recorder.failed), recorder:
            output = model(**given)
        try:
            recorder.graph.output(recorder.argument(output))
        except NotWritten as error:
            cached = getattr(getattr(model, "config", None), "use_cache", False)
            advice = "set model.config.use_cache = False" if cached else "trace a module around it that gives tensors"
            raise ConfigError(f"{type(model).__name__} gives {error}; {advice}") from None
    return Recording(recorder.graph, recorder.constants)


def _written(value: Any) -> Any:
    """`value`, if code can have it. Subclasses of numbers and texts, such as NumPy's and enums, are plain ones."""
    for kind in NUMBERS_AND_TEXTS:
        if isinstance(value, kind):
            return value if type(value) is kind else kind.__new__(kind, kind.__str__(value) if kind is str else value)
    if not isinstance(value, WRITTEN):
        raise NotWritten(f"a {type(value).__name__}, which a graph cannot hold")
    return value


def _plain(value: Any) -> Any:
    """Output objects of models as dicts, sizes as tuples."""
    if isinstance(value, torch.Size):
        return tuple(value)
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return tuple(_plain(part) for part in value)
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    return value


def _target(func: Any, args: Any, kwargs: Any) -> tuple[str, Any, Any, Any]:
    """A node's kind, target and arguments for a call of `func`."""
    name = getattr(func, "__name__", "")
    if name == "__get__":
        return "call_function", getattr, (args[0], func.__self__.__name__), {}
    if name == "__set__":
        return "call_function", setattr, (args[0], func.__self__.__name__, args[1]), {}
    if getattr(Tensor, name, None) is func:
        return "call_method", name, args, kwargs
    return "call_function", func, args, kwargs


def _has_tensor(value: Any) -> bool:
    if isinstance(value, Tensor):
        return True
    if isinstance(value, Mapping):
        return any(_has_tensor(part) for part in value.values())
    return isinstance(value, (tuple, list)) and any(_has_tensor(part) for part in value)


def _versions(values: Any) -> dict[int, int]:
    """The version of every tensor in `values`, by identity: it counts changes in place."""
    found: dict[int, int] = {}

    def look(value: Any) -> None:
        if isinstance(value, Tensor):
            found[id(value)] = value._version
        elif isinstance(value, Mapping):
            for part in value.values():
                look(part)
        elif isinstance(value, (tuple, list)):
            for part in value:
                look(part)

    look(values)
    return found
