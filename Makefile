# make demo: install, render, train, fine-tune, evaluate, report.   make test: the default test suite.
# A user with an NVIDIA card who wants the CPU build of torch: make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu
PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
PIP = $(VENV)/bin/pip install --disable-pip-version-check -q $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -c constraints.txt
STAMP = $(VENV)/.installed
DEMO ?= demo
SIZE ?= small

.PHONY: demo test check bench validation clean

demo: $(STAMP)
	$(VENV)/bin/endorender demo --out $(DEMO) --size $(SIZE)

test: $(STAMP)
	$(VENV)/bin/pytest

check: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy endorender training cli
	$(VENV)/bin/lint-imports

bench: $(STAMP)
	$(PIP) -e '.[bench]'
	$(VENV)/bin/python tests/benchmarks/reference_scenes.py benchmark.json
	$(VENV)/bin/python tests/benchmarks/goals.py vertices threads looks volume

validation: $(STAMP)
	$(VENV)/bin/python docs/make_validation.py

$(STAMP): setup.cfg constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e '.[train,onnx,denoise,quadrants,dicom,formats,export,view,cluster,dev]'
	touch $@

clean:
	rm -rf $(VENV) $(DEMO) build *.egg-info
