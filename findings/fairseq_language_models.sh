#!/usr/bin/env bash
# fairseq 0.12.3 (PyPI: fairseq-fixed 0.12.3.1), CPU: two numbers of its language models that are not what they are called.
#
# 1. adaptive_loss leaves out a share of the loss for the second word of every cluster: targets are numbered anew within a
#    cluster, and number 1 is then taken for padding, whose number it is. That word's probability within its cluster is
#    never trained. Scores for evaluation are right.
# 2. fairseq-eval-lm --context-window gives blocks the wrong context with more than one worker (--num-workers 2): the
#    data set keeps the last tokens that its process has seen, and each process sees every second batch.
#
# Exits with 1 where one of them is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 numpy
"$folder/venv/bin/pip" install -q fairseq-fixed==0.12.3.1
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import argparse

import numpy as np
import torch
from fairseq.criterions.adaptive_loss import AdaptiveLoss
from fairseq.data import Dictionary, ListDataset, LMContextWindowDataset, MonolingualDataset, TokenBlockDataset
from fairseq.models.transformer_lm import TransformerLanguageModel, TransformerLanguageModelConfig

words = Dictionary()
for index in range(16):
    words.add_symbol(f"w{index}")  # 20 entries; head 0..7, clusters 8..13 and 14..19
task = argparse.Namespace(source_dictionary=words, target_dictionary=words)
config = TransformerLanguageModelConfig(
    decoder_layers=1, decoder_embed_dim=16, decoder_input_dim=16, decoder_output_dim=16, decoder_ffn_embed_dim=16,
    decoder_attention_heads=2, dropout=0.0, adaptive_softmax_cutoff="8,14",
)
config.add_bos_token, config.tpu, config.tokens_per_sample, config.max_target_positions = False, False, 8, 8
torch.manual_seed(1)
model = TransformerLanguageModel.build_model(config, task).eval()
criterion = AdaptiveLoss(task, False)
source, missing = torch.tensor([[2]]), []
with torch.no_grad():
    log_probs = model.get_normalized_probs(model(source), log_probs=True)[0, 0]
    for word in range(4, 20):
        sample = {"net_input": {"src_tokens": source}, "target": torch.tensor([[word]]), "ntokens": 1}
        missing.append(round(float(-log_probs[word] - criterion(model, sample)[0]), 4))
print("-log p(word) minus adaptive_loss, words 4 to 19:", missing)
assert [word for word, part in enumerate(missing, start=4) if abs(part) > 1e-3] == [9, 15], missing

items = [torch.arange(4, 20)] * 3
blocks = TokenBlockDataset(
    ListDataset(items, [16] * 3), np.array([16] * 3), 4, pad=1, eos=2, break_mode="none", include_targets=True
)
text = MonolingualDataset(blocks, blocks.sizes, words, words, targets=["future"])


def contexts(workers):
    data = LMContextWindowDataset(text, 4, 2, 1)
    one_by_one = [[index] for index in range(6)]
    loader = torch.utils.data.DataLoader(data, batch_sampler=one_by_one, collate_fn=data.collater, num_workers=workers)
    return [batch["net_input"]["src_tokens"][0, : batch["start_indices"][0]].tolist() for batch in loader]


found = {workers: contexts(workers) for workers in (0, 1, 2)}
print("contexts of the first six blocks, by number of workers:", found)
assert found[0] == found[1] == [[], [5, 6], [9, 10], [13, 14], [17, 18], [5, 6]], found
assert found[2] == [[], [], [5, 6], [9, 10], [13, 14], [17, 18]], found
PYTHON
echo "fairseq 0.12.3 leaves out the second word of each cluster, and mixes up contexts with two workers"
