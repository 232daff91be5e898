"""fairseq-generate, fairseq-interactive and fairseq-score: what they write, and what they refuse in one line."""

import io
import logging
import shutil
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from fairseq import options
from fairseq_cli import generate, interactive, preprocess, score

MODEL = Path(__file__).resolve().parents[1] / "fixtures" / "translate" / "model.pt"


@pytest.fixture(scope="module")
def binarised(tmp_path_factory):
    """The data that the model of the fixture was trained on."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "conformance"))
    from translation_cases import binarise, write_pairs

    folder = tmp_path_factory.mktemp("data")
    write_pairs(folder / "text")
    parser = options.get_preprocessing_parser
    return binarise(folder, False, lambda words: preprocess.main(parser().parse_args(words)))


@pytest.fixture
def run(monkeypatch, capfd):
    """Runs a command; what it printed, and its errors."""

    def call(module, *words):
        monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, words)])
        root = logging.getLogger()
        handlers, root.handlers[:] = root.handlers[:], []
        capfd.readouterr()
        try:
            module.cli_main()
        finally:
            root.handlers[:] = handlers
        return capfd.readouterr()

    return call


@pytest.fixture
def refused(run, capfd):
    """Runs a command that has to end in one line on stderr, and returns it."""

    def call(module, *words):
        with pytest.raises(SystemExit) as end:
            run(module, *words)
        assert end.value.code not in (0, None)
        lines = capfd.readouterr().err.strip().splitlines()
        assert len(lines) == 1 and lines[0].startswith("error: "), lines
        return lines[0]

    return call


def common(data, *more):
    return [data, "--path", MODEL, "--cpu", "--num-workers", "0", "--max-len-b", "8", "--beam", "2", *more]


def numbers(output, kind="H"):
    return [int(line.split("\t")[0][2:]) for line in output.splitlines() if line.startswith(f"{kind}-")]


def test_shards_are_all_sentences_once(run, binarised):
    found = []
    for shard in range(3):
        words = common(binarised, "--batch-size", "2", "--num-shards", "3", "--shard-id", shard)
        found += numbers(run(generate, *words).out)
    assert sorted(found) == list(range(14))


def test_results_go_to_a_folder(run, binarised, tmp_path):
    shown = run(generate, *common(binarised, "--results-path", tmp_path / "new" / "results"))
    text = (tmp_path / "new" / "results" / "generate-test.txt").read_text()
    assert shown.out == "" and sorted(numbers(text)) == list(range(14))
    assert "Translated 14 sentences (" in text
    assert text.splitlines()[-1].startswith("Generate test with beam=2: BLEU4 = ")


def test_main_takes_a_namespace_and_returns_the_scorer(binarised, capfd):
    words = [str(word) for word in common(binarised, "--quiet", "--scoring", "wer")]
    args = options.parse_args_and_arch(options.get_generation_parser(), words)
    assert isinstance(args, Namespace)
    scorer = generate.main(args)
    assert scorer.ref_length > 0 and scorer.score() > 0
    assert f"Generate test with beam=2: WER: {scorer.score():.2f}" in capfd.readouterr().out


def test_a_split_without_references_is_translated(run, binarised, tmp_path):
    data = shutil.copytree(binarised, tmp_path / "bin")
    for path in data.glob("test.de-en.en.*"):
        path.unlink()
    printed = run(generate, *common(data)).out
    assert len(numbers(printed)) == 14 and not numbers(printed, "T") and "Generate test" not in printed


def test_steps_are_those_of_the_decoder(run, binarised):
    lines = run(generate, *common(binarised, "--print-step")).out.splitlines()
    scores = {line.split("\t")[0][2:]: len(line.split("\t")[1].split()) for line in lines if line.startswith("P-")}
    steps = {line.split("\t")[0][2:]: int(line.split("\t")[1]) for line in lines if line.startswith("I-")}
    assert steps == scores


def test_sampling_depends_on_the_seed(run, binarised):
    def drawn(seed):
        words = common(binarised, "--sampling", "--nbest", "2", "--sampling-topk", "9", "--seed", seed)
        return [line for line in run(generate, *words).out.splitlines() if line.startswith("H-")]

    assert drawn(1) == drawn(1) != drawn(2)


def test_long_sentences_are_refused_or_left_out(run, refused, binarised):
    short = ["--max-source-positions", "8"]
    assert "too long" in refused(generate, *common(binarised, *short))
    kept = numbers(run(generate, *common(binarised, *short, "--skip-invalid-size-inputs-valid-test")).out)
    assert 0 < len(kept) < 14


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--nbest", "3"], "--nbest 3 is more than the 2 hypotheses of --beam"),
        (["--sampling"], "--sampling draws --beam hypotheses: set --nbest 2"),
        (["--sampling-topk", "4"], "sampling_topk=4 has no effect without"),
        (["--diverse-beam-groups", "2", "--match-source-len"], "exclude each other"),
        (["--replace-unk", "--print-alignment"], "--dataset-impl raw"),
        (["--replace-unk"], "add --print-alignment"),
        (["--iter-decode-max-iter", "3"], "only models that refine whole sentences read it"),
        (["--gen-subset", "nope"], "Dataset not found: nope"),
        (["--path", "nope.pt"], "nope.pt"),
        (["--scoring", "blue"], "did you mean 'bleu'"),
        (["--model-overrides", "{'dropuot': 1}"], "did you mean 'dropout'"),
        (["--lm-path", "nope.pt"], "nope.pt"),
        (["--post-process", "nope"], "post_process"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(refused, binarised, more, message):
    assert message in refused(generate, *common(binarised, *more))


def test_no_checkpoint(refused, binarised):
    assert "--path" in refused(generate, binarised, "--cpu")


def test_another_dictionary(refused, binarised, tmp_path):
    data = shutil.copytree(binarised, tmp_path / "bin")
    with open(data / "dict.en.txt", "a") as file:
        file.write("more 1\n")
    assert "target dictionary of 32 entries, but the dict.txt of this data gives 33" in refused(generate, *common(data))


# -- interactive -------------------------------------------------------------------------------------------------------


def typed(tmp_path, *lines):
    path = tmp_path / "typed.txt"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_lines_from_standard_input(run, binarised, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("d1 d2\nd3\n\n"))
    printed = run(interactive, *common(binarised, "--buffer-size", "2")).out
    assert numbers(printed) == numbers(printed, "S") == [0, 1, 2] and "Total time: " in printed


def test_buffered_read(tmp_path):
    path = typed(tmp_path, "a", " b ", "c")
    assert list(interactive.buffered_read(str(path), 2)) == [["a", "b"], ["c"]]


def test_lines_that_cannot_be_translated(refused, run, binarised, tmp_path):
    path = typed(tmp_path, "d1", "d2 " * 50)
    words = common(binarised, "--input", path, "--max-source-positions", "9")
    assert "too long" in refused(interactive, *words, "--buffer-size", "2")
    printed = run(interactive, *words, "--buffer-size", "2", "--skip-invalid-size-inputs-valid-test").out
    assert numbers(printed) == [0]
    assert "--buffer-size" in refused(interactive, *words, "--batch-size", "4")


# -- score -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path):
    (tmp_path / "out").write_text("A b c d e f g\nu v w x y\n")
    (tmp_path / "ref").write_text("a b c d e g f\nu v w x y\n")
    (tmp_path / "short").write_text("a b c d e g f\n")
    return tmp_path


@pytest.mark.parametrize(
    ("more", "line"),
    [  # the first three as fairseq 0.12 prints them; it fails with the other flags
        ([], "BLEU4 = 66.92, 91.7/70.0/62.5/50.0 (BP=1.000, ratio=1.000, syslen=12, reflen=12)"),
        (["--ignore-case"], "BLEU4 = 79.53, 100.0/80.0/75.0/66.7 (BP=1.000, ratio=1.000, syslen=12, reflen=12)"),
        (["-o", "2"], "BLEU2 = 80.10, 91.7/70.0 (BP=1.000, ratio=1.000, syslen=12, reflen=12)"),
        (["--sentence-bleu"], "1 BLEU4 = 100.00, 100.0/100.0/100.0/100.0 (BP=1.000, ratio=1.000, syslen=5, reflen=5)"),
        (["--sacrebleu"], "BLEU = 66.92 91.7/70.0/62.5/50.0 (BP = 1.000 ratio = 1.000 hyp_len = 12 ref_len = 12)"),
    ],
)
def test_score(run, files, more, line):
    lines = run(score, "-s", files / "out", "-r", files / "ref", *more).out.splitlines()
    assert lines[0].startswith("Namespace(sys=") and lines[-1] == line


def test_score_needs_a_reference_for_each_line(refused, files):
    assert "has 2 lines" in refused(score, "-s", files / "out", "-r", files / "short")
    assert "has 2 lines" in refused(score, "-s", files / "out", "-r", files / "short", "--sacrebleu")
    assert "no such file" in refused(score, "-s", files / "out", "-r", files / "nope").lower()
    assert "--order 5" in refused(score, "-s", files / "out", "-r", files / "ref", "-o", "5")
