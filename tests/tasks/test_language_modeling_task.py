"""`task=language_modeling` and `fairseq-eval-lm`: targets, dictionaries, shards, and one line for what goes wrong."""

import importlib
import logging
import shutil
import sys

import pytest
import torch

from fairseq import tasks
from fairseq.data import Dictionary, indexed_dataset
from fairseq.dataclass.tasks import LanguageModelingConfig
from fairseq.errors import ConfigError, DataError

FLAGS = """
    --task language_modeling --arch transformer_lm_gpt2_tiny --decoder-embed-dim 8 --decoder-ffn-embed-dim 8
    --tokens-per-sample 8 --optimizer adam --lr 0.01 --batch-size 4 --max-update 3 --cpu --num-workers 0
    --no-epoch-checkpoints
""".split()  # noqa: SIM905 - a command line
LENGTHS = [5, 3, 9, 1, 7, 4, 6, 2]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lm") / "bin"
    folder.mkdir()
    dictionary = Dictionary()
    for index in range(16):
        dictionary.add_symbol(f"w{index}")
    dictionary.save(str(folder / "dict.txt"))
    for split in ("train", "valid"):
        builder = indexed_dataset.make_builder(f"{folder}/{split}.bin", "mmap", len(dictionary))
        for number, length in enumerate(LENGTHS):
            builder.add_item(torch.tensor([*(4 + (number + i) % 16 for i in range(length)), 2]).int())
        builder.finalize(f"{folder}/{split}.idx")
    return folder


def setup(data, **settings):
    followed = dict(
        seed=1, batch_size=4, batch_size_valid=2, dataset_impl=None, data_buffer_size=0, tpu=False,
        use_plasma_view=False, plasma_path="", tokens_per_sample=8,
    )  # fmt: skip
    config = LanguageModelingConfig(data=str(data), _name="language_modeling", **{**followed, **settings})
    return tasks.setup_task(config)


class TestTask:
    def test_targets(self, data):
        assert setup(data).targets == ["future"]
        both = setup(data, self_target=True, past_target=True)
        both.load_dataset("valid")
        item = both.dataset("valid")[1]
        source, (itself, past) = item["source"].tolist(), [target.tolist() for target in item["target"]]
        assert itself == source and past[1:] == source[:-1]

    def test_blocks_cover_the_text_once(self, data):
        for mode in ("none", "complete", "complete_doc", "eos"):
            task = setup(data, sample_break_mode=mode)
            task.load_dataset("valid")
            dataset = task.dataset("valid")
            targets = torch.cat([dataset[i]["target"] for i in range(len(dataset))])
            expected = [
                each for n, length in enumerate(LENGTHS) for each in [*((n + i) % 16 + 4 for i in range(length)), 2]
            ]
            assert targets.tolist() == expected, mode

    def test_a_smaller_output_dictionary(self, data):
        task = setup(data, output_dictionary_size=10)
        assert (len(task.source_dictionary), len(task.target_dictionary)) == (20, 10)
        task.load_dataset("valid")
        dataset = task.dataset("valid")
        targets = torch.cat([dataset[i]["target"] for i in range(len(dataset))])
        assert targets.max() < 10 and (targets == task.source_dictionary.unk()).any()

    def test_batches_of_one_shape(self, data):
        task = setup(data, pad_to_fixed_length=True, pad_to_fixed_bsz=True)
        task.load_dataset("valid")
        task.load_dataset("train")
        for split, rows in (("valid", 2), ("train", 4)):
            dataset = task.dataset(split)
            last = len(dataset) - 1
            assert dataset.collater([dataset[last]])["net_input"]["src_tokens"].shape == (rows, 8)

    def test_shards_by_epoch(self, data, tmp_path):
        other = tmp_path / "other"
        shutil.copytree(data, other)
        builder = indexed_dataset.make_builder(f"{other}/train.bin", "mmap", 20)
        builder.add_item(torch.tensor([9, 9, 9, 2]).int())
        builder.finalize(f"{other}/train.idx")
        task = setup(f"{data}:{other}")
        sizes = []
        for epoch in (1, 2, 3):
            task.load_dataset("train", epoch=epoch)
            sizes.append(len(task.dataset("train")))
        assert sizes == [6, 1, 6]

    def test_a_dictionary_that_a_checkpoint_carries(self, data, tmp_path):
        state = setup(data).state_dict()
        config = LanguageModelingConfig(data=str(tmp_path / "gone"), _name="language_modeling")
        config.seed, config.batch_size, config.batch_size_valid, config.data_buffer_size = 1, 1, 1, 0
        config.dataset_impl, config.tpu, config.use_plasma_view, config.plasma_path = None, False, False, ""
        task = tasks.setup_task(config, task_state=state)
        assert task.source_dictionary.symbols == setup(data).source_dictionary.symbols
        with pytest.raises(DataError, match="has no split 'train'"):
            task.load_dataset("train")

    def test_what_is_missing(self, data, tmp_path):
        with pytest.raises(DataError, match=r"there is no .*dict.txt; prepare a data folder"):
            setup(tmp_path)
        with pytest.raises(DataError, match="has no split 'test'"):
            setup(data).load_dataset("test")
        with pytest.raises(ConfigError, match=r"task\.data is not set"):
            setup("").load_dataset("valid")

    def test_constraints_are_refused(self, data):
        with pytest.raises(ConfigError, match="no source to constrain"):
            setup(data).inference_step(None, [], {}, constraints=torch.zeros(1, 1))


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """Calls a command in this process; returns its exit code and what it printed."""
    folder = tmp_path_factory.mktemp("runs")

    def call(capfd, command, *words):
        before, root = sys.argv, logging.getLogger()
        handlers, level = root.handlers[:], root.level
        root.handlers[:] = []
        sys.argv = [command, str(data), *map(str, words)]
        capfd.readouterr()
        code = 0
        try:
            importlib.import_module(f"fairseq_cli.{command}").cli_main()
        except SystemExit as error:
            code = error.code
        finally:
            sys.argv, root.handlers[:] = before, handlers
            root.setLevel(level)
        printed = capfd.readouterr()
        return code, printed.out, printed.err

    call.folder = folder
    return call


