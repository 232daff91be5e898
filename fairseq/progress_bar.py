"""fairseq's older import path of `fairseq.logging.progress_bar`."""

from fairseq.logging.progress_bar import *  # noqa: F403
