#!/usr/bin/env bash
# Fine-tunes on GLUE with 16 bits in the feed-forward blocks and 4 in attention: glue_ffn16_mha4.sh TASK DATA CHECKPOINT SEED [full|frozen] [KEY=VALUE ...]
exec "$(dirname "${BASH_SOURCE[0]}")/glue_quantized.sh" ffn16_mha4 "$@"
