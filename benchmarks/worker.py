"""One side of a comparison in its own process: builds a model and does a step each time it is told to.

    python worker.py '{"library": "transformers", "model": "roberta_base", "precision": "bf16", "batch": [16, 64]}'

It runs under any interpreter that has torch and the library named: ours, fairseq 0.12, transformers, torchao or
brevitas, through their public interfaces. Each line on standard input is answered with a line of JSON:

    step      {"seconds": 1.9}     forward, backward and optimizer; with "mode": "infer" a forward of evaluation
    memory    {"baseline": ..., "peak": ..., ...}      bytes; the baseline is what the imports take

All sides have the same shapes, random tokens, dropout 0.1, two classes, and Adam in torch's fused kernel. Ours comes as
its commands set it up: row gradients for the embeddings, and an allocator that keeps freed memory and no gaps.
"""

import contextlib
import json
import os
import resource
import sys
import time
from argparse import Namespace
from importlib.metadata import version
from pathlib import Path

SHAPES = {
    "roberta_base": {"layers": 12, "width": 768, "inner": 3072, "heads": 12, "vocabulary": 50265, "positions": 512},
    "minilm": {"layers": 6, "width": 384, "inner": 1536, "heads": 12, "vocabulary": 30522, "positions": 512},
    "tiny": {"layers": 2, "width": 64, "inner": 128, "heads": 4, "vocabulary": 5000, "positions": 128},
}
INTEGERS = {"simulate": ("int8", "simulate"), "auto": ("int8", "auto"), "int8": ("int8", "integer"),
            "int4": ("int4", "integer"), "cpt_3_8": ("cpt_3_8", "integer")}  # fmt: skip


class Vocabulary:
    """All that a model asks of a dictionary."""

    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size

    def pad(self):
        return 1


def fairseq_model(shape):
    """RoBERTa with a classification head, by what fairseq 0.12 and this project have in common."""
    from fairseq.models.roberta import RobertaModel, base_architecture

    args = Namespace(
        encoder_layers=shape["layers"], encoder_embed_dim=shape["width"], encoder_ffn_embed_dim=shape["inner"],
        encoder_attention_heads=shape["heads"], max_positions=shape["positions"], dropout=0.1, attention_dropout=0.1,
        activation_dropout=0.0, pooler_dropout=0.0,
    )  # fmt: skip
    base_architecture(args)
    args.tokens_per_sample = shape["positions"]
    vocabulary = Vocabulary(shape["vocabulary"])
    task = Namespace(source_dictionary=vocabulary, dictionary=vocabulary, max_positions=lambda: shape["positions"])
    model = RobertaModel.build_model(args, task)
    model.register_classification_head("head", num_classes=2)
    return model


def transformers_model(shape, name):
    import transformers

    settings = {
        "hidden_size": shape["width"], "num_hidden_layers": shape["layers"], "intermediate_size": shape["inner"],
        "num_attention_heads": shape["heads"], "vocab_size": shape["vocabulary"], "num_labels": 2,
        "max_position_embeddings": shape["positions"] + 2,
    }  # fmt: skip
    if name == "minilm":  # the published MiniLM is a BERT
        return transformers.BertForSequenceClassification(transformers.BertConfig(**settings))
    settings["type_vocab_size"] = 1
    return transformers.RobertaForSequenceClassification(transformers.RobertaConfig(pad_token_id=1, **settings))


def build(spec):
    """(model, function of tokens that returns logits)."""
    import torch

    shape, library, precision = SHAPES[spec["model"]], spec["library"], spec["precision"]
    if library in ("transformers", "torchao", "brevitas"):
        model = transformers_model(shape, spec["model"])
        if library == "torchao":
            torchao_layers(model)
            if precision.endswith("compiled"):
                model.compile()
        elif library == "brevitas":
            brevitas_layers(model)
        elif precision == "dynamic int8":
            model = torch.ao.quantization.quantize_dynamic(model.eval(), {torch.nn.Linear}, dtype=torch.qint8)
        return model, lambda tokens: model(tokens).logits
    model = fairseq_model(shape)
    if precision in INTEGERS:
        from fairseq.native import compiled as kernels
        from fairseq.quantization import quantize_model

        kernels.compiler().break_even = 0  # compile in the first step
        preset, compute = INTEGERS[precision]
        model = quantize_model(model, preset, compute=compute)
    return model, lambda tokens: model(tokens, features_only=True, classification_head_name="head")[0]


def torchao_layers(model):
    """Every linear layer of the encoder with torchao's three int8 products.

    Its default, weights of a tensor class, computes in fp32 with torchao 0.18: the class registers `linear` where torch
    does not look for it. Layers of a class of their own do use int8, but take gradients only in row order.
    """
    import torch
    from torchao.prototype.quantized_training import Int8MixedPrecisionTrainingConfig
    from torchao.quantization import quantize_

    class RowOrder(torch.autograd.Function):
        """The identity, whose gradient is put in order."""

        @staticmethod
        def forward(ctx, y):
            return y.view_as(y)

        @staticmethod
        def backward(ctx, grad):
            return grad.contiguous()

    encoder = next(module for path, module in model.named_modules() if path.endswith("encoder"))
    quantize_(encoder, Int8MixedPrecisionTrainingConfig(module_swap=True))
    for module in encoder.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(lambda _, inputs, y: RowOrder.apply(y))


