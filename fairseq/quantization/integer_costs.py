"""What a linear layer costs on this machine, in integers and simulated: what `compute: auto` decides by.

    seconds(rows, inputs, outputs) = a * products + b * elements + c
    products = 3 rows inputs outputs,   elements = rows inputs + inputs outputs + rows outputs

for one forward and backward of an update. a, b and c are fitted to a few shapes, once for each machine, number of
threads and version of torch, and kept in `~/.cache/fairseq` (or under `XDG_CACHE_HOME`). A layer is carried out in
integers where that is estimated to save at least 3 %.

>>> costs = Costs(simulate=Line(3e-12, 1e-9, 1e-4), integer=Line(1e-12, 1e-9, 5e-4))
>>> costs.prefers_integers(1024, 768, 768), costs.prefers_integers(1024, 32, 32)
(True, False)
"""

import contextlib
import functools
import json
import logging
import os
import platform
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fairseq.quantization.kernels import fused
from fairseq.quantization.kernels.build import compiler
from fairseq.quantization.kernels.native import cache_folder

logger = logging.getLogger(__name__)

ROWS = 1024  # tokens of a batch, for which a layer's shape is judged: 16 sentences of 64
SHAPES = ((64, 64, 64), (512, 256, 256), (1024, 256, 1024), (1024, 768, 768))
REPEATS = 7
LEAST_GAIN = 0.03


class Line(NamedTuple):
    """Seconds per multiply-accumulate, per element of an operand or result, and per call."""

    product: float
    element: float
    call: float

    def seconds(self, rows: int, inputs: int, outputs: int) -> float:
        products, elements = _counts(rows, inputs, outputs)
        return self.product * products + self.element * elements + self.call


class Costs(NamedTuple):
    """Both ways of carrying out a layer."""

    simulate: Line
    integer: Line

    def prefers_integers(self, rows: int, inputs: int, outputs: int) -> bool:
        """Whether integers are estimated to gain at that shape."""
        integer, simulate = (line.seconds(rows, inputs, outputs) for line in (self.integer, self.simulate))
        return integer < (1 - LEAST_GAIN) * simulate


def _counts(rows: int, inputs: int, outputs: int) -> tuple[int, int]:
    return 3 * rows * inputs * outputs, rows * inputs + inputs * outputs + rows * outputs


@functools.cache
def costs(device_type: str = "cpu") -> Costs:
    """This machine's, measured if they are not known yet."""
    path, key = _file(), _machine(device_type)
    known = _read(path)
    if key not in known:
        logger.info("quantization: measuring once what integer products cost on this machine (%s)", path)
        found = measure(device_type)
        known[key] = {"simulate": list(found.simulate), "integer": list(found.integer)}
        _write(path, known)
    return Costs(Line(*known[key]["simulate"]), Line(*known[key]["integer"]))


def measure(device_type: str = "cpu") -> Costs:
    """Fit both lines to `SHAPES`; the two ways take turns, the best of each counts."""
    seconds: dict[str, list[float]] = {"simulate": [], "integer": []}
    for shape in SHAPES:
        steps = {compute: _step(compute, *shape, device_type) for compute in seconds}
        with _compiling():
            for step in steps.values():
                step()
        best = dict.fromkeys(steps, float("inf"))
        for _ in range(REPEATS):
            for compute, step in steps.items():
                start = time.perf_counter()
                step()
                best[compute] = min(best[compute], time.perf_counter() - start)
        for compute, found in best.items():
            seconds[compute].append(found)
    return Costs(_fit(seconds["simulate"]), _fit(seconds["integer"]))


@contextlib.contextmanager
def _compiling() -> Iterator[None]:
    """Kernels are compiled when they are first used: a training run will have compiled them."""
    before, compiler().break_even = compiler().break_even, 0
    try:
        yield
    finally:
        compiler().break_even = before


class _Enough(Counter[Any]):
    """More values rounded than it takes to compile."""

    def __getitem__(self, kernel: Any) -> int:
        return fused.BREAK_EVEN


def _step(compute: str, rows: int, inputs: int, outputs: int, device_type: str) -> Callable[[], None]:
    from fairseq.quantization.convert import quantize_model

    model = quantize_model(nn.Sequential(nn.Linear(inputs, outputs)), "int8", compute=compute).to(device_type)
    model.quantization.step.rounded = _Enough()  # type: ignore[union-attr]
    x = torch.randn(rows, inputs, device=device_type, requires_grad=True)
    grad = torch.randn(rows, outputs, device=device_type)
    update = 0

    def step() -> None:
        nonlocal update
        model.quantization.begin_micro_batch(update)  # type: ignore[union-attr, operator]
        update += 1
        model(x).backward(grad)
        model.zero_grad()
        if device_type == "cuda":
            torch.cuda.synchronize()

    return step


def _fit(seconds: list[float]) -> Line:
    """Least squares of the relative errors, without negative costs: a term that would be negative is left out."""
    rows = torch.tensor([[*_counts(*shape), 1.0] for shape in SHAPES], dtype=torch.float64)
    measured = torch.tensor(seconds, dtype=torch.float64)
    weighted = rows / measured[:, None]
    size = weighted.abs().amax(0)
    kept = [0, 1, 2]
    while True:
        solution: Tensor = torch.linalg.lstsq(weighted[:, kept] / size[kept], torch.ones_like(measured)[:, None])[0]
        if bool((solution >= 0).all()) or len(kept) == 1:
            break
        del kept[int(solution.argmin())]
    line = [0.0, 0.0, 0.0]
    for index, value in zip(kept, solution.view(-1).tolist(), strict=True):
        line[index] = value / float(size[index])
    return Line(*line)


# --- the file ---------------------------------------------------------------------------------------------------------


def _file() -> Path:
    return cache_folder() / "integer_costs.json"


def _machine(device_type: str) -> str:
    if device_type == "cuda":
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    capability = torch.backends.cpu.get_cpu_capability()
    cpu = f"{platform.machine()} {platform.processor()} {capability}, VNNI {torch.cpu._is_vnni_supported()}"
    return f"{cpu}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}"


def _read(path: Path) -> dict[str, dict[str, list[float]]]:
    try:
        found = json.loads(path.read_text())
        for entry in found.values():
            Line(*entry["simulate"]), Line(*entry["integer"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError):  # not there, or not ours: measure again
        return {}
    return found  # type: ignore[no-any-return]


def _write(path: Path, known: dict[str, dict[str, list[float]]]) -> None:
    """Replace the file at once; a folder that cannot be written only costs the next process its time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            file.write(json.dumps(known, indent=1))
        os.replace(file.name, path)
    except OSError as error:
        logger.warning("quantization: what integer products cost could not be kept in %s (%s)", path, error)
