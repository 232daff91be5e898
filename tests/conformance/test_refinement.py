"""Models that refine whole sentences give what they give in fairseq 0.12: weights, losses, noise, hypotheses, printed
lines (tests/fixtures/refinement.json, see make_refinement_fixtures.py), and do what only ours does.
"""

import json
import subprocess
import sys

import family_cases
import pytest
import refinement_cases
import torch
from make_refinement_fixtures import OUT
from multilingual_cases import write_start
from refinement_runs import GENERATED, RUNS, UPDATES, generating, told, words
from test_families import LEFT_OUT
from test_training_runs import check
from training_cases import printed
from translation_cases import binarise, write_pairs

from fairseq.errors import ConfigError

EXPECTED = json.loads(OUT.read_text(encoding="utf-8"))
UNUSED = {"ngram_predictor", "no_share_last_layer"}  # nothing in fairseq reads them


def close(found, expected, tolerance):
    """The same, with numbers to a tolerance."""
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(close(found[key], expected[key], tolerance) for key in expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(close(f, e, tolerance) for f, e in zip(found, expected, strict=True))
    if isinstance(expected, float):
        return found == pytest.approx(expected, abs=tolerance, rel=1e-4, nan_ok=True)
    return found == expected


def test_noise_of_the_targets():
    assert refinement_cases.noises() == EXPECTED["noises"]


@pytest.mark.parametrize("name", EXPECTED["cases"])
def test_same_as_fairseq(name):
    found, expected = refinement_cases.describe(name), EXPECTED["cases"][name]
    for part in ("state", "allowed", "losses"):
        assert close(found[part], expected[part], 1e-3), (part, found[part], expected[part])
    assert found["beams"].keys() == expected["beams"].keys()
    for key, hypotheses in expected["beams"].items():
        if isinstance(hypotheses, str):  # fairseq fails
            assert len(found["beams"][key]) == 3
            continue
        for (ours,), (theirs,) in zip(found["beams"][key], hypotheses, strict=True):
            if name == "crf" and key == "lengths":  # chosen by those scores
                continue
            if name == "crf":  # fairseq takes the scores of words from beside the path: test_dynamic_crf.py has ours
                theirs |= {"positional": ours["positional"], "score": ours["score"]}
            assert close(ours, theirs, 1e-3), (key, ours, theirs)


@pytest.mark.parametrize("arch", EXPECTED["architectures"])
def test_defaults_and_flags_equal_fairseqs(arch):
    found = {key: family_cases.plain(value) for key, value in vars(family_cases.parsed(arch)).items()}
    expected = {key: value for key, value in EXPECTED["architectures"][arch].items() if key not in UNUSED}
    assert {key: found[key] for key in expected} == expected
    assert set(EXPECTED["flags"][arch]) <= {*family_cases.flags(arch), *LEFT_OUT}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    from fairseq import options
    from fairseq_cli import preprocess

    folder = tmp_path_factory.mktemp("refinement")
    write_pairs(folder / "text")
    parser = options.get_preprocessing_parser
    return binarise(folder, True, lambda line: preprocess.main(parser().parse_args(line)) and None)


@pytest.mark.parametrize("name", RUNS)
def test_printed_and_generated_as_by_fairseq(name, ours, data, tmp_path):
    start = tmp_path / "start.pt"
    line = words(name, data, tmp_path / "out", start)
    write_start(start, line)
    lines = printed(ours("train", line))
    assert len([each for each in lines if each["tag"] == "train_inner"]) == UPDATES
    check(lines, EXPECTED["runs"][name], exact=False)
    for case, (run, _) in GENERATED.items():
        if run != name:
            continue
        found = told(ours("generate", generating(case, data, tmp_path / "out" / "checkpoint_last.pt")))
        assert len(found) == len(EXPECTED["generated"][case])
        for ours_line, theirs in zip(found, EXPECTED["generated"][case], strict=True):
            assert alike(ours_line, theirs), (ours_line, theirs)


def alike(found, expected):
    """The same words, and numbers to 2e-3."""
    pairs = zip(found.split(), expected.split(), strict=True)
    return all(f == e or _number(f) == pytest.approx(_number(e), abs=2e-3) for f, e in pairs)


def _number(word):
    try:
        return float(word)
    except ValueError:
        return None


@pytest.mark.parametrize("preset", ["int8", "cpt_4_8"])
@pytest.mark.parametrize("arch", ["levenshtein_transformer", "insertion_transformer", "nacrf_transformer"])
def test_quantized_models_train_and_generate(preset, arch, ours, data, tmp_path):
    line = words("levenshtein", data, tmp_path, tmp_path / "none.pt")[:-6]
    line[line.index("levenshtein_transformer")] = arch
    line[line.index("random_delete")] = "full_mask" if arch == "nacrf_transformer" else "random_delete"
    if arch != "levenshtein_transformer":
        del line[line.index("--early-exit") : line.index("--early-exit") + 2]
    ours("train", [*line, "--save-dir", tmp_path, "--max-update", "2", "--quantization", preset])
    flags = "--task translation_lev --cpu --num-workers 0 --iter-decode-max-iter 1 --batch-size 4"
    found = told(ours("generate", [data, *flags.split(), "--path", tmp_path / "checkpoint_last.pt"]))
    assert len([each for each in found if each.startswith("H-")]) == 14


def test_bleu_while_training(ours, data, tmp_path):
    line = words("masks", data, tmp_path, tmp_path / "none.pt")[:-6]
    bleu = ["--eval-bleu", "--eval-bleu-args", '{"iter_decode_max_iter": 1}', "--max-update", "1"]
    lines = printed(ours("train", [*line, *bleu, "--save-dir", tmp_path]))
    assert [each for each in lines if "valid_bleu" in each]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--sampling --nbest 5 --beam 5", "generation.nbest=5 has no effect: models that refine whole sentences"),
        ("--iter-decode-with-beam 2", "LevenshteinTransformerModel predicts no lengths of which to try several"),
        ("--iter-decode-with-external-reranker", "give the checkpoint that ranks last in --path"),
        ("--prefix-size 2", "generation.prefix_size=2 has no effect"),
        ("--print-alignment", "generation.print_alignment=hard has no effect"),
    ],
)
def test_mistakes(flags, message, ours, data, tmp_path_factory, capfd):
    folder = tmp_path_factory.getbasetemp() / "refining_mistakes"
    model = folder / "checkpoint_last.pt"
    if not model.exists():
        line = words("levenshtein", data, folder, folder / "none.pt")[:-6]
        ours("train", [*line, "--save-dir", folder, "--max-update", "1"])
    given = f"--task translation_lev --cpu --num-workers 0 --batch-size 4 {flags}".split()
    with pytest.raises(SystemExit) as stopped:
        ours("generate", [data, *given, "--path", model])
    error = capfd.readouterr().err
    assert stopped.value.code in (1, 2) and message in error and "Traceback" not in error


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("--criterion nat_loss --label-smoothing 0.1", "", "task=translation_lev needs --criterion nat_loss"),
        ("--task translation_lev", "--task translation", "use --task translation_lev --criterion nat_loss"),
        ("--arch cmlm_transformer", "--arch transformer", "TransformerModel does not"),
        ("--noise random_mask", "", "task.noise=random_delete takes words away"),
    ],
)
def test_mistakes_of_training(old, new, message, ours, data, tmp_path, capfd):
    line = " ".join(words("masks", data, tmp_path, tmp_path / "none.pt")[:-6])
    line = line.replace(
        "--noise random_mask", "" if "translation_lev" in old or "arch" in old else "--noise random_mask"
    )
    line = line.replace("--apply-bert-init", "" if "arch" in old else "--apply-bert-init")
    with pytest.raises(SystemExit) as stopped:
        ours("train", [*line.replace(old, new).split(), "--save-dir", tmp_path])
    error = capfd.readouterr().err
    assert stopped.value.code in (1, 2) and message in error and "Traceback" not in error


