"""Ours prints fairseq 0.12's losses of models for several pairs of languages (tests/fixtures/multilingual.json, made by
make_multilingual_fixtures.py), and translates with them.
"""

import json
import re

import pytest
from make_multilingual_fixtures import OUT
from multilingual_cases import RUNS, UPDATES, binarise, words, write_start, write_text
from test_training_runs import check
from training_cases import after, printed

from fairseq.errors import ConfigError, DataError

EXPECTED = json.loads(OUT.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    from fairseq import options
    from fairseq_cli import preprocess

    folder = tmp_path_factory.mktemp("multilingual")
    write_text(folder / "text")
    return binarise(folder, lambda line: preprocess.main(options.get_preprocessing_parser().parse_args(line)) and None)


@pytest.mark.parametrize("name", RUNS)
def test_printed_as_by_fairseq(name, ours, data, tmp_path):
    start = tmp_path / "start.pt"
    line = words(name, data, tmp_path / "out", start, resume=False)
    write_start(start, line)
    lines = printed(ours("train", line))
    assert len([each for each in lines if each["tag"] == "train_inner"]) == UPDATES
    check(lines, EXPECTED[name], exact=False)


@pytest.mark.oracle
@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_live_and_each_continues_the_other(name, ours, theirs, data, tmp_path):
    start = tmp_path / "start.pt"
    write_start(start, words(name, data, tmp_path / "out", start, resume=False))
    for call, save_dir in ((theirs, "theirs"), (ours, "ours")):
        check(printed(call("train", words(name, data, tmp_path / save_dir, start, resume=False))), EXPECTED[name])
    for call, other in ((theirs, "ours"), (ours, "theirs")):
        (middle,) = (tmp_path / other).glob("checkpoint_*_7.pt")
        lines = printed(call("train", words(name, data, tmp_path / f"on-{other}", middle, resume=True)))
        check(lines, after(EXPECTED[name], 7))


TOKENS = "--lang-pairs de-en,fr-en,en-de --encoder-langtok tgt --decoder-langtok"
TRANSLATE = f"--task multilingual_translation {TOKENS} --cpu --num-workers 0 --beam 2 --batch-size 4"


def test_a_quantized_model_translates_in_every_direction(ours, data, tmp_path, capfd):
    line = words("shared, with tokens", data, tmp_path, tmp_path / "none.pt", resume=True)[:-2]
    ours("train", [*line, "--max-update", "2", "--quantization", "int8"])
    path = tmp_path / "checkpoint_last.pt"
    for source, target in (("fr", "en"), ("en", "de")):
        lines = ours("generate", [data, *TRANSLATE.split(), "--path", path, "-s", source, "-t", target]).splitlines()
        sources = [each for each in lines if each.startswith("S-")]
        assert len(sources) == 9 == len([each for each in lines if each.startswith("H-")])
        assert all(each.endswith(f"__{target}__") for each in sources)
    wrong = [
        ("-s fr -t en", TOKENS.replace(",en-de", ""), "should include all the language pairs de-en,fr-en,en-de"),
        ("-s fr -t en", TOKENS.replace("tgt", "src"), "--encoder-langtok should be tgt"),
        ("-s fr -t en", TOKENS.replace("--decoder-langtok", ""), "--decoder-langtok should be set"),
        ("-s de -t fr", TOKENS, "de-fr is none of --lang-pairs: de-en, fr-en, en-de"),
        ("-s fr", TOKENS, "--source-lang and --target-lang belong together"),
    ]
    for direction, tokens, message in wrong:
        given = [*TRANSLATE.replace(TOKENS, tokens).split(), "--path", path, *direction.split()]
        with pytest.raises(SystemExit) as stopped:
            ours("generate", [data, *given])
        assert stopped.value.code in (1, 2)
        assert message in capfd.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--lang-pairs de-en-fr", "'de-en-fr' is no pair of languages such as de-en"),
        ("", "--lang-pairs is required"),
        ("--lang-pairs de-en,fr-de", "there is no valid.fr-de.fr.idx"),
        ("--lang-pairs de-en --arch transformer_tiny", "needs a model for several pairs"),
        ("--lang-pairs de-en --left-pad-source maybe", "task.left_pad_source must be True or False, not 'maybe'"),
        ("--lang-pairs de-en --share-all-embeddings --encoder-embed-dim 8", "needs equal widths"),
    ],
)
def test_mistakes(flags, message, ours, data, tmp_path, capfd):
    line = words("apart", data, tmp_path, tmp_path / "none.pt", resume=True)
    pairs = line.index("--lang-pairs")
    line = [*line[:pairs], *line[pairs + 2 : -2], *flags.split()]
    with pytest.raises(SystemExit) as stopped:
        ours("train", line)
    error = capfd.readouterr().err
    assert stopped.value.code in (1, 2) and message in error and "Traceback" not in error


