"""examples/translation/multi30k.sh and the scripts around SentencePiece that it uses, on a few sentences."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

WORDS = {"de": "ein kleiner Hund läuft über das grüne Gras", "en": "a small dog runs over the green grass"}
SMALL = "--encoder-layers 1 --decoder-layers 1 --encoder-embed-dim 32 --encoder-ffn-embed-dim 32"


def write_text(folder: Path) -> None:
    folder.mkdir()
    for split, count in (("train", 60), ("val", 6), ("test_2016_flickr", 6)):
        for language, sentence in WORDS.items():
            words = sentence.split()
            lines = (" ".join(words[(row + k) % len(words)] for k in range(3 + row % 5)) for row in range(count))
            (folder / f"{split}.{language}").write_text("\n".join(lines) + "\n", encoding="utf-8")


def script(repository: Path, name: str):
    spec = importlib.util.spec_from_file_location(name, repository / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.fixture
def model(tmp_path, repository) -> Path:
    pytest.importorskip("sentencepiece")
    write_text(tmp_path / "text")
    line = [f"--input={tmp_path / 'text' / 'train.de'}", f"--model_prefix={tmp_path / 'joint'}", "--vocab_size=30"]
    assert script(repository, "spm_train")(line) is None
    return tmp_path / "joint.model"


def test_pieces_join_to_the_lines_and_long_pairs_are_left_out_of_both(tmp_path, model, repository, capsys):
    encode = script(repository, "spm_encode")
    inputs = [str(tmp_path / "text" / f"val.{language}") for language in ("de", "en")]
    outputs = [str(tmp_path / f"pieces.{language}") for language in ("de", "en")]
    words = ["--model", str(model), "--inputs", *inputs, "--outputs", *outputs]
    assert encode(words) is None
    pieces, lines = (Path(paths[0]).read_text(encoding="utf-8").splitlines() for paths in (outputs, inputs))
    assert [line.replace(" ", "").replace("▁", " ").strip() for line in pieces] == lines
    longest = max(len(line.split()) for line in pieces) - 1
    assert (
        encode(["--model", str(model), "--inputs", *inputs, "--outputs", *outputs, "--max-len", str(longest)]) is None
    )
    left = [len(Path(path).read_text(encoding="utf-8").splitlines()) for path in outputs]
    assert left[0] == left[1] < len(lines)
    assert "left out" in capsys.readouterr().err


def test_what_is_wrong_is_said_in_one_line(tmp_path, model, repository):
    encode, train = script(repository, "spm_encode"), script(repository, "spm_train")
    assert "2 inputs and 1 outputs" in encode(["--model", str(model), "--inputs", "a", "b", "--outputs", "c"])
    for said in (
        encode(["--model", "nope", "--inputs", str(model), "--outputs", str(tmp_path / "out")]),
        encode(["--model", str(model), "--inputs", "nope", "--outputs", str(tmp_path / "out")]),
        train(["--input=nope", f"--model_prefix={tmp_path / 'x'}"]),
    ):
        assert "nope" in said and "\n" not in said
    assert "usage" in train([])


@pytest.mark.slow
def test_the_study_trains_quantized_and_scores(tmp_path, repository):
    pytest.importorskip("sentencepiece")
    write_text(tmp_path / "text")
    environment = {
        **os.environ,
        "PYTHON": sys.executable,
        "OUT": str(tmp_path / "runs"),
        "RUNS": "cpt48",
        "PIECES": "50",
        "OMP_NUM_THREADS": "1",
    }
    command = [
        repository / "examples" / "translation" / "multi30k.sh",
        tmp_path / "text",
        "--max-update",
        "2",
        "--warmup-updates",
        "0",
    ]
    done = subprocess.run([*command, *SMALL.split()], env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    name, seed, updates, bleu, seconds = done.stdout.splitlines()[-1].split()
    assert (name, seed, updates) == ("cpt48", "1", "2") and 0 <= float(bleu) <= 100 and int(seconds) >= 0
    assert "quantization=cpt_4_8" in (tmp_path / "runs" / "cpt48-seed1.log").read_text(encoding="utf-8")
