"""fairseq's older import path of `fairseq.logging.metrics`."""

from fairseq.logging.metrics import *  # noqa: F403
