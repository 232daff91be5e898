"""fairseq's older import path of `fairseq.distributed.utils`."""

from fairseq.distributed.utils import *  # noqa: F403
