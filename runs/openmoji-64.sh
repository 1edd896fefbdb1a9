#!/usr/bin/env bash
# The shipped model openmoji-64: about two hours on two cores with bfloat16. Further options are passed on.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${OUT:-runs/openmoji-64}

sagan train --data openmoji --preset classic-64 --steps 21000 --set evaluate_every=0 --out "$out" "$@"
sagan export "$out" "$out.safetensors" --half --card sagan/models/openmoji-64.md
