#!/bin/bash
# Fetches the wheels that the GPU checks need beside torch, for Python 3.12 on x86-64 Linux.   bash tests/gpu/wheels.sh FOLDER
#
# They travel to a host without a network, so they are few and small: what `import lepton_bench`, allocate, launch and log import, without Jupyter, plots
# and the shell. lepton_bench itself goes as this repository (run.sh puts it on PYTHONPATH). pyarrow stays below 21: later wheels are a third larger.
set -eu
[ $# -eq 1 ] || { echo "usage: bash tests/gpu/wheels.sh FOLDER" >&2; exit 2; }
python=${PYTHON:-python3}
platforms=""
for tag in manylinux_2_28 manylinux_2_27 manylinux_2_17 manylinux2014; do platforms="$platforms --platform ${tag}_x86_64"; done
mkdir -p "$1"
# shellcheck disable=SC2086  # several words
"$python" -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp $platforms --disable-pip-version-check -d "$1" \
    "pyarrow>=17,<21" "numpy>=1.26" "cloudpickle>=3.1" "fastcore>=1.8" "nvidia-ml-py>=12.560"
total=$(cat "$1"/*.whl | wc -c)
ls "$1"
echo "$((total / 1048576)) MiB"
[ "$total" -lt $((60 * 1048576)) ] || { echo "more than 60 MiB: too large to travel" >&2; exit 1; }
