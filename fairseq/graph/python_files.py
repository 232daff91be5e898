"""Models that Python code makes: `FILE.py:CALLABLE` and `package.module:CALLABLE`. That code runs.

A file finds its neighbours, as with `python FILE.py`: its folder leads `sys.path` while it is loaded and its callable
is called.
"""

import ast
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Optional

from torch import nn

from fairseq.errors import ConfigError, FairseqError, reason, unknown

FILE_STATE = "__file_state__"  # of a module made here: its path, and when it was written
NEIGHBOUR_OF = "__neighbour_of__"  # of a module that such a file has imported from its folder: that folder
NAMED = 5  # callables in a message


def model_of_code(source: str) -> nn.Module:
    """What the callable that `source` names gives, or the module that it is.

    Raises:
        ConfigError: no such file, package or name; code that fails; no nn.Module.
    """
    place = source.rpartition(":")[0]
    with _neighbours(Path(place).resolve().parent if place.endswith(".py") else None):
        return _model_of_code(source)


def check_is_model(path: Path) -> None:
    """Raise ConfigError for a file that can never be a model, though it belongs to one: code, a configuration."""
    if path.suffix == ".py":
        names = _callables(path)
        listed = f", one of {', '.join(names[:NAMED])}{', ...' if len(names) > NAMED else ''}" if names else ""
        raise ConfigError(f"{path}: name what makes the model, {path}:{names[0] if names else 'CALLABLE'}{listed}")
    if path.suffix in (".toml", ".yaml", ".yml"):
        raise ConfigError(
            f"{path} is a configuration, no model; fairseq-graph transform --config {path} --out DIR makes the model"
        )


def _callables(path: Path) -> list[str]:
    """Functions and classes of modules in a file, which is not run."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError, RecursionError):
        return []
    kinds = (ast.FunctionDef, ast.ClassDef)
    found = [node for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]
    return [node.name for node in sorted(found, key=_needs)]


def _needs(node: ast.AST) -> int:
    """How many arguments a function needs, so that those come first that can be called without any."""
    body = node.body if isinstance(node, ast.ClassDef) else []
    starts = [each for each in body if isinstance(each, ast.FunctionDef) and each.name == "__init__"]
    function = node if isinstance(node, ast.FunctionDef) else starts[0] if starts else None
    if function is None:
        return 0
    args = function.args
    given = len(args.defaults) + (function is not node)  # self
    lacking = sum(default is None for default in args.kw_defaults)
    return len(args.posonlyargs) + len(args.args) - given + lacking


@contextmanager
def _neighbours(folder: Optional[Path]) -> Iterator[None]:
    """`folder` first on `sys.path`; modules that another folder has under a name of its own are loaded anew."""
    if folder is None:
        yield
        return
    before = set(sys.modules)
    for name, module in list(sys.modules.items()):
        other = getattr(module, "__dict__", {}).get(NEIGHBOUR_OF, str(folder))  # a lazy module would load by getattr
        if other != str(folder) and any(place.is_file() for place in _places(folder, name)):
            del sys.modules[name]
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            own = getattr(sys.modules[name], "__dict__", {})
            if own.get("__file__") in [str(place) for place in _places(folder, name)]:
                own[NEIGHBOUR_OF] = str(folder)


def _places(folder: Path, name: str) -> tuple[Path, Path]:
    """Where the module `name` is, if `folder` has it."""
    path = folder.joinpath(*name.split("."))
    return path.with_name(f"{path.name}.py"), path / "__init__.py"


def _model_of_code(source: str) -> nn.Module:
    place, _, name = source.rpartition(":")
    module = _file(Path(place), source) if place.endswith(".py") else _package(place, source)
    if not hasattr(module, name):
        public = [word for word in vars(module) if not word.startswith("_")]
        raise ConfigError(unknown("name", name, public, where=place))
    found = getattr(module, name)
    if not isinstance(found, nn.Module):
        if not callable(found):
            raise ConfigError(
                f"{source}: neither an nn.Module nor a function that makes one, but {type(found).__name__}"
            )
        try:
            found = found()
        except FairseqError:
            raise
        except (Exception, SystemExit) as error:
            what = "cannot be called without arguments" if isinstance(error, TypeError) else "fails"
            raise ConfigError(f"{source}: {what}: {_said(error)}") from error
    if not isinstance(found, nn.Module):
        raise ConfigError(f"{source}: gives {type(found).__name__}, no nn.Module")
    return found


def _file(path: Path, source: str) -> Any:
    """The module of a file; one that is loaded already and has not changed is not run again."""
    if not path.is_file():
        raise ConfigError(f"{source}: no file {path}")
    path = path.resolve()
    known, status = sys.modules.get(path.stem), path.stat()
    state = str(path), status.st_mtime_ns, status.st_size
    if known is not None and getattr(known, FILE_STATE, None) == state:
        return known
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    setattr(module, FILE_STATE, state)
    before = sys.modules.get(path.stem)
    if before is None or hasattr(before, FILE_STATE):
        sys.modules[path.stem] = module  # dataclasses and pickling look there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # a script that ends itself would end the command without a word
        if sys.modules.get(path.stem) is module:
            del sys.modules[path.stem]
        raise ConfigError(f"{source}: {path} cannot be run: {_said(error)}") from error
    return module


def _said(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"it ends the program (sys.exit({error.code!r})); guard that by `if __name__ == '__main__'`"
    return f"{type(error).__name__}: {reason(error)}"


def _package(name: str, source: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigError(f"{source}: no module {error.name!r}; for a file, give FILE.py:CALLABLE") from None
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{source}: {name} cannot be imported: {_said(error)}") from error
