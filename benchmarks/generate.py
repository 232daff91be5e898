"""Tokens generated per second by beam search, ours beside fairseq 0.12.

    python benchmarks/generate.py --oracle /path/to/python --precision fp32 int8
    python benchmarks/generate.py --oracle ... --ctranslate2 /path/to/python --precision int8 --quantize-output

One batch of random sentences through a transformer of iwslt's size with the same random weights on both sides, by
`SequenceGenerator.generate`; building models and calibrating is not counted. Random weights end no sentence early, so
that all hypotheses get `--length` words. In full precision both sides must give the same hypotheses. On a machine that
is shared, `--threads 1 --clock cpu` counts processor time. Bars: 1.8x in fp32, 2.5x in integers; in integers 0.8x of
CTranslate2, which also quantizes the output projection, converts the same weights, and needs ctranslate2 beside what
this package needs.
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
    rules = [{"match": "decoder.output_projection.*", "quantize": True}] if spec["output"] else []
    rules += [{"match": "*.cache", "bits": spec["cache"]}] if spec["cache"] else []
    model = quantize_model(model, preset, compute=compute or "integer", rules=rules)
    model.quantization.calibrate(model, [{**net_input, "prev_output_tokens": source[:, -12:]}])
options = {"beam_size": spec["beam"], "max_len_a": 0, "max_len_b": spec["length"]}
generator = SequenceGenerator([model], words, **options)
generator.generate([model], {"net_input": net_input})
start = clock()
found = generator.generate([model], {"net_input": net_input})
seconds = clock() - start
tokens = sum(len(hypotheses[0]["tokens"]) for hypotheses in found)
best = [hypotheses[0]["tokens"].tolist() for hypotheses in found]
print(json.dumps({"rate": tokens / seconds, "best": best, "kept": getattr(generator, "kept_bytes", 0)}))
"""

# the same model, converted
CTRANSLATE2 = (
    GENERATE[: GENERATE.index('if spec["precision"] != "fp32":')]
    + """
import ctranslate2
from ctranslate2.converters import FairseqConverter
words.save("dict.de.txt"), words.save("dict.en.txt")
args = Namespace(**vars(model.args), task="translation", source_lang="de", target_lang="en", left_pad_source=True)
torch.serialization.add_safe_globals([Namespace])
torch.save({"args": args, "model": model.state_dict()}, "model.pt")
FairseqConverter("model.pt", ".", source_lang="de", target_lang="en").convert("converted")
kind = "float32" if spec["precision"] == "fp32" else "int8"
translator = ctranslate2.Translator(
    "converted", device="cpu", compute_type=kind, inter_threads=1, intra_threads=spec["threads"]
)
sentences = [[words[word] for word in row.tolist() if word not in (words.pad(), words.eos())] for row in source]
options = {"beam_size": spec["beam"], "max_decoding_length": spec["length"], "max_batch_size": 0}
translator.translate_batch(sentences, **options)
start = clock()
found = translator.translate_batch(sentences, **options)
seconds = clock() - start
tokens = sum(len(each.hypotheses[0]) + 1 for each in found)  # with the end
print(json.dumps({"rate": tokens / seconds, "best": None, "kept": 0}))
"""
)


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
    parser.add_argument("--quantize-output", action="store_true", help="the output projection, too")
    parser.add_argument("--cache", type=int, default=0, metavar="N", help="bits of kept keys and values, 8 or 4")
    parser.add_argument("--ctranslate2", metavar="PYTHON", help="interpreter with CTranslate2, for a third side")
    args = parser.parse_args()

    both, results, best, kept = sides(args), {}, {}, {}
    if args.ctranslate2:
        both.append(Side("CTranslate2", args.ctranslate2, both[0].pythonpath))

    def measure(side: Side, precision: str) -> float:
        spec = {name: getattr(args, name) for name in ("threads", "beam", "sentences", "length", "vocabulary")}
        converted = side.label == "CTranslate2"
        spec |= {"clock": CLOCKS[args.clock], "precision": precision if side is both[0] or converted else "fp32"}
        spec |= {"output": args.quantize_output, "cache": args.cache}
        with tempfile.TemporaryDirectory() as folder:
            command = [side.python, "-c", CTRANSLATE2 if converted else GENERATE, json.dumps(spec)]
            environment = side.environment(args.threads)
            done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{side.label} failed:\n{done.stderr[-2000:]}")
        reply = json.loads(done.stdout.splitlines()[-1])
        if side is both[0]:
            kept[precision] = reply["kept"]
        if precision == "fp32" and not converted and best.setdefault("fp32", reply["best"]) != reply["best"]:
            raise SystemExit("the two sides give different hypotheses")
        return reply["rate"]  # type: ignore[no-any-return]

    for precision in args.precision:
        runs = alternate(both, lambda side, p=precision: measure(side, p), args.repeats, warm_up=False)  # type: ignore[misc]
        results[precision] = table(f"generation, {precision}", "tokens/s", runs, better="higher")
        print(f"kept keys and values of ours: {kept[precision] / 2**20:.1f} MiB")
    finish(args, both, results)


if __name__ == "__main__":
    main()