def test_a_search_has_no_refinement():
    from argparse import Namespace

    from fairseq.tasks.generators import build_generator

    with pytest.raises(ConfigError, match="NATransformerModel refines whole sentences: generate with --task transl"):
        build_generator(family_cases.dictionary(), [refinement_cases.build("cmlm")], Namespace())
    with pytest.raises(ConfigError, match="iter_decode_max_iter=3 has no effect: only models that refine"):
        build_generator(family_cases.dictionary(), [], Namespace(iter_decode_max_iter=3))


def test_reranked_scores_are_those_of_the_ranking_model():
    from fairseq.iterative_refinement_generator import IterativeRefinementGenerator
    from fairseq.sequence_scorer import SequenceScorer

    model, ranking = refinement_cases.fill(refinement_cases.build("cmlm")), refinement_cases.ranking_model().eval()
    generator = IterativeRefinementGenerator(family_cases.dictionary(), max_iter=2, beam_size=3, reranking=True)
    sample = refinement_cases.sample()
    found = generator.generate([model, ranking], sample)
    special = (refinement_cases.BOS, refinement_cases.EOS)
    rows = [[t for t in each[0]["tokens"].tolist() if t not in special] for each in found]
    targets = [torch.tensor([*row, refinement_cases.EOS]) for row in rows]
    from fairseq.data.data_utils import collate_tokens

    sample["target"] = collate_tokens(targets, refinement_cases.PAD)
    sample["net_input"]["prev_output_tokens"] = collate_tokens(
        targets, refinement_cases.PAD, refinement_cases.EOS, move_eos_to_beginning=True
    )
    scored = SequenceScorer(family_cases.dictionary()).generate([ranking], sample)
    for (ours,), (theirs,) in zip(found, scored, strict=True):
        assert float(ours["score"]) == pytest.approx(float(theirs["score"]), abs=1e-5)


def test_an_ensemble_leaves_its_models_as_they_were():
    from fairseq.iterative_refinement_generator import IterativeRefinementGenerator

    models = [refinement_cases.fill(refinement_cases.build("levenshtein")) for _ in range(2)]
    generator = IterativeRefinementGenerator(family_cases.dictionary(), max_iter=2)
    alone = generator.generate(models[:1], refinement_cases.sample())
    with torch.no_grad():
        for parameter in models[1].parameters():
            parameter.mul_(0.5)
    together = generator.generate(models, refinement_cases.sample())
    again = generator.generate(models[:1], refinement_cases.sample())
    scores = [[float(each[0]["score"]) for each in found] for found in (alone, together, again)]
    assert scores[0] == scores[2] != scores[1]


@pytest.mark.oracle
@pytest.mark.slow
def test_fixtures_are_what_fairseq_gives_today(oracle_python, oracle_env, tmp_path):
    code = "import json, refinement_cases as r; print(json.dumps([r.noises(), r.describe('levenshtein')]))"
    result = subprocess.run(
        [oracle_python, "-c", code],
        env={**oracle_env, "PYTHONPATH": str(OUT.parents[1] / "conformance")},
        cwd=tmp_path, check=True, stdout=subprocess.PIPE, stderr=sys.stderr, text=True,
    )  # fmt: skip
    noises, case = json.loads(result.stdout.splitlines()[-1])
    assert noises == EXPECTED["noises"] and close(case, EXPECTED["cases"]["levenshtein"], 1e-3)
