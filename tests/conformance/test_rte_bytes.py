"""RTE-bin of fairseq-prepare-glue is, byte for byte, what fairseq 0.12's BPE and fairseq-preprocess make of RTE."""

import json
from pathlib import Path

import pytest
from preprocess_cases import digests
from rte_slice import RTE_LINES, make_rte_bin_with_oracle

from fairseq.data.glue.prepare import prepare

EXPECTED = json.loads((Path(__file__).parents[1] / "fixtures" / "preprocess" / "expected.json").read_text())


def test_first_lines_equal_the_committed_digests(glue_dir, bpe_dir, tmp_path):
    folder = tmp_path / "glue" / "RTE"
    folder.mkdir(parents=True)
    for split in ("train", "dev"):
        lines = (glue_dir / "RTE" / f"{split}.tsv").read_text(encoding="utf-8").split("\n")[: RTE_LINES + 1]
        (folder / f"{split}.tsv").write_text("\n".join(lines), encoding="utf-8")
    prepare("RTE", tmp_path / "glue", tmp_path / "RTE-bin", bpe_dir)
    assert digests(tmp_path / "RTE-bin") == EXPECTED["rte_slice"]


@pytest.mark.oracle
@pytest.mark.slow
def test_all_of_rte_equals_what_fairseq_makes_now(glue_dir, shared_data, bpe_dir, oracle_python, tmp_path):
    theirs = make_rte_bin_with_oracle(oracle_python, shared_data, tmp_path, lines=None)
    prepare("RTE", glue_dir, tmp_path / "ours", bpe_dir)
    assert digests(tmp_path / "ours") == digests(theirs)
    assert len(digests(theirs)) == 19
