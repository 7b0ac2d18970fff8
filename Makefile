# make demo: install, render, train, fine-tune, evaluate, report.   make test: the default test suite.   make gpu: what a card does.
# A user with an NVIDIA card who wants the CPU build of torch: make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu
# The first Python that runs and is one of ours: a shim of pyenv may be found and not run.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
TORCH_INDEX ?=
PIP = $(VENV)/bin/pip install --disable-pip-version-check -q $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -c constraints.txt
STAMP = $(VENV)/.installed
DEMO ?= demo
SIZE ?= small
# What `make gpu` measures: cuda, metal or vulkan.
DEVICE ?= cuda
# Processes that test side by side: kernels are compiled on one core most of the time. Each takes up to 2 GB.
JOBS ?= 2
PYTEST = $(VENV)/bin/pytest -n $(JOBS) --dist loadfile

.PHONY: demo test quick slow check bench gpu site validation clean

demo: $(STAMP)
	$(VENV)/bin/endorender demo --out "$(DEMO)" --size $(SIZE)

test: $(STAMP)
	$(PYTEST)

# What can be asked every few minutes: all that renders nothing and trains nothing.
quick: $(STAMP)
	$(PYTEST) tests/scene tests/ct tests/training/test_files.py tests/training/test_statistics.py tests/training/test_metrics.py \
		tests/training/test_losses.py tests/training/test_scale.py tests/dataset/test_config.py tests/dataset/test_exr.py \
		tests/dataset/test_pairs.py tests/test_docs.py --ignore tests/ct/test_hostile.py --ignore tests/ct/test_large.py

slow: $(STAMP)
	$(PYTEST) -m slow -vv

check: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy endorender training cli
	$(VENV)/bin/lint-imports

bench: $(STAMP)
	$(PIP) -e '.[bench]'
	$(VENV)/bin/python tests/benchmarks/reference_scenes.py benchmark.json --keep
	$(VENV)/bin/python tests/benchmarks/goals.py vertices threads looks volume --keep

gpu: $(STAMP)
	$(PIP) -e '.[bench]'
	$(VENV)/bin/python tests/benchmarks/gpu.py --device $(DEVICE)

# The site, into build/site; a warning is an error.
site: $(STAMP)
	$(PIP) -e '.[train,denoise,docs]'
	$(VENV)/bin/sphinx-build -W --keep-going -q docs build/site
	@echo "site: build/site/index.html"

validation: $(STAMP)
	$(VENV)/bin/python docs/make_validation.py

$(STAMP): setup.cfg constraints.txt
	@test -n "$(PYTHON)" || { echo "no Python 3.11 to 3.13 with venv and pip runs here: install one, or give make PYTHON=..." >&2; exit 2; }
	"$(PYTHON)" -m venv $(VENV)
	$(PIP) -e '.[train,onnx,denoise,quadrants,dicom,formats,export,view,video,cluster,dev]'
	touch $@

clean:
	rm -rf $(VENV) "$(DEMO)" build *.egg-info
