"""`task=translation`: which pairs it loads, and what it says where they do not fit. Values are fairseq 0.12's."""

import shutil
import sys

import numpy as np
import pytest
import torch

from fairseq import options, tasks
from fairseq.data import Dictionary
from fairseq.data.language_pair_files import load_langpair_dataset
from fairseq.dataclass.tasks import TranslationConfig
from fairseq.errors import CheckpointError, ConfigError, DataError
from fairseq.tasks import generation_bleu
from fairseq.tasks.dictionaries import KEY
from fairseq.tasks.translation import TranslationTask
from fairseq_cli import preprocess, train

LINES = {
    "train.de": ["ein haus am see", "zwei", "", "das haus"],
    "train.en": ["a house by the lake", "two", "nothing", "the house"],
    "valid.de": ["das haus am see", "drei"],
    "valid.en": ["the house by the lake", "three"],
    "train1.de": ["zwei haus"],
    "train1.en": ["two house"],
}


@pytest.fixture(scope="module")
def binarised(tmp_path_factory):
    text, folder = tmp_path_factory.mktemp("text"), tmp_path_factory.mktemp("bin")
    for name, lines in LINES.items():
        (text / name).write_text("".join(f"{line}\n" for line in lines))
    common = ["-s", "de", "-t", "en", "--workers", "1"]

    def run(*words):
        preprocess.main(options.get_preprocessing_parser().parse_args([*common, *words]))

    run(f"--trainpref={text}/train", f"--validpref={text}/valid", f"--destdir={folder}")
    dictionaries = [f"--srcdict={folder}/dict.de.txt", f"--tgtdict={folder}/dict.en.txt"]
    run(f"--trainpref={text}/train1", *dictionaries, f"--destdir={text}/more")
    for path in (text / "more").glob("train.*"):
        shutil.copy(path, folder / path.name.replace("train.", "train1."))
    return folder


@pytest.fixture
def data(binarised, tmp_path):
    """A copy to damage."""
    return shutil.copytree(binarised, tmp_path / "bin")


def load(data, split="train", src="de", tgt="en", *, combine=False, upsample=1, longest=1024, **settings):
    dictionaries = {lang: Dictionary.load(data / f"dict.{lang}.txt") for lang in (src, tgt)}
    return load_langpair_dataset(
        str(data),
        split,
        src,
        dictionaries[src],
        tgt,
        dictionaries[tgt],
        combine,
        None,
        upsample,
        True,
        False,
        longest,
        1024,
        **settings,
    )


def text(dataset, side, index):
    dictionary = dataset.src_dict if side == "source" else dataset.tgt_dict
    return dictionary.string(dataset[index][side], include_eos=True)


def test_pairs_in_both_directions(binarised):
    forth, back = load(binarised), load(binarised, src="en", tgt="de")
    assert text(forth, "source", 0) == text(back, "target", 0) == "ein haus am see </s>"
    assert text(forth, "target", 3) == text(back, "source", 3) == "the house </s>"
    assert forth.src_sizes.tolist() == [5, 2, 1, 3]


def test_parts_are_combined_and_the_first_one_repeated(binarised):
    assert len(load(binarised)) == 4
    assert len(load(binarised, combine=True)) == len(load(binarised, combine=True, upsample=-1)) == 5
    more = load(binarised, combine=True, upsample=3)
    assert len(more) == 13
    assert text(more, "source", 12) == "zwei haus </s>" and text(more, "source", 8) == "ein haus am see </s>"
    assert more.tgt_sizes.tolist() == [6, 2, 2, 3] * 3 + [3]


def test_sources_are_truncated_before_eos(binarised):
    dataset = load(binarised, longest=3, truncate_source=True)
    assert text(dataset, "source", 0) == "ein haus </s>" and text(dataset, "source", 1) == "zwei </s>"
    assert dataset.src_sizes.tolist() == [3, 3, 2, 3]  # eos counts before it is stripped, as in fairseq 0.12


def test_marks_of_begin_and_language(binarised):
    both = load(binarised, prepend_bos=True, prepend_bos_src=5)
    assert both[1]["source"][0] == both[1]["target"][0] == 0
    source_only = load(binarised, prepend_bos_src=5)
    assert source_only[1]["source"][0] == 5 and len(source_only[1]["target"]) == 2
    marked = load(binarised, append_source_id=True)  # the dictionaries do not have them here
    assert marked[1]["source"][-1] == marked[1]["target"][-1] == marked.eos == marked.src_dict.unk()


def test_a_split_without_targets_is_loaded_and_not_trained_on(data):
    for path in data.glob("valid.de-en.en.*"):
        path.unlink()
    assert load(data, "valid").tgt is None
    task = task_of(data)
    task.load_dataset("valid")
    batch = task.dataset("valid").collater([task.dataset("valid")[0]])
    with pytest.raises(DataError, match="no en side"):
        task.train_step(batch, None, None, None, 0)
    with pytest.raises(DataError, match="no en side"):
        task.valid_step(batch, None, None)


def test_what_is_missing_is_named(data):
    with pytest.raises(FileNotFoundError, match=r"Dataset not found: test \(.*there is no test\.de-en\.de\.idx"):
        load(data, "test")
    with pytest.raises(DataError, match="no such folder"):
        load_langpair_dataset(str(data / "x"), "train", "de", None, "en", None, False, None, 1, True, False, 1024, 1024)
    (data / "train.de-en.de.bin").unlink()
    with pytest.raises(DataError, match=r"train\.de-en\.de\.idx is there, but .*\.bin is not"):
        load(data)


