"""Write tests/models/fixtures/*.pt: tiny models of fairseq 0.12 (RoBERTa, transformer) with what they compute.

    TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 PYTHON_WITH_FAIRSEQ_0_12 tests/conformance/make_model_fixtures.py

Each file is a dict of plain values, to be read with `weights_only=True`:
    args            the model's config            weights      state dict, in order
    parameters      their names, in order
    tokens, masked  inputs (B, T)                 seed         the seed that gave the weights
    logits          of the classification head    lm, mlm      scores at all / at the masked positions
    states          output of every layer         grads        {parameter: gradient of `loss`} at dropout 0
    dropout_probe   what torch's dropout gives under one seed on the machine that wrote the file
    train_logits, train_grads                     the same with dropout on, under that seed
"""

from argparse import Namespace
from pathlib import Path

import torch

from fairseq.data import Dictionary
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY
from fairseq.modules import TransformerSentenceEncoder

TARGET = Path(__file__).resolve().parent.parent / "models" / "fixtures"
SIZE = {
    "encoder_layers": 2,
    "encoder_embed_dim": 16,
    "encoder_ffn_embed_dim": 24,
    "encoder_attention_heads": 4,
    "max_positions": 20,
}
CASES = {
    "base": {},
    "prenorm": {"arch": "roberta_prenorm", "activation_fn": "gelu_accurate"},
    "untied": {"untie_weights_roberta": True, "activation_fn": "relu", "pooler_activation_fn": "relu"},
    "sinusoidal": {"encoder_learned_pos": False, "no_scale_embedding": False, "layernorm_embedding": False},
}
TRANSFORMER_SIZE = {
    "encoder_embed_dim": 16,
    "decoder_embed_dim": 12,
    "encoder_ffn_embed_dim": 24,
    "decoder_ffn_embed_dim": 20,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 2,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "max_source_positions": 20,
    "max_target_positions": 20,
}
TRANSFORMER_CASES = {
    "base": {},
    "prenorm": {
        "encoder_normalize_before": True,
        "decoder_normalize_before": True,
        "encoder_learned_pos": True,
        "decoder_learned_pos": True,
        "layernorm_embedding": True,
        "share_decoder_input_output_embed": True,
        "activation_fn": "gelu",
    },
}
PREVIOUS = torch.tensor([[2, 5, 6, 7], [2, 9, 1, 1], [2, 12, 13, 1]])
SEED, DROPOUT_SEED = 3, 5
TOKENS = torch.tensor([[0, 5, 6, 7, 9, 2], [0, 8, 2, 1, 1, 1], [0, 12, 13, 14, 2, 1]])
MASKED = TOKENS.eq(8) | TOKENS.eq(13) | TOKENS.eq(6)


def dictionary() -> Dictionary:
    result = Dictionary()
    for number in range(30):
        result.add_symbol(f"word{number}")
    return result


def loss(model: torch.nn.Module) -> torch.Tensor:
    logits = model(TOKENS, classification_head_name="head")[0]
    return logits.pow(2).sum() + model(TOKENS, masked_tokens=MASKED)[0].pow(2).mean()


def set_dropout(model: torch.nn.Module, p: float) -> None:
    for module in model.modules():
        if type(module).__name__ == "FairseqDropout":
            module.p = p


def gradients(model: torch.nn.Module) -> dict:
    model.zero_grad()
    loss(model).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def describe(case: dict) -> dict:
    arch = case.get("arch", "roberta_base")
    args = Namespace(**{**SIZE, **case, "arch": arch})
    ARCH_CONFIG_REGISTRY[arch](args)
    task = Namespace(source_dictionary=dictionary())
    torch.manual_seed(SEED)
    model = ARCH_MODEL_REGISTRY[arch].build_model(args, task)
    model.register_classification_head("head", num_classes=3)

    result = {
        "args": {**SIZE, **case, "arch": arch},
        "vocabulary": len(task.source_dictionary),
        "seed": SEED,
        "dropout_seed": DROPOUT_SEED,
        "weights": {name: value.clone() for name, value in model.state_dict().items()},
        "parameters": [name for name, _ in model.named_parameters()],
        "tokens": TOKENS,
        "masked": MASKED,
    }
    model.eval()
    with torch.no_grad():
        result["logits"] = model(TOKENS, classification_head_name="head")[0]
        result["lm"] = model(TOKENS)[0]
        result["mlm"] = model(TOKENS, masked_tokens=MASKED)[0]
        states = model(TOKENS, features_only=True, return_all_hiddens=True)[1]["inner_states"]
        result["states"] = torch.stack(states)
    model.train()
    torch.manual_seed(DROPOUT_SEED)
    result["dropout_probe"] = torch.nn.functional.dropout(torch.ones(100), 0.1)
    torch.manual_seed(DROPOUT_SEED)
    result["train_logits"] = model(TOKENS, classification_head_name="head")[0].detach()
    torch.manual_seed(DROPOUT_SEED)
    result["train_grads"] = gradients(model)
    set_dropout(model, 0.0)
    result["grads"] = gradients(model)
    return result


def describe_transformer(case: dict) -> dict:
    args = Namespace(**TRANSFORMER_SIZE, **case, arch="transformer")
    ARCH_CONFIG_REGISTRY["transformer"](args)
    words = dictionary()
    torch.manual_seed(SEED)
    model = ARCH_MODEL_REGISTRY["transformer"].build_model(
        args, Namespace(source_dictionary=words, target_dictionary=words)
    )
    result = {
        "args": {**TRANSFORMER_SIZE, **case, "arch": "transformer"},
        "vocabulary": len(words),
        "seed": SEED,
        "weights": {name: value.clone() for name, value in model.state_dict().items()},
        "parameters": [name for name, _ in model.named_parameters()],
        "tokens": TOKENS,
        "previous": PREVIOUS,
    }
    model.eval()
    with torch.no_grad():
        scores, extra = model(TOKENS, None, PREVIOUS)
        result["scores"], result["attn"] = scores, extra["attn"][0]
        result["states"] = torch.stack(extra["inner_states"])
    set_dropout(model.train(), 0.0)
    model.zero_grad()
    model(TOKENS, None, PREVIOUS)[0].pow(2).mean().backward()
    result["grads"] = {name: p.grad.clone() for name, p in model.named_parameters()}
    return result


def describe_sentence_encoder() -> dict:
    torch.manual_seed(SEED)
    options = {"num_encoder_layers": 1, "embedding_dim": 16, "ffn_embedding_dim": 24, "num_attention_heads": 4}
    options |= {"max_seq_len": 20, "num_segments": 2, "encoder_normalize_before": True, "apply_bert_init": True}
    model = TransformerSentenceEncoder(1, 34, **options).eval()
    segments = TOKENS.gt(8).long()
    with torch.no_grad():
        states, sentence = model(TOKENS, segments)
    return {
        "args": options,
        "seed": SEED,
        "weights": model.state_dict(),
        "tokens": TOKENS,
        "segments": segments,
        "states": torch.stack(states),
        "sentence": sentence,
    }


def main() -> None:
    TARGET.mkdir(parents=True, exist_ok=True)
    torch.save(describe_sentence_encoder(), TARGET / "sentence_encoder.pt")
    for name, case in TRANSFORMER_CASES.items():
        torch.save(describe_transformer(case), TARGET / f"transformer_{name}.pt")
    for name, case in CASES.items():
        torch.save(describe(case), TARGET / f"roberta_{name}.pt")


if __name__ == "__main__":
    main()
