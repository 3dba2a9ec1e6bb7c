# Two commands, each with all set-up on a fresh Debian or Ubuntu with Python 3.11 to 3.13:
#   make lab     JupyterLab on the tutorials
#   make test    every layer of tests (some of them: make test LAYERS="drift lint")
#   make chaos   500 faults, drawn by a seed, on a real training and a real sweep (make chaos FAULTS=50 SEED=7)
# Set-up is done again only when pyproject.toml or constraints.txt changed. How packages are fetched is pip's own configuration.
# A system package is installed only where it is missing and where it may be: as root, or by a sudo that asks nothing.

VENV ?= .venv
# the Python to build on; empty: the first fitting one
PYTHON ?=
# one more package index to look for torch on
TORCH_INDEX ?=
# more arguments for jupyter lab
LAB_ARGS ?=
LAYERS ?=
FAULTS ?= 500
SEED ?= 1

PLOT := lepton_bench/static/plot.js

SHELL := /bin/bash
.ONESHELL:
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help lab test chaos browser slurm clean
.DELETE_ON_ERROR:
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# $(call apt,PACKAGES): true when they could be installed
apt = ( as=""; command -v apt-get >/dev/null && { [ "$$(id -u)" = 0 ] || { sudo -n true 2>/dev/null && as="sudo -n"; }; } \
	&& echo "set-up: installing $(1)" && { $$as apt-get update -qq >/dev/null || true; } \
	&& $$as env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(1) >/dev/null </dev/null )
# $(call torch,PYTHON): prints the version of a torch that is new enough
torch = $(1) -c 'import torch; assert tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 9); print(torch.__version__)' 2>/dev/null
fits = -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null

help:
	@sed -n 's/^#   //p' Makefile

