"""Every command in the README runs on tiny data, and with paths that have spaces and letters beyond ASCII.

The ```bash blocks run one after the other in one folder. In front of each block shell functions named like the
commands are defined, which run our modules and shrink the model and the number of updates. The words of the README
stay as they are, but for the names of files and folders (`PATHS`).
"""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from glue_files import make_bpe, make_glue

TINY = (
    "model.encoder_layers=1 model.encoder_embed_dim=16 model.encoder_ffn_embed_dim=32 model.encoder_attention_heads=2 "
    "optimization.max_update=3 dataset.num_workers=0"
)
LIST = TINY.replace(" ", ", ")
TINY_FLAGS = (
    "--encoder-layers 1 --encoder-embed-dim 16 --encoder-ffn-embed-dim 32 --encoder-attention-heads 2 --max-update 3 "
    "--num-workers 0"
)

PREAMBLE = """
set -euo pipefail
fairseq-formats() {{ {python} -m fairseq_cli.formats "$@"; }}
fairseq-graph() {{ {python} -m fairseq_cli.graph "$@"; }}
fairseq-prepare-glue() {{ {python} -m fairseq_cli.prepare_glue "$@" --bpe-dir {bpe} --overwrite; }}
fairseq-hydra-train() {{ {python} -m fairseq_cli.hydra_train "$@" {tiny}; }}
fairseq-train() {{ {python} -m fairseq_cli.train "$@" {tiny_flags}; }}
fairseq-validate() {{ {python} -m fairseq_cli.validate "$@"; }}
fairseq-preprocess() {{ {python} -m fairseq_cli.preprocess "$@"; }}
fairseq-import-hf() {{ {python} -m fairseq_cli.import_hf "$@"; }}
fairseq-export-hf() {{ {python} -m fairseq_cli.export_hf "$@" --bpe-dir {bpe}; }}
# the files of ONNX are an extra, which not every machine has; tests/export tests the command
fairseq-export-onnx() {{ ! {python} -c 'import onnx' 2> /dev/null || {python} -m fairseq_cli.export_onnx "$@"; }}
fairseq-quant-report() {{ {python} -m fairseq_cli.quant_report "$@" --batches 1; }}
fairseq-quantize-checkpoint() {{ {python} -m fairseq_cli.quantize_checkpoint "$@"; }}
fairseq-precision-range-test() {{ {python} -m fairseq_cli.precision_range_test "$@" {tiny} --updates-per-bits 2; }}
fairseq-make-acceptability() {{ {python} -m fairseq_cli.make_acceptability "$@" --train 40 --valid 10 --overwrite; }}
fairseq-study() {{ {python} -m fairseq_cli.study "$@" 'common=[{tiny_list}]' 'seeds=[1]'; }}
fairseq-search() {{ {python} -m fairseq_cli.search "$@" trials=1 'common=[task.data=acceptability-bin, {tiny_list}]'; }}
fairseq-prepare-text() {{ {python} -m fairseq_cli.prepare_text "$@"; }}
fairseq-predict() {{ {python} -m fairseq_cli.predict "$@"; }}
fairseq-plot() {{ {python} -m fairseq_cli.plot "$@"; }}
fairseq-report() {{ {python} -m fairseq_cli.report "$@"; }}
# installing is what scripts/check_package.sh tests; test.sh is what runs this
pip() {{ [[ "$*" == "install -c constraints.txt ." ]]; }}
./scripts/glue_cpt_3_8.sh() {{ bash scripts/glue_cpt_3_8.sh "$@" {tiny}; }}
./scripts/test.sh() {{ :; }}
./scripts/quickstart.sh() {{ bash scripts/quickstart.sh optimization.max_update=3 dataset.num_workers=0; }}
"""


# names in the README -> names that quoting, splitting or an encoding may break
PATHS = {
    "RTE-bin": "Sätze für RTE",
    "glue": "GLUE, 原本",
    "roberta.base": "große Modelle",
    "roberta-hf": "von Hugging Face",
    "roberta.imported": "übernommene Modelle",
    "gpt2_bpe": "Wörter (BPE)",
    "rte-run": "Läufe von heute",
    "rte-hf": "für Hugging Face",
    "text.train": "Texte, é.train",
    "text.valid": "Texte é.valid",
    "data-bin": "Daten é",
    "int8.pt": "ganz zahlig é.pt",
    "int4.pt": "vier Bits é.pt",
    "int8.png": "Bild é.png",
    "int8": "ganze Zahlen é",
    "range": "Bereich é",
    "rte.onnx": "Graph é.onnx",
    "rte.png": "Kurven é.png",
    "rte.html": "Seite é.html",
    "formats.png": "Formate é.png",
    "reviews.csv": "Urteile é.csv",
    "reviews-bin": "Urteile é (gelesen)",
    "reviews-run": "Urteile é (gelernt)",
    "reviews.pt": "Urteile é.pt",
}
NAMES = re.compile(rf"(?<![\w./-])(?<!quantization[ =])(?:{'|'.join(map(re.escape, PATHS))})(?![\w.-])")


