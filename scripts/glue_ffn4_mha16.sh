#!/usr/bin/env bash
# Fine-tunes on GLUE with 4 bits in the feed-forward blocks and 16 in attention: glue_ffn4_mha16.sh TASK DATA CHECKPOINT SEED [full|frozen] [KEY=VALUE ...]
exec "$(dirname "${BASH_SOURCE[0]}")/glue_quantized.sh" ffn4_mha16 "$@"
