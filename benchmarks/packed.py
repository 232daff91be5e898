"""What packed weights save: the checkpoint file and the memory of a model in evaluation, for RoBERTa-base's shapes.

    python benchmarks/packed.py --json packed.json

Weights are random: sizes do not depend on them. Files are written by fairseq-quantize-checkpoint, and read
back. Memory is counted, parameters and buffers, after a forward pass.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "benchmarks")]

import torch  # noqa: E402
from harness import machine  # noqa: E402

from fairseq import options, tasks  # noqa: E402
from fairseq.checkpoint_tools.quantize import quantize_checkpoint  # noqa: E402
from fairseq.checkpoint_utils import load_model_ensemble_and_task, torch_persistent_save  # noqa: E402
from fairseq.data import Dictionary  # noqa: E402
from fairseq.dataclass.utils import convert_namespace_to_omegaconf, to_container  # noqa: E402
from fairseq.quantization import keep_integer_weights, parameter_bytes, quantize_model  # noqa: E402

WORDS = 50260  # RoBERTa's BPE, without the special symbols
FILES: dict[str, dict[str, Any]] = {
    "8 bits": {"preset": "int8"},
    "8 bits, the rest fp16": {"preset": "int8", "half": True},
    "4 bits": {"preset": "int4"},
    "4 bits, the rest fp16": {"preset": "int4", "half": True},
    "2 bits, the rest fp16": {"preset": "int4", "num_bits": 2, "half": True},
}


def write_checkpoint(folder: Path) -> Path:
    """A float checkpoint of RoBERTa-base with random weights and a head of two classes."""
    data = folder / "bin"
    for column, words in (("input0", WORDS), ("label", 2)):
        dictionary = Dictionary()
        for number in range(words):
            dictionary.add_symbol(f"w{number}")
        (data / column).mkdir(parents=True)
        dictionary.save(str(data / column / "dict.txt"))
    flags = ["--task", "sentence_prediction", "--criterion", "sentence_prediction", "--arch", "roberta_base"]
    flags += ["--num-classes", "2", "--max-positions", "512", "--optimizer", "adam"]
    args = options.parse_args_and_arch(options.get_training_parser(), [str(data), *flags])
    cfg = convert_namespace_to_omegaconf(args)
    task = tasks.setup_task(cfg.task)
    model = task.build_model(cfg.model)
    path = folder / "float.pt"
    torch_persistent_save({"args": None, "cfg": to_container(cfg), "model": model.state_dict()}, str(path))
    return path


def files(checkpoint: Path) -> dict[str, int]:
    """Bytes of the files."""
    found = {"fp32": os.path.getsize(checkpoint)}
    for name, settings in FILES.items():
        out = checkpoint.with_name("packed.pt")
        found[name] = quantize_checkpoint(str(checkpoint), str(out), weight_only=True, overwrite=True, **settings).after
    return found


def resident(checkpoint: Path) -> dict[str, Any]:
    """Bytes of parameters and buffers; those of the weights that quantizers round apart."""
    found: dict[str, Any] = {}
    tokens = torch.randint(4, 1000, (2, 16))
    for preset, compute in (("int8", "integer"), ("int8", "simulate"), ("int4", "integer"), ("int4", "simulate")):
        (model,), _, _ = load_model_ensemble_and_task([str(checkpoint)])
        model = quantize_model(model.eval(), preset, compute=compute)

        def score(model: Any, tokens: torch.Tensor) -> torch.Tensor:
            return model(tokens, classification_head_name="sentence_classification_head")[0]

        model.quantization.calibrate(model, [tokens], score)
        with torch.no_grad():
            before, expected = parameter_bytes(model), score(model, tokens)
            keep_integer_weights(model)
            assert torch.equal(score(model, tokens), expected)
        weights = sum(4 * p.numel() for name, p in checkpoint_weights(checkpoint).items() if is_packed(name))
        after = parameter_bytes(model)
        found[f"{preset} {compute}"] = {
            "float": before,
            "integer": after,
            "ratio": after / before,
            "weights_ratio": 1 - (before - after) / weights,
        }
    return found


def is_packed(name: str) -> bool:
    return ".layers." in name and name.endswith(".weight") and "norm" not in name


def checkpoint_weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    return torch.load(checkpoint, weights_only=True, mmap=True)["model"]  # type: ignore[no-any-return]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write results here")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = write_checkpoint(Path(folder))
        sizes, memory = files(checkpoint), resident(checkpoint)
    print("file", "MB", "of fp32", sep="\t")
    for name, size in sizes.items():
        print(name, f"{size / 1e6:.1f}", f"{size / sizes['fp32']:.2f}", sep="\t")
    print("in memory", "MB", "of fp32", "the packed weights alone", sep="\t")
    for name, row in memory.items():
        print(name, f"{row['integer'] / 1e6:.1f}", f"{row['ratio']:.2f}", f"{row['weights_ratio']:.2f}", sep="\t")
    if args.json:
        found = {"machine": machine(torch.get_num_threads()), "files": sizes, "memory": memory}
        args.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
