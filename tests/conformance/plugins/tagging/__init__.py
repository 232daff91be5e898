"""A third-party plugin in the style of fairseq 0.12: a tag for each word. It runs on fairseq 0.12 and on ours.

fairseq-train DATA --user-dir .../tagging --task tagging --arch roberta_tagger --criterion tagging ...

`tasks/` and `models/` are imported by fairseq itself; the other parts are imported here.
"""

from . import criterion, lr_scheduler, optimizer  # noqa: F401
