#!/bin/bash
# tokenizers 0.23.3: training WordPiece on the same texts gives other ids each time, also within one process.
#
# WordPieceTrainer numbers the pieces of one character inside a word (##a) in the order in which it meets them in a hash map
# that starts from a random seed. Texts that were numbered with one tokenizer do not fit a model that was trained with another
# one of the same texts, and no argument fixes the seed. Longer pieces follow ties among those ids. BpeTrainer on the same
# texts gives the same ids each time. Giving all pieces of one character as special_tokens, in an order, gives WordPiece
# that property, too.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q tokenizers==0.23.3
"$folder/env/bin/python" - <<'PYTHON'
from importlib.metadata import version

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

print("tokenizers", version("tokenizers"))
TEXTS = ["the cat sat on the mat and the dog ate a rat that ran to the hat"] * 3
UNKNOWN = "[UNK]"


def vocabularies(model, trainer, **settings):
    found = set()
    for _ in range(10):
        tokenizer = Tokenizer(model())
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.train_from_iterator(TEXTS, trainer(vocab_size=60, show_progress=False, **settings))
        found.add(tuple(sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1])))
    return found


wordpiece = vocabularies(lambda: models.WordPiece(unk_token=UNKNOWN), trainers.WordPieceTrainer, special_tokens=[UNKNOWN])
bpe = vocabularies(models.BPE, trainers.BpeTrainer)
letters = sorted(set("".join(TEXTS)) - {" "})
ordered = vocabularies(
    lambda: models.WordPiece(unk_token=UNKNOWN), trainers.WordPieceTrainer,
    special_tokens=[UNKNOWN, *letters, *(f"##{letter}" for letter in letters)],
)
print(f"10 trainings on the same texts: WordPiece {len(wordpiece)} different numberings, BPE {len(bpe)}, "
      f"WordPiece with its letters given {len(ordered)}")
for each in sorted(wordpiece)[:2]:
    print([piece for piece, _ in each if len(piece.removeprefix("##")) == 1 and piece.startswith("##")])
raise SystemExit(not (len(wordpiece) > 1 and len(bpe) == 1 and len(ordered) == 1))
PYTHON
echo "as described"