def test_sides_of_different_lengths(data):
    for end in ("bin", "idx"):
        shutil.copy(data / f"valid.de-en.en.{end}", data / f"train.de-en.en.{end}")
    with pytest.raises(DataError, match=r"train\.de-en\.de has 4 sentences, .*train\.de-en\.en 2; preprocess"):
        load(data)


def task_of(data, **settings):
    cfg = TranslationConfig(data=str(data), train_subset="train", dataset_impl=None, required_seq_len_multiple=1)
    for key, value in settings.items():
        setattr(cfg, key, value)
    return TranslationTask.setup_task(cfg)


def test_languages_come_from_the_files(binarised, tmp_path):
    task = task_of(binarised)
    assert (task.cfg.source_lang, task.cfg.target_lang) == ("de", "en")
    back = task_of(binarised, source_lang="en", target_lang="de")
    assert back.source_dictionary.symbols == task.target_dictionary.symbols
    with pytest.raises(ConfigError, match=r"Could not infer language pair.*has no file like"):
        task_of(tmp_path)
    with pytest.raises(ConfigError, match=r"Could not infer language pair.*no such folder"):
        task_of(tmp_path / "x")
    with pytest.raises(ConfigError, match=r"task\.data is missing"):
        task_of("")


def test_each_epoch_trains_on_the_next_folder(binarised, data):
    for side in ("de", "en"):
        for end in ("bin", "idx"):
            shutil.copy(data / f"train1.de-en.{side}.{end}", data / f"train.de-en.{side}.{end}")
    task = task_of(f"{binarised}:{data}")
    assert task.has_sharded_data("train")
    lengths = []
    for epoch in (1, 2, 3):
        task.load_dataset("train", epoch=epoch)
        lengths.append(len(task.dataset("train")))
    assert lengths == [4, 1, 4]
    task.load_dataset("valid", epoch=2)
    assert len(task.dataset("valid")) == 2


def test_a_checkpoint_brings_its_dictionaries_and_refuses_others(binarised):
    task = task_of(binarised)
    state = task.state_dict()
    cfg = TranslationConfig(data="gone", source_lang="de", target_lang="en")
    elsewhere = tasks.setup_task(
        {**vars(cfg), "_name": "translation"},
        from_checkpoint=True,
        task_state=state,
    )
    assert elsewhere.target_dictionary.symbols == task.target_dictionary.symbols
    state[KEY]["target"] = state[KEY]["target"].replace("house", "horse")
    with pytest.raises(CheckpointError, match=r"the target dictionary .* does not fit .* 'house' and 'horse'"):
        task_of(binarised).load_state_dict(state)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"eval_bleu_args": "{beam: 4}"}, r"task\.eval_bleu_args='\{beam: 4\}' is not JSON"),
        ({"eval_bleu_args": "[4]"}, "not a JSON object"),
        ({"eval_bleu_args": '{"beem": 4}'}, "unknown key 'beem' in task.eval_bleu_args; did you mean 'beam'"),
        ({"eval_bleu_detok": "mosses"}, "unknown tokenizer 'mosses'"),
    ],
)
def test_settings_of_bleu_are_checked(binarised, settings, message):
    task = task_of(binarised, eval_bleu=True, **settings)
    with pytest.raises(ConfigError, match=message):
        task._prepare_bleu(None)


def test_bleu_is_that_of_the_sums():
    import sacrebleu

    from fairseq.logging import metrics

    outputs = ["a b c d e f", "the house by the lake"]
    references = ["a b c d f e", "the house by a lake"]
    parts = [
        generation_bleu.statistics(generation_bleu.score([o], [r])) for o, r in zip(outputs, references, strict=True)
    ]
    with metrics.aggregate(new_root=True) as aggregator:
        generation_bleu.log(parts)
    expected = sacrebleu.corpus_bleu(outputs, [references]).score
    assert aggregator.get_smoothed_values()["bleu"] == round(expected, 2) > 0


def test_bleu_of_one_batch(binarised):
    """Unknown words never match; eos and padding are no words."""
    task = task_of(binarised, eval_bleu=True)
    task.tokenizer = generation_bleu.detokenizer(task.cfg)
    line = "the house by the <unk> lake"
    target = task.target_dictionary.encode_line(line, add_if_not_exist=False).long()
    padded = torch.cat([target, target.new_full((3,), task.target_dictionary.pad())])
    task.inference_step = lambda *args, **kwargs: [[{"tokens": target}]]
    bleu = task._inference_with_bleu(None, {"target": padded[None]}, None)
    assert (bleu.sys_len, bleu.ref_len, bleu.counts[0]) == (6, 6, 5)


def test_longest_pairs(binarised):
    task = task_of(binarised, max_source_positions=3, max_target_positions=5)
    assert task.max_positions() == (3, 5)
    task.load_dataset("train")
    kept = task.filter_indices_by_size(np.arange(4), task.dataset("train"), task.max_positions(), True)
    assert kept.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: [path.unlink() for path in data.glob("train.de-en.en.*")], "no en side"),
        (lambda data: (data / "dict.en.txt").unlink(), "no dictionary"),
        (lambda data: (data / "dict.en.txt").write_text("the 9\n"), "preprocess"),
        (lambda data: [path.unlink() for path in data.glob("valid.*")], "Dataset not found: valid"),
    ],
)
def test_a_training_command_ends_in_one_line(data, damage, message, tmp_path, monkeypatch, capsys):
    for path in data.glob("train1.*"):
        path.unlink()
    damage(data)
    words = [str(data), "--arch", "transformer_tiny", "--batch-size", "2", "--optimizer", "adam", "--max-update", "2"]
    monkeypatch.setattr(sys, "argv", ["fairseq-train", *words, "--cpu", "--save-dir", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as end:
        train.cli_main()
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert end.value.code == 1 and error.startswith("error: ") and message in error