def blocks(language: str = "bash") -> list[str]:
    text = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def with_paths(script: str) -> str:
    """The script with the names of `PATHS`; in words that are not in quotes, what the shell would split is escaped."""

    def escaped(name: re.Match[str]) -> str:
        return re.sub(r"([ ()])", r"\\\1", PATHS[name[0]])

    parts = re.split(r"('[^']*')", script)
    parts[::2] = [NAMES.sub(escaped, part) for part in parts[::2]]
    parts[1::2] = [NAMES.sub(lambda name: PATHS[name[0]], part) for part in parts[1::2]]
    return "".join(parts)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, repository) -> Path:
    """What the commands find in the folder they start in."""
    folder = tmp_path_factory.mktemp("readme") / "ein Ordner für alles"
    folder.mkdir()
    for name in ("examples", "scripts", "constraints.txt"):
        (folder / name).symlink_to(repository / name)
    (folder / PATHS["roberta-hf"]).symlink_to(repository / "tests" / "fixtures" / "hf" / "roberta")
    make_glue(folder / PATHS["glue"], "RTE")
    (folder / "model.py").write_text("from torch import nn\ndef build():\n    return nn.Sequential(nn.Linear(16, 4))\n")
    for split in ("train", "valid"):
        (folder / PATHS[f"text.{split}"]).write_text("some words of text\n" * 5)
    return folder


@pytest.fixture(scope="module")
def bpe(tmp_path_factory) -> Path:
    return make_bpe(tmp_path_factory.mktemp("bpe") / "Wörter und Stücke")


@pytest.fixture(scope="module")
def environment(repository, bpe, folder):
    import os

    keep = {**os.environ, "PYTHONPATH": str(repository), "FAIRSEQ_PYTHON": sys.executable, "PYTHON": sys.executable}
    return {**keep, "BPE_DIR": str(bpe), "OUT": str(folder / "quickstart"), "OMP_NUM_THREADS": "1"}


def run(script: str, folder: Path, environment: dict[str, str], bpe: Path) -> str:
    preamble = PREAMBLE.format(
        python=sys.executable, bpe=shlex.quote(str(bpe)), tiny=TINY, tiny_flags=TINY_FLAGS, tiny_list=LIST
    )
    done = subprocess.run(
        ["bash", "-c", preamble + with_paths(script)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def pretrained(folder, environment, bpe):
    """A checkpoint where the README expects RoBERTa's."""
    run(
        "fairseq-prepare-glue --task RTE --glue-dir glue --dest RTE-bin\n"
        "fairseq-hydra-train --config-dir examples/roberta/config/finetuning --config-name rte task.data=RTE-bin "
        "checkpoint.restore_file=checkpoint_last.pt checkpoint.save_dir=first",
        folder,
        environment,
        bpe,
    )
    (folder / PATHS["roberta.base"]).mkdir()
    shutil.copy(folder / "first" / "checkpoint_last.pt", folder / PATHS["roberta.base"] / "model.pt")


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(blocks())))
def test_readme_commands_run(number, folder, environment, bpe, pretrained):
    run(blocks()[number], folder, environment, bpe)


def test_the_names_of_paths_are_replaced():
    script = "a --dest RTE-bin 'task.data=\"RTE-bin\"' x=int8.pt RTE-binary int8/c.pt quantization=int8"
    assert with_paths(script) == (
        "a --dest Sätze\\ für\\ RTE 'task.data=\"Sätze für RTE\"' x=ganz\\ zahlig\\ é.pt RTE-binary "
        "ganze\\ Zahlen\\ é/c.pt quantization=int8"
    )
    used = " ".join(blocks())
    assert all(name in used for name in PATHS)


@pytest.mark.slow
def test_readme_python_reads_what_its_commands_wrote(folder, environment, bpe, pretrained):
    """The block that predicts: with the tokenizer of the test, which is not the published one."""
    (block,) = (block for block in blocks("python") if "from_pretrained" in block)
    tokenizer = f"gpt2_encoder_json={str(bpe / 'encoder.json')!r}, gpt2_vocab_bpe={str(bpe / 'vocab.bpe')!r}"
    program = block.replace(").eval()", f", {tokenizer}).eval()").replace("rte-run", PATHS["rte-run"])
    program = program.replace("RTE-bin", PATHS["RTE-bin"])
    program = program.replace("roberta.predict_label", "print(roberta.predict_label")
    program = re.sub(r"(print\(.*\))(  #)", r"\1)\2", program)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in ("['entailment']", "['not_entailment']")


def test_readme_python_runs_without_a_warning(tmp_path, environment):
    """The other ```python blocks, one after the other, as one program."""
    program = "\n".join(block for block in blocks("python") if "from_pretrained" not in block)
    assert "calibrate" in program and "scheduler.step()" in program
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert done.stdout.startswith("quantization=int8") and "0.weight" in done.stdout


def test_every_command_of_the_project_is_shown_or_known():
    """The preamble knows each command that the README uses, so that none runs at full size or not at all."""
    shown = {word for block in blocks() for word in re.findall(r"^(?:\w+=\S+ )?(fairseq-[\w-]+)", block, re.MULTILINE)}
    assert shown <= set(re.findall(r"^(fairseq-[\w-]+)\(\)", PREAMBLE, re.MULTILINE))
    assert shown >= {"fairseq-hydra-train", "fairseq-train", "fairseq-validate", "fairseq-prepare-glue", "fairseq-plot"}
