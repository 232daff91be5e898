"""What this machine and environment have for the project, and what is missing for which feature: `fairseq-doctor`.

examined = examine()
print(examined.text())          # one screen of 80 columns
examined.problems               # what keeps the project from working, empty where nothing does
"""

import os
import platform
import shutil
import subprocess
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import torch

import fairseq
from fairseq import required
from fairseq.data.download import cache_dir
from fairseq.distributed.codecs import kernels as codecs
from fairseq.native import library, trusted
from fairseq.quantization.kernels import gemm
from fairseq.quantization.kernels import library as quantization_library
from fairseq.quantization.plan import latency_cache

WIDTH = 80
LABEL = 11  # columns in front of the text
# extra -> what it is for
EXTRAS = {
    "plot": "pictures: fairseq-plot, reports, studies",
    "study": "fairseq-search, studies on clusters",
    "onnx": "fairseq-export-onnx",
    "parquet": "fairseq-prepare-text train.parquet",
    "text": "moses, sentencepiece, subword_nmt",
    "tensorboard": "common.tensorboard_logdir",
    "wandb": "common.wandb_project",
    "bert-score": "scoring=bert_score",
}
SHOWN = ("numpy", "hydra-core", "omegaconf", "tokenizers", "safetensors", "scikit-learn")
FEATURES = ("avx2", "fma", "avx512f", "avx512_bf16", "avx512_vnni", "avx_vnni", "avx512_vpopcntdq", "amx_int8",
            "amx_bf16", "asimd", "asimddp", "i8mm", "sve")  # fmt: skip
KERNELS = (library.SOURCES, quantization_library.SOURCES, codecs.SOURCES)
LINKED_WITH_TORCH = ("arena",)


@dataclass
class Examined:
    """What was found: label -> text, extras that are complete or lack packages, and problems."""

    rows: dict[str, str] = field(default_factory=dict)
    extras: dict[str, list[str]] = field(default_factory=dict)  # -> what is missing
    problems: list[str] = field(default_factory=list)

    def text(self) -> str:
        """All of it in 80 columns."""
        lines = []
        for label, text in self.rows.items():
            lines += _wrapped(label, text)
        for extra, missing in self.extras.items():
            state = "ok" if not missing else f"needs {', '.join(missing)}"
            lines.append(_cut(f"  {extra:{LABEL}} {state:25.25} {EXTRAS[extra]}"))
        lacking = [extra for extra, missing in self.extras.items() if missing]
        if lacking:
            lines.append(f"  install: pip install '{required.DISTRIBUTION}[{lacking[0]}]', and so on")
        for problem in self.problems:
            lines += _wrapped("PROBLEM", problem)
        return "\n".join(lines if self.problems else [*lines, "no problems"])


def examine() -> Examined:
    """Look at everything; takes a second, most of it for importing torch."""
    found = Examined()
    wanted = list(required.requirements())
    found.rows["project"] = f"{fairseq.__version__} in {_short(Path(fairseq.__file__).parent)}"
    versions = [f"{name} {required.version(name) or 'missing'}" for name in SHOWN]
    found.rows["python"] = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    found.rows["packages"] = ", ".join([f"torch {torch.__version__}", *versions])
    found.rows["processor"] = _processor()
    found.rows["compiler"] = _compiler()
    found.rows["kernels"] = _kernels()
    found.rows["GPU"] = _gpu()
    caches = {"cache": library.cache_folder()}
    if cache_dir() != library.cache_folder():
        caches["downloads"] = cache_dir()
    for label, folder in caches.items():
        found.rows[label] = _folder(folder)
        if (reason := _not_writable(folder)) is not None:
            found.problems.append(f"{folder} cannot be written ({reason}): set XDG_CACHE_HOME or FAIRSEQ_CACHE")
    found.rows["features"] = "extras, and what they are for"
    for extra in EXTRAS:
        found.extras[extra] = [name for name, _ in required.lacking(wanted, extra)]
    found.problems += required.problems(wanted)
    return found


