"""Memory of one training step with and without `model.checkpoint_activations=true`, RoBERTa-base.

    python benchmarks/activations.py --json activations.json

Each side is a process of its own: by how much its peak of resident memory grows in forward, and in forward and
backward (gradients included), and the processor time of both.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "benchmarks")]

from harness import machine  # noqa: E402


def peak() -> float:
    """MiB of resident memory at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def step(checkpointed: bool, sentences: int, length: int) -> dict[str, float]:
    import torch
    from omegaconf import OmegaConf

    from fairseq.data import Dictionary
    from fairseq.dataclass.models import RobertaConfig
    from fairseq.models.roberta import RobertaModel

    task = Namespace(source_dictionary=Dictionary(), max_positions=lambda: 512)
    cfg = OmegaConf.structured(RobertaConfig(max_positions=512, checkpoint_activations=checkpointed))
    model = RobertaModel.build_model(cfg, task).train()
    tokens = torch.randint(len(task.source_dictionary), (sentences, length))
    before, begin = peak(), time.process_time()
    features = model(tokens, features_only=True)[0]
    forward = peak()
    features.sum().backward()
    return {
        "forward MiB": round(forward - before),
        "step MiB": round(peak() - before),
        "seconds": round(time.process_time() - begin, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", type=int, default=8, metavar="N")
    parser.add_argument("--length", type=int, default=128, metavar="TOKENS")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write results here")
    parser.add_argument("--side", choices=("kept", "computed again"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        print(json.dumps(step(args.side == "computed again", args.sentences, args.length)))
        return
    results = {}
    for side in ("kept", "computed again"):
        words = ["--sentences", str(args.sentences), "--length", str(args.length), "--side", side]
        done = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True, check=True)
        results[side] = json.loads(done.stdout)
        print(f"{side:<16}", "  ".join(f"{name} {value}" for name, value in results[side].items()))
    if args.json:
        args.json.write_text(json.dumps({"machine": machine(0), "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
