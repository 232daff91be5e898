"""Tokens generated per second by beam search, ours beside fairseq 0.12.

    python benchmarks/generate.py --oracle /path/to/python --precision fp32 int8

One batch of random sentences through a transformer of iwslt's size with the same random weights on both sides, by
`SequenceGenerator.generate`; building models and calibrating is not counted. Random weights end no sentence early, so
that all hypotheses get `--length` words. In full precision both sides must give the same hypotheses. On a machine that
is shared, `--threads 1 --clock cpu` counts processor time. Bars: 1.8x in fp32, 2.5x in integers.
"""

import argparse
import json
import subprocess
import tempfile

from harness import Side, add_arguments, alternate, finish, sides, table

CLOCKS = {"wall": "perf_counter", "cpu": "process_time"}

# the same on both sides, by what fairseq 0.12 and this project have in common, but for the precision
GENERATE = """
import json, sys, time, torch
from argparse import Namespace
from fairseq import models
from fairseq.data import Dictionary
from fairseq.models.transformer import transformer_iwslt_de_en
from fairseq.sequence_generator import SequenceGenerator
spec = json.loads(sys.argv[1])
clock = getattr(time, spec["clock"])
torch.set_num_threads(spec["threads"])
words = Dictionary()
for number in range(spec["vocabulary"] - len(words)):
    words.add_symbol(f"w{number}")
args = Namespace(arch="transformer_iwslt_de_en", share_decoder_input_output_embed=True)
args.max_source_positions = args.max_target_positions = 1024
transformer_iwslt_de_en(args)
torch.manual_seed(1)
model = models.build_model(args, Namespace(source_dictionary=words, target_dictionary=words)).eval()
lengths = torch.randint(12, 33, (spec["sentences"],)).tolist()
source = torch.full((len(lengths), max(lengths) + 1), words.pad())
for row, length in enumerate(lengths):
    source[row, -length - 1 : -1] = torch.randint(4, len(words), (length,))
    source[row, -1] = words.eos()
net_input = {"src_tokens": source, "src_lengths": torch.tensor(lengths) + 1}
if spec["precision"] != "fp32":
    from fairseq.quantization import quantize_model
    preset, _, compute = spec["precision"].partition("-")
    model = quantize_model(model, preset, compute=compute or "integer")
    model.quantization.calibrate(model, [{**net_input, "prev_output_tokens": source[:, -12:]}])
options = {"beam_size": spec["beam"], "max_len_a": 0, "max_len_b": spec["length"]}
generator = SequenceGenerator([model], words, **options)
generator.generate([model], {"net_input": net_input})
start = clock()
found = generator.generate([model], {"net_input": net_input})
seconds = clock() - start
tokens = sum(len(hypotheses[0]["tokens"]) for hypotheses in found)
best = [hypotheses[0]["tokens"].tolist() for hypotheses in found]
print(json.dumps({"rate": tokens / seconds, "best": best}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add_arguments(parser, repeats=5)
    parser.add_argument("--precision", nargs="+", default=["fp32"], metavar="P", help="fp32, or presets of ours: int8")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="time that passes, or processor time")
    parser.add_argument("--beam", type=int, default=5, metavar="K", help="hypotheses of each sentence")
    parser.add_argument("--sentences", type=int, default=32, metavar="N", help="in the batch")
    parser.add_argument("--length", type=int, default=25, metavar="N", help="words of each hypothesis")
    parser.add_argument("--vocabulary", type=int, default=10000, metavar="N", help="words that there are")
    args = parser.parse_args()

    both, results, best = sides(args), {}, {}

    def measure(side: Side, precision: str) -> float:
        spec = {name: getattr(args, name) for name in ("threads", "beam", "sentences", "length", "vocabulary")}
        spec |= {"clock": CLOCKS[args.clock], "precision": precision if side is both[0] else "fp32"}
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                [side.python, "-c", GENERATE, json.dumps(spec)], env=side.environment(args.threads), cwd=folder,
                capture_output=True, text=True,
            )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"{side.label} failed:\n{done.stderr[-2000:]}")
        reply = json.loads(done.stdout.splitlines()[-1])
        if precision == "fp32" and best.setdefault("fp32", reply["best"]) != reply["best"]:
            raise SystemExit("the two sides give different hypotheses")
        return reply["rate"]  # type: ignore[no-any-return]

    for precision in args.precision:
        runs = alternate(both, lambda side, p=precision: measure(side, p), args.repeats, warm_up=False)  # type: ignore[misc]
        results[precision] = table(f"generation, {precision}", "tokens/s", runs, better="higher")
    finish(args, both, results)


if __name__ == "__main__":
    main()
