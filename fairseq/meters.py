"""fairseq's older import path of `fairseq.logging.meters`."""

from fairseq.logging.meters import *  # noqa: F403
