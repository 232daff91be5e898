"""What `transformers` computes with model folders, run by its own interpreter: `with_transformers.py REQUEST ANSWER`.

REQUEST is JSON, a list of {folder, tokens, text}; ANSWER gets, by folder number, features, scores, the ids of the text
and the names of weights that were missing or left over.
"""

import json
import sys
from pathlib import Path


def main(request: str, answer: str) -> None:
    import torch
    import transformers
    from safetensors.torch import save_file

    found, notes = {}, []
    for number, asked in enumerate(json.loads(Path(request).read_text())):
        config = transformers.AutoConfig.from_pretrained(asked["folder"])
        model, info = getattr(transformers, config.architectures[0]).from_pretrained(
            asked["folder"], output_loading_info=True
        )
        tokens = torch.tensor(asked["tokens"])
        mask = (tokens != config.pad_token_id).long()
        with torch.no_grad():
            output = model.eval()(tokens, attention_mask=mask, output_hidden_states=True)
        found[f"{number}.features"] = output.hidden_states[-1].contiguous()
        if "logits" in output:
            found[f"{number}.scores"] = output.logits.contiguous()
        tokenizer = transformers.AutoTokenizer.from_pretrained(asked["folder"])
        ids = [tokenizer(text)["input_ids"] for text in asked["text"]]
        wrong = sorted(map(str, [*info["missing_keys"], *info["unexpected_keys"]]))
        notes.append({"ids": ids, "wrong": wrong, "labels": config.id2label})
    save_file(found, answer, metadata={"notes": json.dumps(notes)})


if __name__ == "__main__":
    main(*sys.argv[1:])
