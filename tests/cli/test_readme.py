"""Every command in the README runs, as written, on tiny data.

The ```bash blocks run one after the other in one folder. In front of each block shell functions named like the
commands are defined, which run our modules and shrink the model and the number of updates; the words of the README
stay as they are.
"""

import re
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
TINY_FLAGS = (
    "--encoder-layers 1 --encoder-embed-dim 16 --encoder-ffn-embed-dim 32 --encoder-attention-heads 2 --max-update 3 "
    "--num-workers 0"
)

PREAMBLE = """
set -euo pipefail
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
fairseq-plot() {{ {python} -m fairseq_cli.plot "$@"; }}
# installing is what scripts/check_package.sh tests; test.sh is what runs this
pip() {{ [[ "$*" == "install -c constraints.txt ." ]]; }}
./scripts/glue_cpt_3_8.sh() {{ bash scripts/glue_cpt_3_8.sh "$@" {tiny}; }}
./scripts/test.sh() {{ :; }}
./scripts/quickstart.sh() {{ bash scripts/quickstart.sh optimization.max_update=3 dataset.num_workers=0; }}
"""


def blocks() -> list[str]:
    text = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
    return re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, repository) -> Path:
    """What the commands find in the folder they start in."""
    folder = tmp_path_factory.mktemp("readme")
    for name in ("examples", "scripts", "constraints.txt"):
        (folder / name).symlink_to(repository / name)
    (folder / "roberta-hf").symlink_to(repository / "tests" / "fixtures" / "hf" / "roberta")
    make_glue(folder / "glue", "RTE")
    for split in ("train", "valid"):
        (folder / f"text.{split}").write_text("some words of text\n" * 5)
    return folder


@pytest.fixture(scope="module")
def bpe(tmp_path_factory) -> Path:
    return make_bpe(tmp_path_factory.mktemp("bpe"))


@pytest.fixture(scope="module")
def environment(repository, bpe, folder):
    import os

    keep = {**os.environ, "PYTHONPATH": str(repository), "FAIRSEQ_PYTHON": sys.executable, "PYTHON": sys.executable}
    return {**keep, "BPE_DIR": str(bpe), "OUT": str(folder / "quickstart"), "OMP_NUM_THREADS": "1"}


def run(script: str, folder: Path, environment: dict[str, str], bpe: Path) -> str:
    preamble = PREAMBLE.format(python=sys.executable, bpe=bpe, tiny=TINY, tiny_flags=TINY_FLAGS)
    done = subprocess.run(
        ["bash", "-c", preamble + script], cwd=folder, env=environment, capture_output=True, text=True, timeout=600
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
    (folder / "roberta.base").mkdir()
    shutil.copy(folder / "first" / "checkpoint_last.pt", folder / "roberta.base" / "model.pt")


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(blocks())))
def test_readme_commands_run(number, folder, environment, bpe, pretrained):
    run(blocks()[number], folder, environment, bpe)


def test_every_command_of_the_project_is_shown_or_known():
    """The preamble knows each command that the README uses, so that none runs at full size or not at all."""
    shown = {word for block in blocks() for word in re.findall(r"^(?:\w+=\S+ )?(fairseq-[\w-]+)", block, re.MULTILINE)}
    assert shown <= set(re.findall(r"^(fairseq-[\w-]+)\(\)", PREAMBLE, re.MULTILINE))
    assert shown >= {"fairseq-hydra-train", "fairseq-train", "fairseq-validate", "fairseq-prepare-glue", "fairseq-plot"}
