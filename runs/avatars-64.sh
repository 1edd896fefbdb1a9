#!/usr/bin/env bash
# The shipped model avatars-64: an hour of one core without bfloat16. Further options are passed on.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${OUT:-runs/avatars-64}

sagan train --data "${DATA:-avatars:toon-head,personas}" --preset cpu-64 --steps 9000 \
    --set class_loss=0 --set batch_size=16 --set lr_decay=0.5 --set evaluate_every=0 \
    --out "$out" "$@"
sagan export "$out" "$out.safetensors" --half --card sagan/models/avatars-64.md
