"""Plugins: `--user-dir` / `common.user_dir`, a folder of the user's that registers models, tasks and so on."""

import importlib
import sys
from pathlib import Path
from typing import Any, Optional

from fairseq.errors import ConfigError


def import_user_module(args: Any) -> None:
    """Import the plugin folder named by `--user-dir` / `common.user_dir` as a top-level module, once.

    The folder's `tasks/` and `models/` sub-packages are imported too, so that their `@register_...` decorators run.
    """
    user_dir: Optional[str] = getattr(args, "user_dir", None)
    if not user_dir:
        return
    path = _user_module_path(user_dir)
    loaded = sys.modules.get(path.name)
    if loaded is not None:
        if Path(loaded.__file__ or "").resolve() != path / "__init__.py":
            raise ConfigError(
                f"--user-dir {path}: a module named {path.name!r} is loaded already, from {loaded.__file__}; "
                "rename the folder"
            )
        return
    sys.path.insert(0, str(path.parent))
    try:
        importlib.import_module(path.name)
        for part in ("tasks", "models"):
            _import_submodules(path, part)
    finally:
        sys.path.remove(str(path.parent))


def _user_module_path(user_dir: str) -> Path:
    """`user_dir` as given, or below the package or its parent (`examples/...`)."""
    here = Path(__file__).resolve().parent
    for candidate in (Path(user_dir), here / user_dir, here.parent / user_dir):
        if candidate.is_dir():
            return candidate.resolve()
    raise ConfigError(f"--user-dir {user_dir}: no such folder (started in {Path.cwd()})")


def _import_submodules(path: Path, part: str) -> None:
    if not (path / part / "__init__.py").is_file():
        return
    importlib.import_module(f"{path.name}.{part}")
    for file in sorted((path / part).iterdir()):
        if file.name.startswith(("_", ".")):
            continue
        if file.suffix == ".py" or (file.is_dir() and (file / "__init__.py").is_file()):
            importlib.import_module(f"{path.name}.{part}.{file.stem}")