def test_a_joined_dictionary_is_needed_to_share(data, tmp_path):
    from types import SimpleNamespace

    from fairseq.data import Dictionary
    from fairseq.models.multilingual_transformer import MultilingualTransformerModel

    dictionaries = {language: Dictionary() for language in ("de", "en", "fr")}
    dictionaries["fr"].add_symbol("bonjour")
    task = SimpleNamespace(dicts=dictionaries, lang_pairs=[], model_lang_pairs=["de-en", "fr-en"])
    for option in ("share_encoders", "share_encoder_embeddings", "share_all_embeddings"):
        args = SimpleNamespace(encoder_embed_dim=8, decoder_embed_dim=8, **{option: True})
        with pytest.raises(ConfigError, match=f"model.{option} needs a joined dictionary: those of de and fr differ"):
            MultilingualTransformerModel.build_model(args, task)


def mixed_task(data, *flags):
    from fairseq import options, tasks

    line = [str(data), *RUNS["mixed by temperature"].split(), *flags]
    return tasks.setup_task(options.parse_args_and_arch(options.get_training_parser(), line))


def test_an_epoch_within_a_pass_is_the_same_after_a_resume(data):
    epochs = {}
    for first in (1, 3):
        task = mixed_task(data)
        task.load_dataset("train", epoch=first)
        iterator = task.get_batch_iterator(task.dataset("train"), max_tokens=60, epoch=first)
        for epoch in range(first, 5):
            batches = [batch["net_input"]["src_tokens"].tolist() for batch in iterator.next_epoch_itr()]
            assert epochs.setdefault(epoch, batches) == batches
    assert len({str(batches) for batches in epochs.values()}) == 4


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--langs de,en", "language 'fr' of --lang-pairs is none of --langs: de, en"),
        ("--lang-dict nowhere.txt", "--langs and --lang-dict cannot both be specified"),
        ("--langtoks nonsense(", "--langtoks: 'nonsense(' is no mapping"),
        ("--extra-data {'mined':'x'}", "--extra-data and --extra-lang-pairs name different kinds of data"),
        ("--source-lang de", "--source-lang and --target-lang belong together"),
    ],
)
def test_mistakes_of_mixtures(flags, message, data):
    with pytest.raises(ConfigError, match=re.escape(message)):
        mixed_task(data, *flags.split())


def test_weights_of_other_data_sets_are_refused(data):
    task = mixed_task(data, "--sampling-weights", "{'main:de-en': 1}")
    with pytest.raises(ConfigError, match="sampling weights are for main:de-en; the data sets are main:de-en, main:fr"):
        task.load_dataset("train")


def test_extra_data_has_shares_of_its_own(data):
    more = ["--extra-data", f"{{'mined': '{data}'}}", "--extra-lang-pairs", "{'mined': 'de-en'}"]
    task = mixed_task(data, *more, "--langtoks", "{'mined': (None, 'tgt')}")
    task.load_dataset("train")
    mixture = task.dataset("train")
    assert mixture.keys == ["main:de-en", "main:fr-en", "main:en-de", "mined:de-en"]
    plain, mined = mixture.datasets[0][0], mixture.datasets[3][0]
    assert (
        plain["source"].tolist()[1:] == mined["source"].tolist()
        and plain["target"].tolist() == mined["target"].tolist()
    )


def test_dictionaries_that_differ_are_refused(data, tmp_path):
    import shutil

    shutil.copytree(data, tmp_path / "bin")
    with open(tmp_path / "bin" / "dict.fr.txt", "a") as file:
        file.write("bonjour 1\n")
    with pytest.raises(DataError, match="all source languages need one dictionary; those of de and fr differ"):
        mixed_task(tmp_path / "bin")


def test_round_robin_is_said_to_be_concat(data, caplog):
    task = mixed_task(data, "--sampling-method", "RoundRobin")
    assert task.sampling_method.sampling_method_selector() is None
    assert "RoundRobin takes every pair as it is" in caplog.text
