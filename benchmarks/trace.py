"""How long tracing a model takes: `fairseq.graph.trace` against `torch.export`, in turn, processor time of one thread.

    python benchmarks/trace.py --repeats 7 --json trace.json

RoBERTa-base of this library, and BERT-base of transformers where it is installed, in evaluation with token ids of
2 x 11 and batch and length left open. Our side has shapes, types and parameter counts of every node; `check` adds the
comparison with the model at two sizes. Ratios are of runs that lay next to each other; quartiles in brackets.
"""

import argparse
import json
import statistics
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from harness import machine
from torch import Tensor, nn
from torch.export import Dim

from fairseq.graph import trace

BASE = {"encoder_layers": 12, "encoder_embed_dim": 768, "encoder_ffn_embed_dim": 3072, "encoder_attention_heads": 12}


def roberta() -> tuple[nn.Module, dict[str, Tensor]]:
    from fairseq import models

    vocabulary = type("Vocabulary", (), {"__len__": lambda self: 50265, "pad": lambda self: 1})()
    task = Namespace(source_dictionary=vocabulary, max_positions=lambda: 512)
    model = models.build_model(Namespace(arch="roberta", **BASE), task)
    return model.eval(), {"src_tokens": torch.randint(4, 1000, (2, 11))}


def bert() -> tuple[nn.Module, dict[str, Tensor]]:
    from transformers import BertConfig, BertForSequenceClassification

    ids = torch.randint(4, 1000, (2, 11))
    model = BertForSequenceClassification(BertConfig())
    return model.eval(), {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def export(model: nn.Module, inputs: dict[str, Tensor]) -> None:
    open_sizes = {name: {0: Dim.AUTO, 1: Dim.AUTO} for name in inputs}
    torch.export.export(model, (), kwargs=inputs, dynamic_shapes=open_sizes, strict=False)


def seconds(function: Callable[[], object]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write all figures there")
    args = parser.parse_args()
    torch.set_num_threads(1)
    results = {}
    for build in (roberta, bert):
        try:
            model, inputs = build()
        except ImportError:
            print(f"{build.__name__}: transformers is not installed")
            continue
        sides = {
            "trace": lambda model=model, inputs=inputs: trace(model, inputs, check=False),
            "trace and check": lambda model=model, inputs=inputs: trace(model, inputs),
            "torch.export": lambda model=model, inputs=inputs: export(model, inputs),
        }
        runs: dict[str, list[float]] = {label: [] for label in sides}
        for repeat in range(-1, args.repeats):
            for label, side in sides.items():
                value = seconds(side)
                if repeat >= 0:
                    runs[label].append(value)
        for label, own in runs.items():
            ratios = [a / b for a, b in zip(own, runs["torch.export"], strict=True)]
            low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
            print(
                f"{build.__name__:8} {label:16} {statistics.median(own):6.2f} s   {middle:.2f} ({low:.2f} - {high:.2f})"
            )
        results[build.__name__] = runs
    if args.json:
        report = {"machine": machine(1), "torch": torch.__version__, "runs": results}
        args.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
