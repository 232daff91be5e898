"""Where relative paths lead when a command runs under Hydra.

What is read is relative to the folder the command was started in (Hydra's job does not change folders). What is
written:

| setting                                   | one job                      | a job of a sweep                |
| ----------------------------------------- | ---------------------------- | ------------------------------- |
| `checkpoint.save_dir` left alone          | RUN_DIR/checkpoints          | JOB_DIR/checkpoints             |
| a relative folder or file that was given  | in the folder of the command | in JOB_DIR, so that jobs do not |
|                                           |                              | overwrite each other            |
| an absolute one                           | there                        | there                           |

With `hydra.job.chdir=true` all of these are made absolute first, so they mean the same. `~/` is the home folder.
"""

import os
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any, Optional

from omegaconf import DictConfig, OmegaConf

from fairseq.dataclass import schema

RUN_DIR = "${hydra:runtime.output_dir}"


def place(cfg: DictConfig, given: Mapping[str, Any], *, sweep: bool, chdir: bool) -> None:
    """Set the paths in the typed `cfg`; `given` is what files and words gave, by group and key."""
    if not (given.get("checkpoint") or {}).get("save_dir"):
        cfg.checkpoint.save_dir = f"{RUN_DIR}/checkpoints"
    for group in (*schema.GROUPS, *schema.SLOTS):
        node = cfg._get_node(group)
        dataclass = OmegaConf.get_type(node) if isinstance(node, DictConfig) else None
        if not isinstance(node, DictConfig) or not is_dataclass(dataclass):
            continue
        for key, declared in schema.keys_of(dataclass).items():  # type: ignore[arg-type]
            kind = declared.metadata.get("path")
            values = given.get(group)
            value = values.get(key) if kind and isinstance(values, Mapping) else None
            if isinstance(value, str) and value and not schema.is_missing(value):
                node[key] = _placed(value, kind, sweep, chdir)


def _placed(value: str, kind: Optional[str], sweep: bool, chdir: bool) -> str:
    if kind == "out":
        path = os.path.expanduser(value)
        if os.path.isabs(path) or path.startswith("${"):
            return path
        if sweep:
            return f"{RUN_DIR}/{path}"
        return os.path.abspath(path) if chdir else path
    if "://" in value or "${" in value:
        return value
    return ":".join(_input(part, chdir) for part in value.split(":"))


def _input(path: str, chdir: bool) -> str:
    path = os.path.expanduser(path)
    # a bare name that is not here is no path: checkpoint_last.pt means the one in save_dir
    if chdir and (os.path.dirname(path) or os.path.exists(path)):
        return os.path.abspath(path)
    return path
