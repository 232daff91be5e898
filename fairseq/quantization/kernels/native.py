"""C++ of our own as a shared library: compiled for this machine at first use, kept on disk, loaded by `ctypes`.

    library("batched")          # kernels/batched.cpp, or None where there is no compiler

The compiler is `CXX`, or `c++`, `g++`, `clang++`, whichever is found first; it takes about a second. What it makes is
kept in `~/.cache/fairseq` (or under `XDG_CACHE_HOME`) under a name that changes with source, compiler, flags and
processor.
"""

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Optional

import torch

logger = logging.getLogger(__name__)

FLAGS = ("-std=c++17", "-O3", "-shared", "-fPIC", "-pthread")
NATIVE = ("-march=native",)  # some compilers do not know it on some processors: then without
LONGEST_BUILD = 120  # seconds


def cache_folder() -> Path:
    """Where this project keeps what it found out or made for this machine."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fairseq"


@functools.cache
def library(name: str) -> Optional[ctypes.CDLL]:
    """`kernels/NAME.cpp`, compiled; None, said once, where that is not possible."""
    try:
        return ctypes.CDLL(str(_built(Path(__file__).with_name(f"{name}.cpp"))))
    except (OSError, subprocess.SubprocessError) as error:
        reason = getattr(error, "stderr", None) or str(error)
        logger.warning("no %s kernel, torch's own operations instead (%s)", name, reason.splitlines()[0])
        return None


def _built(source: Path) -> Path:
    """The shared library of a source file, compiled if it is not there yet.

    Raises:
        OSError: there is no compiler, or nowhere to write.
        subprocess.SubprocessError: it fails.
    """
    compiler = _compiler()
    text = b"".join(part.read_bytes() for part in (source, *sorted(source.parent.glob("*.h"))))
    described = (compiler, _modified(compiler), FLAGS, NATIVE, platform.machine(), _processor())
    target = cache_folder() / f"{source.stem}-{hashlib.sha256(repr(described).encode() + text).hexdigest()[:16]}.so"
    if target.is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        made = Path(folder) / target.name
        try:
            _compile([compiler, *FLAGS, *NATIVE, str(source), "-o", str(made)])
        except subprocess.CalledProcessError:
            _compile([compiler, *FLAGS, str(source), "-o", str(made)])
        os.replace(made, target)  # several processes may build at once: each puts a whole file there
    return target


def _compile(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=LONGEST_BUILD)


def _compiler() -> str:
    for name in (os.environ.get("CXX"), "c++", "g++", "clang++"):
        if name and (found := shutil.which(name)):
            return found
    raise FileNotFoundError("no C++ compiler; CXX names one")


def _modified(compiler: str) -> int:
    return Path(compiler).stat().st_mtime_ns


def _processor() -> str:
    """What tells processors apart that do not run each other's code: a home folder may serve several machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    told = dict.fromkeys(line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part")))
    return f"{torch.backends.cpu.get_cpu_capability()} {platform.processor()} {sorted(told)}"
