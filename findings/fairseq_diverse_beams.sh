#!/usr/bin/env bash
# fairseq 0.12.3 (PyPI: fairseq-fixed 0.12.3.1), CPU: hypotheses of diverse beam search in groups (--diverse-beam-groups)
# depend on the number that the data set gives to a sentence.
#
# How often groups agreed is kept by row of the batch at the first step; from the second step on it is looked up, and
# counted, by the sentence's number ("id" of the batch; the generator hands it on as original_batch_idxs). fairseq-generate
# sorts by length, so that rows and numbers differ: a sentence pays for what the groups of another one agreed on.
#
# Exits with 1 where that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 numpy
"$folder/venv/bin/pip" install -q fairseq-fixed==0.12.3.1
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import argparse

import torch
from fairseq.data import Dictionary
from fairseq.models.transformer import TransformerModel, base_architecture
from fairseq.search import DiverseBeamSearch
from fairseq.sequence_generator import SequenceGenerator

words = Dictionary()
for index in range(16):
    words.add_symbol(f"w{index}")
sizes = {f"{side}_{name}": size for side in ("encoder", "decoder")
         for name, size in (("embed_dim", 16), ("ffn_embed_dim", 16), ("attention_heads", 2), ("layers", 1))}  # fmt: skip
config = argparse.Namespace(**sizes, max_source_positions=32, max_target_positions=32)
base_architecture(config)
torch.manual_seed(0)
task = argparse.Namespace(source_dictionary=words, target_dictionary=words)
model = TransformerModel.build_model(config, task).eval()
with torch.no_grad():
    model.decoder.output_projection.weight.mul_(3)  # a model that is less undecided than a new one
sources = torch.randint(4, 20, (4, 6))
sources[:, -1] = words.eos()


def scores(rows, numbers):
    """Scores of all hypotheses (sentences, 4) of these rows of `sources`, in one batch."""
    search = DiverseBeamSearch(words, num_groups=2, diversity_strength=0.5)
    generator = SequenceGenerator([model], words, beam_size=4, max_len_b=6, search_strategy=search)
    source = sources[rows]
    net_input = {"src_tokens": source, "src_lengths": torch.full((len(rows),), 6), "prev_output_tokens": source[:, :1]}
    found = generator.generate([model], {"id": torch.tensor(numbers), "net_input": net_input})
    return torch.tensor([[float(one["score"]) for one in hypotheses] for hypotheses in found])


alone = torch.cat([scores([row], [0]) for row in range(4)])
as_rows, turned = scores([0, 1, 2, 3], [0, 1, 2, 3]), scores([0, 1, 2, 3], [1, 2, 3, 0])
torch.set_printoptions(precision=3)
print("each sentence alone:", alone, "one batch, numbered 0 1 2 3:", as_rows, "numbered 1 2 3 0:", turned, sep="\n")
assert torch.allclose(alone, as_rows, atol=1e-3)
assert not torch.allclose(as_rows, turned, atol=1e-3)
PYTHON
echo "fairseq 0.12.3: hypotheses in groups depend on the numbers of the sentences"
