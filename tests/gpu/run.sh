#!/bin/bash
# Checks lepton_bench on this host's GPU.   bash tests/gpu/run.sh [FOLDER OF WHEELS] [-- options and names for checks.py]
#
# For a bare host without a network: Python 3.12 with torch, and a folder that wheels.sh filled elsewhere; what is installed here already is not
# installed again. PYTHON names another interpreter. Without a GPU it says so and ends with 0: nothing was checked, nothing failed.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
repository=$(cd "$here/../.." && pwd)
python=${PYTHON:-python3}
wheels=""
if [ $# -gt 0 ] && [ "$1" != "--" ]; then wheels=$1; shift; fi
if [ "${1:-}" = "--" ]; then shift; fi

has_driver() { ls /dev/nvidia[0-9]* > /dev/null 2>&1 || { command -v nvidia-smi > /dev/null && nvidia-smi -L > /dev/null 2>&1; }; }
case " $* " in
*" --cpu "*) ;;
*)  if ! has_driver; then
        echo "SKIPPED: there is no NVIDIA GPU here (no /dev/nvidia0, and nvidia-smi does not list one). NOTHING OF THE GPU CHECKS WAS RUN."
        exit 0
    fi
    if ! "$python" -c 'import sys, torch; print("torch", torch.__version__, "CUDA", torch.version.cuda); sys.exit(not torch.cuda.is_available())'; then
        echo "FAIL: there is an NVIDIA GPU, but $python has no torch that can use it. PYTHON=... names another interpreter."
        exit 1
    fi ;;
esac

site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
missing=$("$python" - <<'PY'
import importlib.util
needed = {"numpy": "numpy", "pyarrow": "pyarrow", "cloudpickle": "cloudpickle", "fastcore": "fastcore", "pynvml": "nvidia-ml-py"}
print(*(package for module, package in needed.items() if importlib.util.find_spec(module) is None))
PY
)
if [ -n "$missing" ]; then
    if [ -z "$wheels" ]; then echo "FAIL: $missing missing here; pass a folder of wheels: bash tests/gpu/wheels.sh FOLDER makes one where there is a network"; exit 1; fi
    # shellcheck disable=SC2086  # several words
    "$python" -m pip install -q --no-index --no-deps --no-cache-dir --disable-pip-version-check --find-links "$wheels" --target "$site" $missing
fi
export PYTHONPATH="$repository:$site${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONUNBUFFERED=1
"$python" "$here/checks.py" "$@"
