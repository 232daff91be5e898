"""Pre-training that fairseq 0.12 and ours must print alike, digit for digit: 40 updates at dropout 0 from one start.

Used by make_pretraining_fixtures.py (under fairseq 0.12, with its own preprocessing) and by test_pretraining.py (ours,
and both live). As in training_cases.py, the run `KEPT` is also stopped at `SPLIT` and continued by the other side.
plugins/pretraining has a subword encoding, and what fairseq 0.12 needs to run these at all.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import training_cases
from pretraining_models import INNER, LAYERS, POSITIONS, WIDTH, bart_args, bart_weights, size_of, write
from training_cases import RESETS, SPLIT, UPDATES

PLUGIN = Path(__file__).parent / "plugins" / "pretraining"
LANGUAGES = ("de", "en", "fi")

COMMON = f"""
    --cpu --log-format json --log-interval 1 --num-workers 0 --data-buffer-size 0 --no-epoch-checkpoints
    --save-interval-updates {SPLIT} --required-batch-size-multiple 1 --optimizer adam --adam-betas (0.9,0.98)
    --clip-norm 1.0 --max-update {UPDATES} --lr 0.004 --lr-scheduler inverse_sqrt --warmup-updates 8
    --warmup-init-lr 1e-07 --user-dir {PLUGIN} --dropout 0 --attention-dropout 0 --encoder-layers {LAYERS}
    --encoder-embed-dim {WIDTH} --encoder-ffn-embed-dim {INNER} --encoder-attention-heads 4
"""
ROBERTA = f"--arch roberta_base --criterion masked_lm --max-positions {POSITIONS} --tokens-per-sample 44 --batch-size 5"
BART = f"""
    --criterion cross_entropy --max-source-positions {POSITIONS} --max-target-positions {POSITIONS}
    --decoder-layers {LAYERS} --decoder-embed-dim {WIDTH} --decoder-ffn-embed-dim {INNER} --decoder-attention-heads 4
    --tokens-per-sample 44
"""
NOISE = """
    --mask 0.3 --mask-length span-poisson --poisson-lambda 2 --replace-length 1 --mask-random 0.1
    --permute-sentences 1 --rotate 0.3 --insert 0.1 --bpe marks
"""


@dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        settings: flags.
        start: `bart`, `roberta` or `prenorm`.
        symbols: that the task adds to the dictionary.
        folders: data folders, which epochs read in turn.
        languages: the data has a folder for each.
    """

    settings: str
    start: str
    symbols: int = 1
    folders: int = 1
    languages: bool = False

    def words(self, data: Path, start: Path, save_dir: Path, *, resume: bool) -> list[str]:
        """The command line; with `resume`, `start` is a checkpoint to go on from."""
        parts = [data / "languages"] if self.languages else [data / "bin", data / "bin2"][: self.folders]
        words = [":".join(map(str, parts)), *COMMON.split(), *self.settings.split(), *([] if resume else RESETS)]
        return [*words, "--restore-file", str(start), "--save-dir", str(save_dir)]


RUNS = {
    "masked in documents": Run(
        f"{ROBERTA} --task masked_lm --sample-break-mode complete_doc --seed 3 --update-freq 2", "roberta", folders=2
    ),
    "masked lines": Run(
        f"{ROBERTA.replace('roberta_base', 'roberta_prenorm')} --task masked_lm --sample-break-mode eos --seed 4",
        "prenorm",
    ),
    "masked words": Run(
        f"""{ROBERTA} --task masked_lm --mask-whole-words --bpe marks --mask-prob 0.3 --random-token-prob 0.2
        --leave-unmasked-prob 0.2 --freq-weighted-replacement --seed 5""",
        "roberta",
    ),
    "masked in languages": Run(
        f"{ROBERTA} --task multilingual_masked_lm --multilang-sampling-alpha 0.4 --seed 6", "roberta", languages=True
    ),
    "denoising": Run(f"{BART} --arch bart_base --task denoising {NOISE} --max-tokens 150 --seed 7", "bart", folders=2),
    "denoising words": Run(
        f"""{BART} --arch bart_base --task denoising --mask 0.4 --mask-length word --replace-length -1 --mask-random 0.2
        --rotate 0 --bpe marks --sample-break-mode none --shuffle-instance 1 --batch-size 4 --update-freq 2 --seed 8""",
        "bart",
    ),
    "denoising lines": Run(
        f"""{BART} --arch bart_base --task denoising --mask 0.3 --rotate 0 --sample-break-mode eos --batch-size 6
        --seed 9""",
        "bart",
    ),
    "denoising in languages": Run(
        f"""{BART} --arch mbart_base --task multilingual_denoising {NOISE} --add-lang-token --langs fi,de,en
        --multilang-sampling-alpha 0.5 --no-whole-word-mask-langs fi --batch-size 5 --seed 10""",
        "bart",
        symbols=4,
        languages=True,
    ),
    "spans": Run(
        f"""{BART} --arch bart_base --task span_masked_lm --noise-density 0.3 --mean-noise-span-length 2 --shuffle
        --batch-size 5 --seed 11""",
        "bart",
        symbols=0,
    ),
}
KEPT = "denoising"  # the run whose checkpoint at SPLIT is a fixture


def prepare(folder: Path, preprocess: Callable[[list[str]], None]) -> Path:
    """`folder` with bin, bin2 and languages: text of words in pieces, with empty lines between documents."""
    training_cases.write_text(folder / "text")
    for path in (folder / "text").iterdir():
        pieces = re.sub(r"\bw(1|2)(\d)\b", r"w\1 ##\2", path.read_text(encoding="utf-8")).splitlines()
        lines = [f"{line}\n\n" if number % 6 == 5 else f"{line}\n" for number, line in enumerate(pieces)]
        path.write_text("".join(lines), encoding="utf-8")
        (folder / "text" / f"{path.name}-b").write_text("".join(lines[: len(lines) // 2]), encoding="utf-8")
    text, words = folder / "text", ["--only-source", "--workers", "1"]
    preprocess([*words, f"--trainpref={text}/train", f"--validpref={text}/valid", f"--destdir={folder}/bin"])
    known = f"--srcdict={folder}/bin/dict.txt"
    preprocess([*words, known, f"--trainpref={text}/train-b", f"--destdir={folder}/bin2"])
    for number, language in enumerate(LANGUAGES):
        train = text / f"train{'-b' * (number % 2)}"
        preprocess(
            [
                *words,
                known,
                f"--trainpref={train}",
                f"--validpref={text}/valid",
                f"--destdir={folder}/languages/{language}",
            ]
        )
    (folder / "languages" / "dict.txt").write_bytes((folder / "bin" / "dict.txt").read_bytes())
    return folder


def write_start(path: Path, data: Path, run: Run) -> Path:
    """Weights to begin with."""
    dictionary = data / "bin" / "dict.txt"
    if run.start in ("roberta", "prenorm"):
        training_cases.write_start(path, dictionary, classes=0)
        if run.start == "roberta":
            return path
        state = torch.load(path, weights_only=False)
        names = ("layernorm_embedding", "layer_norm")
        state["model"] = {
            key.replace(f"encoder.sentence_encoder.{names[0]}", f"encoder.sentence_encoder.{names[1]}"): value
            for key, value in state["model"].items()
        }
        torch.save(state, path)
        return path
    return write(path, bart_args(), bart_weights(size_of(dictionary, run.symbols)))
