"""Cases: language models of several languages."""

import os
import tempfile

import numpy as np
import torch
from name_case_tools import case, dictionary, plain


def folder_of_two_languages():
    from fairseq.data.indexed_dataset import make_builder

    folder, draw = tempfile.mkdtemp(), np.random.RandomState(0)
    dictionary(24).save(f"{folder}/dict.txt")
    for language, count in (("de", 9), ("en", 4)):
        os.makedirs(f"{folder}/{language}")
        for split in ("train", "valid"):
            builder = make_builder(f"{folder}/{language}/{split}.bin", "mmap", vocab_size=24)
            for _ in range(count):
                words = draw.randint(4, 24, draw.randint(1, 7))
                builder.add_item(torch.tensor(np.append(words, 2)))
            builder.finalize(f"{folder}/{language}/{split}.idx")
    return folder


def batch(dataset, indices):
    found = dataset.collater([dataset[int(index)] for index in indices])
    return {key: dict(value) if isinstance(value, dict) else value for key, value in found.items()}


@case
def texts_of_several_languages():
    from fairseq import options, tasks
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf

    found, folder = [], folder_of_two_languages()
    for flags in (
        "--tokens-per-sample 5 --langs en,de --multilang-sampling-alpha 0.7",
        "--tokens-per-sample 6 --sample-break-mode eos --multilang-sampling-alpha 0.5 --add-bos-token",
        "--tokens-per-sample 6 --sample-break-mode complete --multilang-sampling-alpha 0.7 --pad-to-fixed-length",
    ):
        line = f"{folder} --task multilingual_language_modeling --arch transformer_lm_gpt2_small {flags}"
        args = options.parse_args_and_arch(options.get_training_parser(), line.split())
        task = tasks.setup_task(convert_namespace_to_omegaconf(args).task)
        found.append([task.dictionary.symbols[-3:], task.targets, type(task).__name__])
        for split in ("train", "valid"):
            task.load_dataset(split, epoch=2)
            dataset = task.datasets[split]
            order = dataset.ordered_indices()
            found.append([sorted(task.datasets), type(dataset).__name__, len(dataset), order])
            found.append([batch(dataset, order[start : start + 4]) for start in range(0, len(order), 4)])
        sentences = [torch.tensor([5, 6, 2]), torch.tensor([7, 2])]
        given = batch(task.build_dataset_for_inference(sentences, [3, 2], language="en"), [0, 1])["net_input"]
        # fairseq pads one token more
        found.append([given["src_lengths"], [row[row != 1] for row in given["src_tokens"]]])
    return plain(found)