def compile_kernels() -> Iterator[tuple[str, bool]]:
    """Compile every kernel that is not in the cache yet; yields its name, and whether it can be loaded now."""
    for path in _kernel_files():
        linked = path.stem in LINKED_WITH_TORCH
        yield path.stem, library.library(path.stem, path.parent, linked) is not None


def _kernel_files() -> list[Path]:
    return [path for folder in KERNELS for path in sorted(folder.glob("*.cpp"))]


def _processor() -> str:
    described = library._processor()
    model = next((line for line in _cpuinfo() if line.startswith("model name")), "").partition(":")[2].strip()
    has = [feature for feature in FEATURES if f" {feature}" in described]
    name = model or platform.processor() or platform.machine()
    threads = f"{os.cpu_count()} cores, {torch.get_num_threads()} of them used"
    return f"{name}, {threads}; {' '.join(has) or 'no features known'}"


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def _compiler() -> str:
    try:
        path = library._compiler()
    except FileNotFoundError:
        return "none: torch's operations are used, half as fast; install g++ or clang++, or set CXX"
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.SubprocessError) as error:
        return f"{path}, which does not run ({error})"
    lines = (done.stdout or done.stderr).splitlines()
    return f"{path}: {lines[0] if lines else 'says nothing of its version'}"


def _kernels() -> str:
    files = _kernel_files()
    built = [path for path in files if library.is_built(path.stem, path.parent, path.stem in LINKED_WITH_TORCH)]
    state = f"{len(built)} of {len(files)} compiled" + ("" if len(built) == len(files) else " (--compile: all now)")
    cpu = torch.device("cpu")
    if gemm.has_amx():
        products = "by oneDNN (AMX)"
    elif library.is_built("gemm", quantization_library.SOURCES):
        products = "by our own (VNNI)" if gemm.can_run(cpu) else "by torch, which is slow: no VNNI"
    else:
        products = "not compiled yet"
    measured = latency_cache._read(latency_cache._file()).get(latency_cache._machine("cpu"))
    return f"{state}; int8 products {products}; compute=auto {'measured' if measured else 'not measured yet'}"


def _gpu() -> str:
    if not torch.cuda.is_available():
        return (
            f"none that torch can use ({'CPU build' if torch.version.cuda is None else 'CUDA ' + torch.version.cuda})"
        )
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return f"{', '.join(names)}; CUDA {torch.version.cuda}, bf16 {'yes' if torch.cuda.is_bf16_supported() else 'no'}"


def _folder(folder: Path) -> str:
    if not folder.is_dir():
        return f"{_short(folder)}, not there yet"
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    foreign = trusted.distrust(folder)
    note = f"; {foreign}" if foreign is not None and folder == library.cache_folder() else ""
    free = shutil.disk_usage(folder).free / 1e9
    return f"{_short(folder)}, {len(sizes)} files, {sum(sizes) / 1e6:.1f} MB ({free:.0f} GB free){note}"


def _not_writable(folder: Path) -> Optional[str]:
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not there.is_dir():
        return f"{there} is no folder"
    return None if os.access(there, os.W_OK | os.X_OK) else f"no permission in {there}"


def _short(path: Path) -> str:
    home = str(Path.home())
    return f"~{str(path)[len(home) :]}" if str(path).startswith(f"{home}/") else str(path)


def _cut(line: str) -> str:
    line = line.rstrip()
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 3]}..."


def _wrapped(label: str, text: str) -> list[str]:
    text = " ".join(text.split())
    indent = " " * (LABEL + 1)
    return textwrap.wrap(text, WIDTH, initial_indent=f"{label:{LABEL}} ", subsequent_indent=indent) or [label]


def as_json(found: Examined) -> dict[str, Any]:
    """The same for programs."""
    return {**found.rows, "missing": found.extras, "problems": found.problems}