# a virtual environment; where the base Python has a torch of its own, that one is used
$(VENV)/bin/python:
	@python=""
	for name in $(PYTHON) python3 python3.13 python3.12 python3.11; do
	  if "$$name" $(fits); then python=$$(command -v "$$name"); break; fi
	done
	if [ -z "$$python" ]; then
	  $(call apt,python3) && python3 $(fits) && python=python3 \
	    || { echo "set-up: Python 3.11 to 3.13 is needed: install one, or name it: make $(MAKECMDGOALS) PYTHON=..." >&2; exit 1; }
	fi
	if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then
	  versioned=$$("$$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
	  $(call apt,$$versioned) || $(call apt,python3-venv) || { echo "set-up: venv is missing: apt install $$versioned" >&2; exit 1; }
	fi
	site=""
	if found=$$($(call torch,"$$python")); then site=--system-site-packages; echo "set-up: torch $$found of $$python is used"; fi
	echo "set-up: a virtual environment in $(VENV), from $$python"
	"$$python" -m venv $$site $(VENV)

# torch: one that is there is kept; else the CUDA build where there is an NVIDIA driver; else the CPU build that the tests are pinned to
$(VENV)/has-torch: | $(VENV)/bin/python
	@index=($(if $(TORCH_INDEX),--extra-index-url "$(TORCH_INDEX)"))
	if found=$$($(call torch,$(VENV)/bin/python)); then echo "set-up: torch $$found is kept"
	elif [ -e /proc/driver/nvidia/version ] || nvidia-smi -L >/dev/null 2>&1; then
	  echo "set-up: torch, the CUDA build, since there is an NVIDIA driver"
	  $(VENV)/bin/pip install -q --no-compile "$${index[@]}" torch
	else
	  echo "set-up: torch 2.13.0, the CPU build"
	  $(VENV)/bin/pip install -q --no-compile "$${index[@]}" -c constraints.txt torch==2.13.0 || {
	    echo "set-up: no CPU build at hand, the default build is taken (TORCH_INDEX can name an index that has the small one)"
	    $(VENV)/bin/pip install -q --no-compile "$${index[@]}" torch==2.13.0
	  }
	fi
	touch $@

# torch, and beside it the extension; then packages, pinned, and this folder itself, editable; ready-dev also has what the tests need
$(VENV)/ready-lab $(VENV)/ready-dev: $(VENV)/ready-%: pyproject.toml constraints.txt | $(VENV)/bin/python
	@$(MAKE) --silent -j2 $(VENV)/has-torch $(PLOT)
	echo "set-up: packages"
	{ grep -v '^torch==' constraints.txt; echo "torch==$$($(call torch,$(VENV)/bin/python))"; } > $(VENV)/constraints.txt
	[ -e $(PLOT) ] || export LEPTON_BENCH_WITHOUT_PANELS=1  # that there are none was said when they were to be built
	$(VENV)/bin/pip install -q --no-compile -c $(VENV)/constraints.txt -e '.$(if $(filter dev,$*),[dev])'
	$(VENV)/bin/python -m compileall -q -j 0 $(VENV)/lib >/dev/null 2>&1 || true  # on all cores; some packages carry files that are no Python
	touch $@

# JupyterLab's panels and the plot that lives in a cell are TypeScript: built again when extension/ changed. Without Node there are no panels, and plots are pictures
SOURCES := $(wildcard extension/*.json extension/schema/* extension/style/* extension/src/* extension/src/*/* extension/src/*/*/*)
$(PLOT): $(SOURCES)
	@if ! node -e 'process.exit(+(parseInt(process.versions.node) < 20))' 2>/dev/null || ! command -v npm >/dev/null; then
	  echo "set-up: Node 20 or newer is not here (with npm): no panels in JupyterLab, and live plots are pictures, until it is; see https://nodejs.org"
	else
	  echo "set-up: the JupyterLab extension"
	  (cd extension && npm ci --loglevel=error </dev/null >/dev/null && npm run --silent build >/dev/null 2>&1) \
	    || echo "set-up: it could not be built: no panels, and live plots are pictures. To see why: cd extension && npm ci && npm run build"
	  [ ! -e $@ ] || touch $@
	fi
	mkdir -p lepton_bench/labextension

# what was built again since the packages were installed
LAB := $(VENV)/share/jupyter/labextensions/lepton-bench
$(VENV)/has-extension: $(PLOT)
	@[ ! -e lepton_bench/labextension/package.json ] || { rm -rf $(LAB); mkdir -p $(LAB); cp -r lepton_bench/labextension/. extension/install.json $(LAB); }
	touch $@

# one test looks at JupyterLab through a browser; where Chromium cannot be installed it is skipped, and says so
browser:
	@if ! command -v chromium chromium-browser google-chrome >/dev/null; then
	  $(call apt,chromium fonts-liberation) || echo "set-up: no Chromium and no right to install it: the browser test will be skipped"
	fi

# some tests run a Slurm of their own; its daemons need root: elsewhere they are skipped, and say so
slurm:
	@PATH=$$PATH:/usr/sbin:/sbin
	if [ "$$(id -u)" != 0 ]; then echo "set-up: not root: the tests on Slurm will be skipped"
	elif ! { command -v slurmctld && command -v slurmd && command -v srun && command -v ip; } >/dev/null; then
	  $(call apt,slurm-wlm iproute2) || echo "set-up: no Slurm and no way to install it: the tests on Slurm will be skipped"
	fi

lab: $(VENV)/ready-lab $(VENV)/has-extension
	@lab=$$(realpath $(VENV))/bin/jupyter-lab
	cd nbs/tutorials
	exec "$$lab" $(if $(filter 0,$(shell id -u)),--allow-root) $(LAB_ARGS)

test: $(VENV)/ready-dev $(VENV)/has-extension browser slurm
	@exec $(VENV)/bin/python tests/run.py $(LAYERS)

chaos: $(VENV)/ready-dev
	@exec $(VENV)/bin/python -W ignore tests/faults/chaos.py $(FAULTS) $(SEED)

clean:
	rm -rf $(VENV) test-output extension/node_modules extension/build-test extension/lib lepton_bench/labextension $(PLOT)
