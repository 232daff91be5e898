#!/usr/bin/env bash
# Fine-tunes on GLUE with 16 bits: glue_int16.sh TASK DATA CHECKPOINT SEED [full|frozen] [KEY=VALUE ...]
exec "$(dirname "${BASH_SOURCE[0]}")/glue_quantized.sh" int16 "$@"
