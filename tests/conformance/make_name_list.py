"""Write fairseq_names.txt: the public names of fairseq 0.12, `module: names`, found by dir(). Run once, with the Python
of an environment that has fairseq 0.12:

    PYTHON_OF_FAIRSEQ_0_12 tests/conformance/make_name_list.py [TARGET]

A package's names are those that it has itself, a module's those that it defines. Left out are examples, modules that
cannot be imported there, names of the standard library and of other packages, and what loops leave behind.
"""

import argparse
import importlib
import pkgutil
import sys
import types
import warnings
from pathlib import Path

TARGET = Path(__file__).with_name("fairseq_names.txt")
ROOTS = ("fairseq", "fairseq_cli")
NO_NAMES = {"file", "file_name", "module", "model_name", "path", "logger", "log", "print_function", "xm"}


def is_public(module: types.ModuleType, name: str) -> bool:
    value = getattr(module, name)
    is_package = hasattr(module, "__path__")
    if name.startswith("_") or name in NO_NAMES or isinstance(value, argparse._ActionsContainer):
        return False
    if isinstance(value, types.ModuleType):
        return is_package and value.__name__.startswith("fairseq.") and ".examples" not in value.__name__
    home = getattr(value, "__module__", None)
    if callable(value):
        return home is not None and (home.startswith("fairseq") if is_package else home == module.__name__)
    return home is None or home.startswith("fairseq")


def main(target: Path) -> None:
    import numpy as np

    if not hasattr(np, "compat"):  # fairseq 0.12 still asks NumPy for Python 2's long
        np.compat = types.SimpleNamespace(long=int)
    warnings.simplefilter("ignore")
    lines = []
    for root in map(importlib.import_module, ROOTS):
        assert not Path(root.__file__).is_relative_to(TARGET.parents[2]), "run this with fairseq 0.12"
        found = [root.__name__]
        found += [info.name for info in pkgutil.walk_packages(root.__path__, root.__name__ + ".", lambda name: None)]
        for name in found:
            if name.startswith("fairseq.examples"):
                continue
            try:
                module = importlib.import_module(name)
            except Exception as error:
                print(f"{name}: {error!r}"[:120], file=sys.stderr)
                continue
            names = sorted(each for each in dir(module) if is_public(module, each))
            lines += [f"{name}: {' '.join(names)}".rstrip()]
    target.write_text("\n".join(sorted(lines)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET)
