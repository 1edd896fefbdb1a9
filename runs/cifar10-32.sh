#!/usr/bin/env bash
# The shipped model cifar10-32: 80 minutes of one core without bfloat16.
# DATA is CIFAR-10 as a folder, a .zip or its own archive. Further options are passed on.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${OUT:-runs/cifar10-32}

sagan train --data "${DATA:-cifar10.zip}" --preset cpu-32 --steps 9000 --set lr_decay=0 --set evaluate_every=0 --out "$out" "$@"
sagan export "$out" "$out.safetensors" --half --card sagan/models/cifar10-32.md
