"""Cases: models of any kind from a folder."""

import tempfile
from argparse import Namespace
from pathlib import Path

import torch
from name_case_tools import case, dictionary, plain, raised, seeded

SIZES = {
    "encoder_embed_dim": 8, "encoder_hidden_size": 8, "decoder_embed_dim": 8, "decoder_hidden_size": 8,
    "decoder_out_embed_dim": 8,
}  # fmt: skip


def folder_of_a_recurrent_model():
    """`model.pt` as fairseq wrote it in 2019, and its dictionaries."""
    from fairseq.models.lstm import LSTMModel, base_architecture
    from fairseq.tasks.translation import TranslationTask

    folder = Path(tempfile.mkdtemp())
    words = dictionary(20)
    for language in ("de", "en"):
        words.save(str(folder / f"dict.{language}.txt"))
    args = Namespace(
        arch="lstm", task="translation", source_lang="de", target_lang="en", data=str(folder),
        criterion="cross_entropy",
        left_pad_source=True, left_pad_target=False, max_source_positions=40, max_target_positions=40, **SIZES,
    )  # fmt: skip
    base_architecture(args)
    task = TranslationTask(Namespace(**vars(args)), words, words)
    model = seeded(LSTMModel.build_model(args, task), scale=0.9)
    history = {"criterion_name": "", "optimizer_name": "", "lr_scheduler_state": {"best": None}, "num_updates": 0}
    extra = {"train_iterator": {"epoch": 1, "iterations_in_epoch": 0}}
    state = {"args": args, "model": model.state_dict(), "optimizer_history": [history], "extra_state": extra}
    torch.save(state, folder / "model.pt")
    return folder


@case
def any_model_from_a_folder():
    from fairseq.models import BaseFairseqModel, FairseqEncoderDecoderModel
    from fairseq.models.lstm import LSTMModel

    folder, found = folder_of_a_recurrent_model(), []
    for kind in (BaseFairseqModel, FairseqEncoderDecoderModel, LSTMModel):
        hub = kind.from_pretrained(str(folder), "model.pt", str(folder), beam=2)
        found.append([type(hub).__name__, type(hub.models[0]).__name__, hub.task.source_dictionary.symbols])
        found.append(hub.translate(["w3 w4 w5", "w9"], beam=3, max_len_b=6))
        hypotheses = hub.generate([hub.encode("w3 w7")], beam=2, max_len_b=5)[0]
        found.append([[each["tokens"], each["score"]] for each in hypotheses])
    found.append(raised(lambda: LSTMModel.from_pretrained(str(folder / "nowhere"))) is not None)
    return plain(found)
