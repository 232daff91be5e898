"""What simulating a number format costs: an fp32 tensor rounded to each format, beside int8 and other libraries.

    python benchmarks/formats.py --peers PYTHON --json formats.json

Each turn rounds the same tensor to int8 (`symmetric`, one scale), to a format, and to the same format by torchao and
Brevitas, one after the other; a ratio is taken between neighbours. `--peers` names an interpreter that has torchao and
Brevitas (`pip install --no-deps torchao brevitas unfoldnd dependencies==2.0.1` beside the same torch); what it lacks is
left out with the reason. Times are processor seconds of one thread, kernels compiled before, glibc's allocator on all
sides; medians with quartiles. Extra memory is the growth of resident memory at its highest, of a process for each
format, in copies of the tensor: the result itself is 1. Bars: `mxfp8_e4m3`, `fp8_e4m3` and `block_fp` 1.5x int8, 0.33x
of the others; 1 copy.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
PEERS = ("torchao", "brevitas")
SCALED = "fp8_e4m3, scaled"  # one scale for all, from the range, as other libraries have it
YARDSTICK = "symmetric"
FREE_BITS = 8

Step = Callable[[], Any]


# --- sides: format -> what rounds x to it -----------------------------------------------------------------------------


def our_step(name: str, x: Any) -> Step:
    from fairseq.quantization.context import QuantizationContext
    from fairseq.quantization.formats import build_format
    from fairseq.quantization.quantizer import ACTIVATION, Quantizer, QuantizerSpec

    spec: Any = {"format": "fp8_e4m3", "scaled": True} if name == SCALED else name
    number_format = build_format(spec)
    bits = number_format.fixed_bits or FREE_BITS
    settings = QuantizerSpec(bits=bits, format=spec, range=number_format.range_source)
    quantizer = Quantizer("x", ACTIVATION, settings, QuantizationContext(fused=True))
    return lambda: quantizer.fake(x, bits)


def torchao_steps(x: Any) -> dict[str, Step]:
    import torch
    from torchao.prototype.mx_formats.mx_tensor import MXTensor
    from torchao.prototype.mx_formats.nvfp4_tensor import NVFP4Tensor, per_tensor_amax_to_scale
    from torchao.quantization import PerTensor
    from torchao.quantization.qat import Float8FakeQuantizeConfig
    from torchao.quantization.qat.fake_quantizer import Float8FakeQuantizer

    kinds = {"mxfp8_e4m3": torch.float8_e4m3fn, "mxfp8_e5m2": torch.float8_e5m2, "mxfp6_e2m3": "fp6_e2m3",
             "mxfp6_e3m2": "fp6_e3m2", "mxfp4": torch.float4_e2m1fn_x2}  # fmt: skip

    def microscaling(kind: Any) -> Step:
        return lambda: MXTensor.to_mx(x, kind, 32).dequantize(torch.float32)

    def nvfp4() -> Any:
        return NVFP4Tensor.to_nvfp4(x, per_tensor_scale=per_tensor_amax_to_scale(x.abs().amax())).dequantize(x.dtype)

    scaled = Float8FakeQuantizer(Float8FakeQuantizeConfig(dtype=torch.float8_e4m3fn, granularity=PerTensor()))
    return {**{name: microscaling(kind) for name, kind in kinds.items()}, "nvfp4": nvfp4, SCALED: lambda: scaled(x)}


def brevitas_steps(x: Any) -> dict[str, Step]:
    from brevitas.nn import QuantLinear
    from brevitas.quant import Int8WeightPerTensorFloat
    from brevitas.quant.experimental.float_quant_ocp import Fp8e4m3OCPWeightPerTensorFloat
    from brevitas.quant.experimental.mx_quant_ocp import MXFloat8e4m3Weight, MXInt8Weight

    class BlocksOf16(MXInt8Weight):  # type: ignore[misc]
        group_size = 16

    kinds = {YARDSTICK: Int8WeightPerTensorFloat, SCALED: Fp8e4m3OCPWeightPerTensorFloat,
             "mxfp8_e4m3": MXFloat8e4m3Weight, "mxint8": MXInt8Weight, "block_fp": BlocksOf16}  # fmt: skip

    def rounded(kind: Any) -> Step:
        layer = QuantLinear(x.shape[1], x.shape[0], bias=False, weight_quant=kind)
        layer.weight.data = x
        return lambda: layer.quant_weight().value

    return {name: rounded(kind) for name, kind in kinds.items()}


def tensor(shape: list[int]) -> Any:
    import torch

    torch.set_num_threads(1)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)) * 0.04


def serve(library: str, shape: list[int]) -> None:
    """A process that does the steps of another library: a line with the formats, then seconds for each line read."""
    import torch

    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no reply
    with torch.no_grad():
        steps = {"torchao": torchao_steps, "brevitas": brevitas_steps}[library](tensor(shape))
        print(json.dumps(list(steps)), file=replies, flush=True)
        for line in sys.stdin:
            print(seconds_of(steps[line.strip()]), file=replies, flush=True)


def seconds_of(step: Step) -> float:
    start = time.process_time()
    result = step()
    end = time.process_time()
    del result
    return end - start


class Peer:
    """Another library in a process of its own."""

    def __init__(self, library: str, python: str, shape: list[int]):
        command = [python, "-W", "ignore", __file__, "--serve", library, "--shape", *map(str, shape)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, env=environment)  # fmt: skip
        assert self.process.stdout is not None and self.process.stderr is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError((self.process.stderr.read().strip().splitlines() or ["ended without a word"])[-1])
        self.formats: list[str] = json.loads(line)

    def seconds(self, name: str) -> float:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(name + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


# --- memory -----------------------------------------------------------------------------------------------------------


def print_extra_memory(name: str, shape: list[int]) -> None:
    """Copies of the tensor by which resident memory grows in one step of ours, the result included."""
    our_step(name, tensor([64, shape[1]]))()  # compiles and loads
    x = tensor(shape)
    step = our_step(name, x)
    Path("/proc/self/clear_refs").write_text("5")  # the highest mark begins anew
    before = _status("VmRSS")
    result = step()
    print((_status("VmHWM") - before) * 1024 / (result.numel() * result.element_size()))


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(field + ":")))


def extra_memory(name: str, shape: list[int]) -> float:
    command = [sys.executable, __file__, "--memory-of", name, "--shape", *map(str, shape)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


# --- the benchmark ----------------------------------------------------------------------------------------------------


def measure(
    names: list[str], peers: dict[str, Peer], shape: list[int], repeats: int
) -> Iterator[tuple[str, dict[str, list[float]]]]:
    """Format -> side -> seconds of each turn."""
    from fairseq.native.compiled import compiler

    compiler().break_even = 0  # compile while warming up
    x = tensor(shape)
    yardstick = our_step(YARDSTICK, x)
    for name in names:
        sides: dict[str, Callable[[], float]] = {"int8": lambda: seconds_of(yardstick)}
        if name != YARDSTICK:
            step = our_step(name, x)
            sides["ours"] = lambda step=step: seconds_of(step)  # type: ignore[misc]
        for library, peer in peers.items():
            if name in peer.formats:
                sides[library] = lambda peer=peer, name=name: peer.seconds(name)  # type: ignore[misc]
        runs: dict[str, list[float]] = {side: [] for side in sides}
        for turn in range(-2, repeats):
            for side, seconds in sides.items():
                taken = seconds()
                if turn >= 0:
                    runs[side].append(taken)
        yield name, runs


def quartiles(values: list[float]) -> list[float]:
    return statistics.quantiles(values, n=4, method="inclusive")


def ratios(over: list[float], under: list[float]) -> list[float]:
    """Quartiles of the ratios of neighbours."""
    return quartiles([a / b for a, b in zip(over, under, strict=True)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--formats", nargs="+", metavar="NAME", help=f"only these (of the registry, or {SCALED!r})")
    parser.add_argument("--peers", default=sys.executable, metavar="PYTHON", help="has torchao and brevitas")
    parser.add_argument("--shape", type=int, nargs=2, default=[2048, 3072], metavar=("R", "C"))
    parser.add_argument("--repeats", type=int, default=15, metavar="N", help="turns, after two to warm up")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--serve", choices=PEERS, help=argparse.SUPPRESS)
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        return serve(args.serve, args.shape)
    sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "benchmarks")]
    if args.memory_of:
        return print_extra_memory(args.memory_of, args.shape)
    from harness import Side, machine

    from fairseq.quantization.formats import FORMATS

    peers: dict[str, Peer] = {}
    for library in PEERS:
        try:
            peers[library] = Peer(library, args.peers, args.shape)
        except (RuntimeError, OSError) as error:
            print(f"{library} left out: {error}")
    results: dict[str, Any] = {}
    names = args.formats or [YARDSTICK, SCALED, *(name for name in FORMATS if name != YARDSTICK)]
    for name, runs in measure(names, peers, args.shape, args.repeats):
        ours = "int8" if name == YARDSTICK else "ours"
        found: dict[str, Any] = {"seconds": runs, "copies": extra_memory(name, args.shape)}
        text = f"{name:<18} {1e3 * statistics.median(runs[ours]):7.1f} ms"
        text += f"   {found['copies']:.2f} copies"
        for side in runs:
            if side != ours:
                low, middle, high = found[f"over {side}"] = ratios(runs[ours], runs[side])
                text += f"   {middle:.2f}x {side} ({low:.2f} - {high:.2f})"
        results[name] = found
        print(text, flush=True)
    for peer in peers.values():
        peer.close()
    info = machine(1)
    versions = {"ours": Side("ours", sys.executable).versions(), **_versions(args.peers, list(peers))}
    print(f"{info['cpu']}, {info['cores']} cores, 1 thread, {' '.join(info['flags'])}; {versions}")
    if args.json:
        report = {"machine": info, "versions": versions, "shape": args.shape, "results": results}
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(report, indent=1) + "\n")


def _versions(python: str, libraries: list[str]) -> dict[str, str]:
    code = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    done = subprocess.run([python, "-c", code, *libraries], capture_output=True, text=True, check=True)
    return dict(zip(libraries, done.stdout.split(), strict=True))


if __name__ == "__main__":
    main()
