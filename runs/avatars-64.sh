#!/usr/bin/env bash
# The shipped model avatars-64: about 40 minutes of one core without bfloat16. Further options are passed on.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${OUT:-runs/avatars-64}

sagan train --data "${DATA:-avatars}" --preset cpu-64 --steps 2600 --set evaluate_every=0 --set class_loss=0 --out "$out" "$@"
sagan export "$out" "$out.safetensors" --half --card sagan/models/avatars-64.md
