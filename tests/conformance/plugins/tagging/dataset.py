import numpy as np
import torch

from fairseq.data import FairseqDataset, data_utils


class TaggingDataset(FairseqDataset):
    def __init__(self, words, tags, word_dict, tag_dict):
        super().__init__()
        assert len(words) == len(tags)
        self.words, self.tags = words, tags
        self.word_dict, self.tag_dict = word_dict, tag_dict
        self.sizes = np.asarray(words.sizes)

    def __getitem__(self, index):
        return {"id": index, "words": self.words[index], "tags": self.tags[index] - self.tag_dict.nspecial}

    def __len__(self):
        return len(self.words)

    def num_tokens(self, index):
        return self.sizes[index]

    def size(self, index):
        return self.sizes[index]

    def ordered_indices(self):
        return np.argsort(self.sizes, kind="stable")

    @property
    def supports_prefetch(self):
        return False

    def collater(self, samples):
        if len(samples) == 0:
            return {}
        words = data_utils.collate_tokens([s["words"] for s in samples], self.word_dict.pad())
        target = data_utils.collate_tokens([s["tags"] for s in samples], -1, pad_to_length=words.size(1))
        return {
            "id": torch.LongTensor([s["id"] for s in samples]),
            "nsentences": len(samples),
            "ntokens": int(target.ne(-1).sum()),
            "net_input": {
                "src_tokens": words,
                "src_lengths": torch.LongTensor([s["words"].numel() for s in samples]),
            },
            "target": target,
        }
