"""`task=translation_from_pretrained_bart`: pairs end in their language's symbol, and a model translates."""

import pytest

from fairseq import checkpoint_utils, options
from fairseq.dataclass.configs import GenerationConfig
from fairseq.dataclass.pretraining import TranslationFromPretrainedBARTConfig
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.errors import ConfigError
from fairseq.tasks.translation_from_pretrained_bart import TranslationFromPretrainedBARTTask
from fairseq_cli import preprocess, train

LINES = {
    "de": ["ein haus", "zwei", "das haus am see", "drei"],
    "en": ["a house", "two", "the house here", "three"],
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    text, folder = tmp_path_factory.mktemp("text"), tmp_path_factory.mktemp("bin")
    for language, lines in LINES.items():
        (text / f"train.{language}").write_text("".join(f"{line}\n" for line in lines))
    words = ["-s", "de", "-t", "en", "--workers", "1", "--joined-dictionary", "--destdir", str(folder)]
    splits = [f"--trainpref={text}/train", f"--validpref={text}/train"]
    preprocess.main(options.get_preprocessing_parser().parse_args([*words, *splits]))
    return folder


def task_of(data, langs="de,en,fr", **settings) -> TranslationFromPretrainedBARTTask:
    cfg = TranslationFromPretrainedBARTConfig(data=str(data), source_lang="de", target_lang="en", langs=langs)
    for name, value in {
        "train_subset": "train",
        "dataset_impl": None,
        "required_seq_len_multiple": 1,
        **settings,
    }.items():
        setattr(cfg, name, value)
    return TranslationFromPretrainedBARTTask.setup_task(cfg)


def test_both_sides_end_in_their_languages_symbol(data):
    task = task_of(data)
    task.load_dataset("train")
    source, target = task.source_dictionary, task.target_dictionary
    item = task.datasets["train"][1]
    assert source.string(item["source"]) == "zwei [de]" and target.string(item["target"]) == "two [en]"
    assert item["source"].tolist()[-2:] == [source.eos(), source.index("[de]")]
    batch = task.datasets["train"].collater([task.datasets["train"][i] for i in range(4)])
    assert batch["net_input"]["prev_output_tokens"][:, 0].tolist() == [target.index("[en]")] * 4
    words = (data / "dict.de.txt").read_text(encoding="utf-8").splitlines()
    assert len(source) == len(words) + 4 + 4  # four special symbols, three languages and <mask>


def test_begins_with_bos_where_it_is_told_to(data):
    task = task_of(data, prepend_bos=True)
    task.load_dataset("train")
    assert task.datasets["train"][0]["source"][0] == task.source_dictionary.bos()


def test_settings_of_translation_have_their_effect(data):
    task = task_of(data, truncate_source=True, max_source_positions=4)
    task.load_dataset("train")
    longest = max(len(task.datasets["train"][i]["source"]) for i in range(4))
    assert longest == 5  # three words and </s>, then the language


def test_a_language_that_pre_training_did_not_have(data):
    with pytest.raises(ConfigError, match=r"task.langs=de,fr: 'en' is not in it"):
        task_of(data, langs="de,fr")


def test_a_model_trains_and_its_hypotheses_end_in_the_targets_symbol(data, tmp_path):
    """By the commands: `fairseq-train`, then a generator of the task on its checkpoint."""
    words = "--task translation_from_pretrained_bart --langs de,en -s de -t en --arch mbart_base"
    small = "--encoder-layers 1 --decoder-layers 1 --encoder-embed-dim 16 --encoder-ffn-embed-dim 16 --dropout 0"
    run = "--encoder-attention-heads 2 --decoder-attention-heads 2 --optimizer adam --lr 0.02 --max-tokens 100 --cpu"
    rest = "--max-update 60 --disable-validation --num-workers 0 --criterion cross_entropy --log-format none"
    line = [str(data), *f"{words} {small} {run} {rest}".split(), "--save-dir", str(tmp_path)]
    parser = options.get_training_parser()
    train.main(convert_namespace_to_omegaconf(options.parse_args_and_arch(parser, line)))
    models, _, task = checkpoint_utils.load_model_ensemble_and_task([str(tmp_path / "checkpoint_last.pt")])
    task.load_dataset("train")
    batch = task.datasets["train"].collater([task.datasets["train"][i] for i in range(4)])
    generator = task.build_generator(models, GenerationConfig(beam=2, max_len_b=12))
    hypotheses = [best[0]["tokens"] for best in task.inference_step(generator, models, batch)]
    found = [task.target_dictionary.string(tokens, extra_symbols_to_ignore={generator.eos}) for tokens in hypotheses]
    assert all(tokens[-1] == task.target_dictionary.index("[en]") for tokens in hypotheses)
    assert set(found) & set(LINES["en"])  # it has learned something