def brevitas_layers(model):
    """Every linear layer of the encoder as Brevitas has it: 8-bit weights and inputs, simulated.

    Input scales start from statistics, which cost more than the learned scales after them: here for two steps only,
    not 300, so that warm-up takes them.
    """
    import brevitas.nn
    import torch
    from brevitas.quant import Int8ActPerTensorFloat, Int8WeightPerTensorFloat

    for path, module in list(model.named_modules()):
        if type(module) is torch.nn.Linear and ".layer." in path:
            new = brevitas.nn.QuantLinear(
                module.in_features, module.out_features, bias=True,
                weight_quant=Int8WeightPerTensorFloat, input_quant=Int8ActPerTensorFloat,
                input_collect_stats_steps=2,
            )  # fmt: skip
            setattr(model.get_submodule(path.rpartition(".")[0]), path.rpartition(".")[2], new)


def stepper(spec, model, logits_of):
    """The function that does one step."""
    import torch

    shape, (sentences, length) = SHAPES[spec["model"]], spec["batch"]
    tokens = torch.randint(4, shape["vocabulary"] - 1, (sentences, length))
    labels = torch.randint(0, 2, (sentences,))
    autocast = spec["precision"] == "bf16"

    def precision():
        return torch.autocast("cpu", dtype=torch.bfloat16) if autocast else contextlib.nullcontext()

    if spec.get("mode") == "infer":
        if hasattr(model, "quantization"):  # ranges that training leaves
            model.quantization.begin_micro_batch(0)
            with torch.no_grad():
                logits_of(tokens)
        model.eval()

        def forward():
            with torch.inference_mode(), precision():
                logits_of(tokens)

        return forward

    model.train()
    if spec.get("frozen"):
        for name, parameter in model.named_parameters():
            parameter.requires_grad_("classif" in name)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if spec["library"] == "ours":
        from fairseq.optim.adam import Adam
        from fairseq.optim.rows import use_row_gradients

        use_row_gradients(model)
        optimizer = Adam(trained, lr=1e-5)
    else:
        optimizer = torch.optim.AdamW(trained, lr=1e-5, fused=True)
    quantization, update = getattr(model, "quantization", None), 0
    phases = {}

    def step():
        nonlocal update
        note_tensors(phases, "start")
        if quantization is not None:
            quantization.begin_micro_batch(update)
        with precision():
            loss = torch.nn.functional.cross_entropy(logits_of(tokens).float(), labels)
        note_tensors(phases, "forward")
        loss.backward()
        note_tensors(phases, "backward")
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if quantization is not None:
            quantization.end_update(model)
        note_tensors(phases, "end")
        update += 1

    step.optimizer, step.phases = optimizer, phases
    return step


def note_tensors(phases, name):
    """Bytes in large tensors at this moment, where our allocator counts them."""
    allocator = sys.modules.get("fairseq.allocator")
    figures = allocator and allocator.arena().figures()
    if figures:
        phases |= {name: figures.used, "most": figures.most_used, "touched": figures.touched}


def resident():
    """Bytes of this process in memory, now and at most."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main():
    spec = json.loads(sys.argv[1])
    # replies have the standard output to themselves; what libraries print goes to the error output
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    persistent_allocations = contextlib.nullcontext
    if spec["library"] == "ours":
        sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
        from fairseq.allocator import keep_freed_memory, persistent_allocations

        keep_freed_memory(for_elements=1 << 24)
    import torch

    torch.set_num_threads(spec["threads"])
    torch.manual_seed(1)
    model, logits_of = build(dict(spec, model="tiny", precision="fp32"))  # imports are no part of a model's memory
    del model, logits_of
    baseline = resident()[0]
    with persistent_allocations():
        model, logits_of = build(spec)
    step = stepper(spec, model, logits_of)
    reply = {"python": sys.version.split()[0], "torch": torch.__version__}
    if spec["library"] in ("transformers", "torchao", "brevitas"):
        reply |= {name: version(name) for name in {"transformers", spec["library"]}}
    replies.write(json.dumps(reply) + "\n")
    for line in sys.stdin:
        if line.strip() == "step":
            start, processor = time.perf_counter(), time.process_time()
            step()
            reply = {"seconds": time.perf_counter() - start, "processor": time.process_time() - processor}
        else:
            state = getattr(step, "optimizer", None)
            tensors = (
                [] if state is None else [t for s in state.state.values() for t in s.values() if torch.is_tensor(t)]
            )
            weights = [*model.parameters(), *model.buffers()]
            reply = {
                "baseline": baseline, "resident": resident()[0], "peak": resident()[1],
                "optimizer": sum(t.numel() * t.element_size() for t in tensors),
                "weights": sum(t.numel() * t.element_size() for t in weights), "phases": getattr(step, "phases", {}),
            }  # fmt: skip
        replies.write(json.dumps(reply) + "\n")


if __name__ == "__main__":
    main()
