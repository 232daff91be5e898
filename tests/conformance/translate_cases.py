"""What fairseq-generate and fairseq-interactive print, as fairseq 0.12 prints it, for a small model that it trained.

Used by make_translate_fixtures.py (under fairseq 0.12) and by test_translate_commands.py. Batches have any size, since
fairseq 0.12.3 drops a last batch that is no multiple of 8.
"""

import re
from pathlib import Path

TRAIN = """
    --arch transformer_iwslt_de_en --encoder-embed-dim 16 --encoder-ffn-embed-dim 32 --encoder-layers 1
    --encoder-attention-heads 2 --decoder-embed-dim 16 --decoder-ffn-embed-dim 32 --decoder-layers 1
    --decoder-attention-heads 2 --dropout 0 --criterion label_smoothed_cross_entropy --label-smoothing 0.1
    --max-tokens 300 --optimizer adam --lr 0.02 --lr-scheduler inverse_sqrt --warmup-updates 20 --max-update 300 --cpu
    --num-workers 0 --no-epoch-checkpoints --no-save-optimizer-state --save-interval 1000 --save-interval-updates 140
    --required-batch-size-multiple 1 --disable-validation --upsample-primary 1 --max-source-positions 40
    --max-target-positions 40
"""
COMMON = "--cpu --num-workers 0 --max-len-a 1 --max-len-b 6"
GENERATE = f"{{data}} --path {{model}} {COMMON} --required-batch-size-multiple 1"
INTERACTIVE = f"{{data}} --path {{model}} {COMMON} --input {{input}}"
TOGETHER = f"{{data}} --path {{model}} {COMMON} --input {{data}}/../text/test.de --buffer-size 14 --batch-size 14"

LINES = ["d1 d2 d3", "", "d4@@ x1 foo d7", "d5 d6 " * 12, "d9 d10@@ x1"]
PHRASES = ["d1 d2 d3\te5", "d4@@ x1 d7\te1 e2\te3", "d9 d11 d13"]

CASES = {
    "plain": f"generate {GENERATE}",
    "n-best": f"generate {GENERATE} --batch-size 4 --nbest 2 --beam 3 --remove-bpe",
    "normalised": f"generate {GENERATE} --beam 4 --lenpen 0.6 --unkpen 1 --gen-subset valid",
    "sums": f"generate {GENERATE} --beam 4 --unnormalized --min-len 4 --temperature 1.3",
    "hard alignment": f"generate {GENERATE} --beam 2 --batch-size 5 --print-alignment",
    "soft alignment": f"generate {GENERATE} --beam 2 --print-alignment soft --post-process",
    "quiet": f"generate {GENERATE} --beam 2 --quiet --post-process subword_nmt",
    "sacrebleu": f"generate {GENERATE} --beam 2 --quiet --remove-bpe --scoring sacrebleu",
    "sacrebleu of characters": f"generate {GENERATE} --beam 2 --quiet --scoring sacrebleu --sacrebleu-char-level",
    "prefix": f"generate {GENERATE} --beam 2 --prefix-size 2",
    "references": f"generate {GENERATE} --score-reference",
    "ensemble": f"generate {GENERATE} --path {{model}}:{{other}} --beam 3",
    "another split": f"generate {GENERATE} --gen-subset train1 --model-overrides {{{{'dropout':0.3}}}}",
    "diverse beams": f"generate {GENERATE} --beam 4 --diverse-beam-groups 2 --nbest 2",
    "all diverse beams": f"generate {GENERATE} --beam 4 --diverse-beam-groups 2 --nbest 4",
    "diverse beams of lines": f"interactive {TOGETHER} --beam 4 --diverse-beam-groups 2 --nbest 4",
    "diverse siblings": f"generate {GENERATE} --beam 4 --diversity-rate 0.5",
    "source length": f"generate {GENERATE} --beam 4 --match-source-len",
    "lines": f"interactive {INTERACTIVE} --beam 2 --nbest 2",
    "buffered": f"interactive {INTERACTIVE} --beam 3 --buffer-size 10 --batch-size 3 --remove-bpe --print-alignment",
    "in order": f"interactive {INTERACTIVE} --beam 4 --buffer-size 2 --constraints",
    "in any order": f"interactive {INTERACTIVE} --beam 4 --constraints unordered",
    "unknown words": f"interactive {INTERACTIVE} --beam 2 --print-alignment --replace-unk {{pairs}}",
}


def words_of(case: str, folder: Path, data: Path, model: Path, other: Path) -> tuple[str, list[str]]:
    """Command and words of a case; what is typed is put into `folder`."""
    typed = folder / "typed.txt"
    lines = PHRASES if "--constraints" in CASES[case] else LINES
    typed.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    pairs = folder / "pairs.txt"
    pairs.write_text("foo fuh\nd3 three\n")
    command, *words = CASES[case].format(data=data, model=model, other=other, input=typed, pairs=pairs).split()
    return command, words


def told(output: str) -> list[str]:
    """The lines that tell of sentences, and the last one; not how long it took."""
    return [line for line in output.splitlines() if re.match(r"[A-Z]-\d+\t|Generate ", line) and line[:2] != "W-"]
