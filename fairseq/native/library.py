"""C++ of our own as a shared library: compiled for this machine at first use, kept on disk, loaded by `ctypes`.

    library("norm")             # native/src/norm.cpp, or None where there is no compiler
    library("gemm", folder)     # folder/gemm.cpp; it may include this folder's headers and those of native/src

The compiler is `CXX`, or `c++`, `g++`, `clang++`, whichever is found first; it takes about a second. What it makes is
kept in `~/.cache/fairseq` (or under `XDG_CACHE_HOME`) under a name that changes with source, compiler, flags and
processor. What other users could have written is not loaded, but built anew (`trusted`).
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

from fairseq.native import announce, trusted

logger = logging.getLogger(__name__)

FLAGS = ("-std=c++17", "-O3", "-shared", "-fPIC", "-pthread")
NATIVE = ("-march=native",)  # left out where the compiler does not know the processor
MAX_BUILD_SECONDS = 120
SOURCES = Path(__file__).with_name("src")


def pointer(x: Optional[torch.Tensor]) -> ctypes.c_void_p:
    """The address of a tensor's data, as an argument of a C function; null without a tensor."""
    return ctypes.c_void_p(None if x is None else x.data_ptr())


def cache_folder() -> Path:
    """The folder for compiled libraries and measurements of this machine."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fairseq"


@functools.cache
def library(name: str, folder: Path = SOURCES, uses_torch: bool = False) -> Optional[ctypes.CDLL]:
    """`folder`/NAME.cpp, compiled; None, with one warning, where that is not possible.

    Args:
        uses_torch: it includes headers of torch's c10 and is linked with it.
    """
    try:
        return ctypes.CDLL(str(_built(folder / f"{name}.cpp", uses_torch)))
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:  # RuntimeError: there is no home folder
        reason = getattr(error, "stderr", None) or str(error)
        logger.warning("no %s kernel, torch's own operations instead (%s)", name, reason.splitlines()[0])
        return None


def required(name: str, instead: str, folder: Path = SOURCES) -> ctypes.CDLL:
    """`library`, for callers that have checked that it is there.

    Raises:
        RuntimeError: it is not; `instead` says what to use.
    """
    found = library(name, folder)
    if found is None:
        raise RuntimeError(f"no C++ compiler for the kernel {name}; use {instead}")
    return found


def is_built(name: str, folder: Path = SOURCES, uses_torch: bool = False) -> bool:
    """Whether `library` would find it on disk."""
    try:
        target = _target(folder / f"{name}.cpp", uses_torch)
        return target.is_file() and trusted.distrust(target) is None and trusted.distrust(target.parent) is None
    except OSError:
        return False


def _target(source: Path, uses_torch: bool) -> Path:
    """Where the shared library of a source file is kept.

    Raises:
        OSError: there is no compiler.
    """
    compiler = _compiler()
    headers = sorted({*source.parent.glob("*.h"), *SOURCES.glob("*.h")})
    text = b"".join(part.read_bytes() for part in (source, *headers))
    described = (compiler, _modified(compiler), FLAGS, NATIVE, platform.machine(), _processor())
    linked = (*_torch_flags(), torch.__version__) if uses_torch else ()
    digest = hashlib.sha256(repr(described + linked).encode() + text).hexdigest()
    return cache_folder() / f"{source.stem}-{digest[:16]}.so"


def _built(source: Path, uses_torch: bool = False) -> Path:
    """The shared library of a source file, compiled if it is not there yet.

    Raises:
        OSError: there is no compiler, nowhere to write, or the folder is somebody else's.
        subprocess.SubprocessError: it fails.
    """
    target = _target(source, uses_torch)
    trusted.prepare(target.parent)
    if target.is_file() and trusted.distrust(target) is None:
        return target
    flags = (f"-I{SOURCES}", *(_torch_flags() if uses_torch else ()))
    compiler = _compiler()
    wait = announce.waiting(f"compiling the {source.stem} kernel, once for this machine")
    with wait, tempfile.TemporaryDirectory(dir=target.parent) as folder:
        made = Path(folder) / target.name
        try:
            _compile([compiler, *FLAGS, *NATIVE, str(source), "-o", str(made), *flags])
        except subprocess.CalledProcessError:
            _compile([compiler, *FLAGS, str(source), "-o", str(made), *flags])
        trusted.protect(made)
        os.replace(made, target)  # atomic: several processes may build at once
    return target


def _torch_flags() -> tuple[str, ...]:
    home = Path(torch.__file__).parent
    abi = f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}"
    return (abi, f"-I{home / 'include'}", f"-L{home / 'lib'}", "-lc10", f"-Wl,-rpath,{home / 'lib'}")


def _compile(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=MAX_BUILD_SECONDS)


def _compiler() -> str:
    for name in (os.environ.get("CXX"), "c++", "g++", "clang++"):
        if name and (found := shutil.which(name)):
            return found
    raise FileNotFoundError("no C++ compiler; CXX names one")


def _modified(compiler: str) -> int:
    return Path(compiler).stat().st_mtime_ns


def _processor() -> str:
    """Identifies the instruction set: a home folder may be shared by machines that cannot run each other's code."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    features = dict.fromkeys(line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part")))
    return f"{torch.backends.cpu.get_cpu_capability()} {platform.processor()} {sorted(features)}"
