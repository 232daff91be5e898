"""Makes tests/fixtures/hf: tiny random encoders saved by `transformers`, and what it computes with them.

python tests/conformance/make_hf_fixtures.py      # needs transformers and torch, not fairseq
"""

import json
import warnings
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForMaskedLM,
    RobertaForSequenceClassification,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
)

DEST = Path(__file__).resolve().parent.parent / "fixtures" / "hf"
SIZE = {
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "initializer_range": 0.3,
}
WORDPIECE = ["[PAD]", "[unused0]", "a", "rose", "is", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "##s", "r", "e", "d"]
# special tokens in another order, two words that were added, text in lower case, a space in front of it
REORDERED = ["<pad>", "<unk>", "</s>", "<s>", "a", "i", "s", "r", "o", "e", "\u0120", "\u0120r", "\u0120i", "<mask>"]
ADDED = ["<ent>", "Rose Garden"]
TEXTS = ["A rose", "is a Rose Gardener", "x<ent>i s", "  a\tIS", ""]
BPE = ["<s>", "<pad>", "</s>", "<unk>", "a", "i", "s", "r", "o", "e", "\u0120", "\u0120r", "\u0120i", "<mask>"]


def tokenizer_files(folder: Path, kind: str) -> None:
    if kind == "bert":
        (folder / "vocab.txt").write_text("\n".join(WORDPIECE) + "\n")
    elif kind == "roberta":
        (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(BPE)}))
        (folder / "merges.txt").write_text("#version: 0.2\n\u0120 r\n\u0120 i\n")
    elif kind == "reordered":
        tokenizer = Tokenizer(
            models.BPE({token: i for i, token in enumerate(REORDERED)}, [("\u0120", "r"), ("\u0120", "i")])
        )
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.model.unk_token = "<unk>"
        roles = {
            "bos": "<s>",
            "cls": "<s>",
            "eos": "</s>",
            "sep": "</s>",
            "pad": "<pad>",
            "unk": "<unk>",
            "mask": "<mask>",
        }
        special = {f"{role}_token": token for role, token in roles.items()}
        whole = PreTrainedTokenizerFast(tokenizer_object=tokenizer, add_prefix_space=True, **special)
        whole.add_tokens([AddedToken(token, normalized=False) for token in ADDED])
        whole.save_pretrained(folder)
        read = AutoTokenizer.from_pretrained(folder)
        ids = {text: read(text, add_special_tokens=False)["input_ids"] for text in TEXTS}
        (folder / "expected_ids.json").write_text(json.dumps(ids, indent=1) + "\n")
    else:
        pieces = ["<s>", "<pad>", "</s>", "<unk>", "\u2581a", "\u2581rose", "\u2581is", "\u2581", "s", "<mask>"]
        described = {
            "version": "1.0",
            "added_tokens": [],
            "normalizer": None,
            "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True},
            "post_processor": None,
            "decoder": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True},
            "model": {"type": "Unigram", "unk_id": 3, "vocab": [[piece, -float(i)] for i, piece in enumerate(pieces)]},
        }
        (folder / "tokenizer.json").write_text(json.dumps(described))


def make(name: str, kind: str, model_class, config) -> None:
    torch.manual_seed(len(name))
    model = model_class(config).eval()
    for parameter in model.parameters():  # biases and layer norms too: their defaults would hide a mix-up
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    folder = DEST / name
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer_files(folder, kind)
    pad = config.pad_token_id
    first, last = {"bert": (6, 7), "reordered": (3, 2)}.get(kind, (0, 2))
    tokens = torch.tensor([[first, 4, 3, 4, 8, last], [first, 4, 4, last, pad, pad]])
    with torch.no_grad():
        output = model(tokens, attention_mask=(tokens != pad).long(), output_hidden_states=True)
    expected = {"tokens": tokens, "features": output.hidden_states[-1].clone(), "logits": output.logits.clone()}
    save_file(expected, folder / "expected.safetensors")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    bert = BertConfig(vocab_size=len(WORDPIECE), max_position_embeddings=10, pad_token_id=0, **SIZE)
    named = {"max_position_embeddings": 12, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, **SIZE}
    named |= {"type_vocab_size": 1, "layer_norm_eps": 1e-5}
    roberta = RobertaConfig(vocab_size=len(BPE), **named)
    make("bert", "bert", BertForMaskedLM, bert)
    make("bert_classifier", "bert", BertForSequenceClassification, bert)
    make("roberta", "roberta", RobertaForMaskedLM, roberta)
    make("roberta_classifier", "roberta", RobertaForSequenceClassification, roberta)
    untied = RobertaConfig(vocab_size=len(BPE), hidden_act="relu", tie_word_embeddings=False, **named)
    make("roberta_untied", "roberta", RobertaForMaskedLM, untied)
    reordered = {**named, "pad_token_id": 0, "bos_token_id": 3, "max_position_embeddings": 11}
    labels = {"id2label": {0: "sad", 1: "so so", 2: "glad"}, "label2id": {"sad": 0, "so so": 1, "glad": 2}}
    size = len(REORDERED) + len(ADDED)
    reordered = RobertaConfig(vocab_size=size, hidden_act="gelu_new", **labels, **reordered)
    make("roberta_reordered", "reordered", RobertaForSequenceClassification, reordered)
    make("xlmr", "xlmr", XLMRobertaForMaskedLM, XLMRobertaConfig(vocab_size=10, **named))
