"""How well an encoder's features say how similar two sentences are, without any training.

    python examples/roberta/mean_pooled_similarity.py MODEL_DIR glue/STS-B/dev.tsv

A sentence is the mean of its tokens' features, `<s>` and `</s>` included; the similarity of two is the cosine. Prints
the correlations with the scores that people gave.
"""

import argparse
import csv

import torch
from scipy.stats import pearsonr, spearmanr
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from fairseq.models.roberta import RobertaModel


def embed(roberta, sentences: list[str], batch_size: int = 64) -> Tensor:
    """One vector per sentence, (N, C)."""
    tokens = [roberta.encode(sentence) for sentence in sentences]
    order = sorted(range(len(tokens)), key=lambda index: len(tokens[index]))
    vectors: list[Tensor] = [torch.empty(0)] * len(tokens)
    for start in range(0, len(order), batch_size):
        numbers = order[start : start + batch_size]
        batch = pad_sequence([tokens[number] for number in numbers], batch_first=True, padding_value=1)
        real = (batch != 1).unsqueeze(-1)  # (B, T, 1)
        with torch.no_grad():
            features = roberta.extract_features(batch)  # (B, T, C)
        for number, vector in zip(numbers, (features * real).sum(1) / real.sum(1), strict=True):
            vectors[number] = vector
    return torch.stack(vectors)


def correlations(roberta, tsv: str) -> tuple[int, float, float]:
    """Number of pairs, Pearson's and Spearman's correlation on a file of STS-B."""
    with open(tsv, encoding="utf-8", newline="\n") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    first, second = (embed(roberta, [row[column] for row in rows]) for column in ("sentence1", "sentence2"))
    cosines = torch.cosine_similarity(first, second).tolist()
    scores = [float(row["score"]) for row in rows]
    return len(rows), float(pearsonr(cosines, scores)[0]), float(spearmanr(cosines, scores)[0])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Correlation of cosine similarities with the scores of STS-B.")
    parser.add_argument("model", metavar="MODEL_DIR", help="what fairseq-import-hf wrote")
    parser.add_argument("tsv", help="STS-B's train.tsv or dev.tsv")
    args = parser.parse_args()
    count, pearson, spearman = correlations(RobertaModel.from_pretrained(args.model).eval(), args.tsv)
    print(f"{count} pairs: Pearson {pearson:.4f}, Spearman {spearman:.4f}")
