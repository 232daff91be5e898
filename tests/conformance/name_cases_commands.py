"""Cases: commands called from Python with a namespace of flags."""

import os
import tempfile

import torch
from name_case_tools import case, dictionary, items

MODEL = ["--encoder-layers", "1", "--encoder-embed-dim", "8", "--encoder-ffn-embed-dim", "8"]


def data_folder():
    from fairseq.data.indexed_dataset import make_builder

    folder = tempfile.mkdtemp()
    dictionary(30).save(os.path.join(folder, "dict.txt"))
    for split, seed in (("train", 1), ("valid", 2)):
        prefix = os.path.join(folder, split)
        builder = make_builder(prefix + ".bin", "mmap", vocab_size=30)
        for sequence in items(seed, 8, low=3, vocab=30):
            builder.add_item(sequence)
        builder.finalize(prefix + ".idx")
    return folder


def training_words(data, folder):
    return [
        *(data, "--task", "masked_lm", "--arch", "roberta_base", "--criterion", "masked_lm", "--optimizer", "adam"),
        *MODEL,
        *("--encoder-attention-heads", "2", "--max-positions", "32", "--tokens-per-sample", "16", "--cpu"),
        *("--sample-break-mode", "eos", "--batch-size", "4", "--max-update", "3", "--save-dir", folder),
        *("--no-epoch-checkpoints", "--lr", "0.01", "--num-workers", "0", "--seed", "5", "--log-format", "none"),
    ]


@case
def mains_take_a_namespace():
    from fairseq import checkpoint_utils, options
    from fairseq_cli import train, validate

    if hasattr(checkpoint_utils.save_checkpoint, "best"):  # where fairseq keeps it, from run to run
        del checkpoint_utils.save_checkpoint.best
    data, folder = data_folder(), tempfile.mkdtemp()
    args = options.parse_args_and_arch(options.get_training_parser(), training_words(data, folder))
    train.main(args)
    state = torch.load(os.path.join(folder, "checkpoint_last.pt"), weights_only=False)
    words = [data, "--path", os.path.join(folder, "checkpoint_last.pt"), "--batch-size", "4", "--cpu"]
    words += ["--task", "masked_lm", "--num-workers", "0", "--log-format", "none"]
    validate.main(options.parse_args_and_arch(options.get_validation_parser(), words))
    return [
        sorted(name for name in os.listdir(folder) if name.endswith(".pt")),
        state["optimizer_history"][-1]["num_updates"],
    ]