@pytest.fixture
def checkpoint(run, capfd):
    path = run.folder / "run" / "checkpoint_last.pt"
    if not path.exists():
        code, out, err = run(capfd, "train", *FLAGS, "--save-dir", path.parent)
        assert code == 0, out + err
    return path


class TestCommand:
    def evaluate(self, run, capfd, checkpoint, *words):
        flags = ["--gen-subset", "valid", "--cpu", "--num-workers", "0", "--path", checkpoint]
        return run(capfd, "eval_lm", *flags, *words)

    @pytest.mark.parametrize(
        "words, message",
        [
            (["--tokens-per-sample", "9"], "longer than the model's 8 positions"),
            ([], "longer than the model's 8 positions"),  # fairseq's default of 1024
            (["--tokens-per-sample", "8", "--context-window", "8"], "leaves no tokens to predict"),
            (["--tokens-per-sample", "8", "--gen-subset", "test"], "has no split 'test'"),
            (["--tokens-per-sample", "8", "--path", "nowhere.pt"], "nowhere.pt"),
            (["--tokens-per-sample", "8", "--remove-bpe", "sentencepiece"], "leave it out"),
        ],
    )
    def test_one_line_for_what_goes_wrong(self, run, capfd, checkpoint, words, message):
        code, _, err = self.evaluate(run, capfd, checkpoint, *words)
        (line,) = err.strip().splitlines()
        assert code and line.startswith("error: ") and message in line

    def test_scores_that_are_not_numbers(self, run, capfd, checkpoint, tmp_path):
        state = torch.load(checkpoint, weights_only=False)
        state["model"]["decoder.layer_norm.weight"][0] = float("nan")
        torch.save(state, tmp_path / "damaged.pt")
        code, _, err = self.evaluate(run, capfd, tmp_path / "damaged.pt", "--tokens-per-sample", "8")
        assert code and "not numbers" in err

    def test_loss_is_that_of_validation(self, run, capfd, checkpoint):
        code, out, _ = self.evaluate(run, capfd, checkpoint, "--tokens-per-sample", "8")
        words = ["--path", checkpoint, "--valid-subset", "valid", "--cpu", "--batch-size", "4", "--num-workers", "0"]
        validated = run(capfd, "validate", *words)[1]
        assert code == 0
        loss = float(out.rpartition("Loss (base 2): ")[2].partition(",")[0])
        assert f"loss {loss:.3f}".rstrip("0") in validated

    def test_self_targets_are_refused(self, run, capfd):
        code, _, err = run(capfd, "train", *FLAGS, "--self-target", "--save-dir", run.folder / "refused")
        assert code and "task.self_target: TransformerLanguageModel predicts future only" in err
