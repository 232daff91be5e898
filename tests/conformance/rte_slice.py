"""RTE-bin as fairseq 0.12 makes it: its BPE over the TSV columns, then its fairseq-preprocess.

With `lines` only the first so many training and development lines are used (and no test split), so that digests of it
are made and checked in seconds; None takes everything.
"""

import os
import subprocess
from pathlib import Path
from typing import Optional

RTE_LINES = 200

# Runs in fairseq's own environment: reads a line per sentence on stdin, writes BPE ids.
_ENCODE = """
import sys
from argparse import Namespace
from fairseq.data.encoders import build_bpe
bpe = build_bpe(Namespace(bpe="gpt2", gpt2_encoder_json=sys.argv[1], gpt2_vocab_bpe=sys.argv[2]))
for line in sys.stdin:
    print(bpe.encode(line.strip()))
"""


def make_rte_bin_with_oracle(oracle: Path, data: Path, folder: Path, lines: Optional[int]) -> Path:
    """Write `folder/RTE-bin` with fairseq 0.12 (interpreter `oracle`) from `data/glue/RTE`; returns it."""
    env = {**os.environ, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1", "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}
    bpe = data / "roberta-bpe"
    splits = ("train", "dev", "test") if lines is None else ("train", "dev")
    for split in splits:
        rows = (data / "glue" / "RTE" / f"{split}.tsv").read_text(encoding="utf-8").split("\n")[1:]
        rows = [row.split("\t") for row in rows[:lines] if row]
        for column in (1, 2):
            text = "".join(f"{row[column]}\n" for row in rows)
            command = [str(oracle), "-c", _ENCODE, str(bpe / "encoder.json"), str(bpe / "vocab.bpe")]
            # cwd matters: with -c it is on the import path, where the checkout's own fairseq must not be found
            done = subprocess.run(
                command, input=text, capture_output=True, cwd=folder, env=env, check=True, encoding="utf-8"
            )
            (folder / f"{split}.input{column - 1}.bpe").write_text(done.stdout)
        if split != "test":
            (folder / f"{split}.label").write_text("".join(f"{row[3]}\n" for row in rows))
    for name, extra in (("input0", True), ("input1", True), ("label", False)):
        suffix = f"{name}.bpe" if extra else name
        words = ["--only-source", "--trainpref", f"train.{suffix}", "--validpref", f"dev.{suffix}"]
        if extra:
            words += ["--srcdict", str(bpe / "dict.txt")]
            words += ["--testpref", f"test.{suffix}"] if "test" in splits else []
        subprocess.run(
            [str(oracle), "-m", "fairseq_cli.preprocess", *words, "--destdir", f"RTE-bin/{name}", "--workers", "2"],
            cwd=folder,
            env=env,
            check=True,
            capture_output=True,
        )
    return folder / "RTE-bin"
