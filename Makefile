# One set-up for everything: a virtual environment in .venv, a real ComfyUI in .host for the tests.
# Needs python3 (3.10 or newer) and make; pip fetches the rest.
#
# Another torch build:  make clean; make TORCH=torch==2.9.1 TORCHVISION=torchvision==0.24.1 test
# Another ComfyUI:      make test COMFYUI_PATH=/path/to/ComfyUI

PYTHON ?= python3
TORCH ?= torch==2.13.0
TORCHVISION ?= torchvision==0.28.0
TORCHAUDIO ?= torchaudio

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check
READY := $(VENV)/ready
TORCH_READY := $(VENV)/torch-ready

# The registry's own tool, for `make pack` and the tests of the archive.
COMFY_CLI := 1.23.0
CLI_READY := $(VENV)/cli/ready-$(COMFY_CLI)

PIP_AUDIT := 2.10.1
AUDIT_READY := $(VENV)/audit/ready-$(PIP_AUDIT)

.DEFAULT_GOAL := help
.PHONY: help setup host browser newcomer locales pack icons examples pictures top moving demo bench bench-full \
  evidence networks overhead overhead-host scaling gpu import-time test test-full torture lint \
  audit clean

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1 \t/'

setup: $(READY)  ## the virtual environment with all that tests and benchmarks need

# torch first, from whatever index pip is set to. torchvision and torchaudio come without their
# dependencies, and $(VENV)/constraints.txt pins torch for everything after: another torch build
# is several GB.
$(TORCH_READY):
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 10), "Python 3.10 or newer is needed"'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install "$(TORCH)"
	$(PIP) install --no-deps "$(TORCHVISION)" "$(TORCHAUDIO)"
	$(PIP) freeze | grep -E '^torch(vision|audio)?==' > $(VENV)/constraints.txt
	touch $@

# The folder of this repository may have any name: a link makes it the package align_your_steps.
$(READY): $(TORCH_READY) requirements.txt requirements-dev.txt
	$(PIP) install --constraint $(VENV)/constraints.txt --requirement requirements-dev.txt
	mkdir -p $(VENV)/pack
	ln -sfn ../.. $(VENV)/pack/align_your_steps
	$(BIN)/python -c 'import pathlib, sysconfig; \
	  site = pathlib.Path(sysconfig.get_paths()["purelib"]); \
	  (site / "align_your_steps.pth").write_text(str(pathlib.Path("$(VENV)/pack").absolute()))'
	touch $@

host: $(READY)  ## a real ComfyUI for the tests, what it requires, and the newest of its pages
	$(BIN)/python tests/host/get_host.py --constraint $(VENV)/constraints.txt
	$(BIN)/python -m align_your_steps.tests.host.get_front_end

browser: $(READY)  ## a chromium for the tests: yours, else one is installed where that can be done
	$(BIN)/python -m align_your_steps.tests.host.get_browser

# NEWCOMER="--newest --nodes-2" for the newest front end, and for its newer renderer.
newcomer: host browser $(CLI_READY)  ## a newcomer's first picture from the archive, click by click, timed
	OMP_NUM_THREADS=1 $(BIN)/python -m align_your_steps.tests.host.newcomer $(NEWCOMER)

# comfy-cli brings many packages of its own: they stay out of what the tests run in.
$(CLI_READY): | $(READY)
	rm -rf $(VENV)/cli
	$(PYTHON) -m venv $(VENV)/cli
	$(VENV)/cli/bin/python -m pip -qq --disable-pip-version-check install "comfy-cli==$(COMFY_CLI)"
	touch $@

locales: host  ## the English texts in locales/, from the nodes
	$(BIN)/python -m align_your_steps.tests.host.locales

pack: $(CLI_READY)  ## the registry's checks, and the archive that it would get, in .pack/
	$(BIN)/python -m align_your_steps.tests.host.archive .pack

icons: $(READY)  ## media/*.png from media/*.svg
	$(BIN)/python -m align_your_steps.tests.host.media

examples: host browser  ## write the example workflows anew, as ComfyUI's page saves them
	$(BIN)/python -m align_your_steps.tests.host.make_examples

pictures: host browser  ## take all pictures of help and README on ComfyUI's page
	OMP_NUM_THREADS=1 $(BIN)/python -m align_your_steps.tests.host.pictures

top: $(READY)  ## the README's first picture: emoji by four samplers, two minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m align_your_steps.benchmarks.demo --labels 0 4 8 --count 3 \
	  --output docs/img/top.png

# MOVING="--label 2 --seed 7" for another class of emoji, and another image in the end.
moving: host browser  ## film the moving picture of the README on ComfyUI's page, a minute
	OMP_NUM_THREADS=1 $(BIN)/python -m align_your_steps.tests.host.moving_picture $(MOVING)

demo: $(READY)  ## ays_model beside standard choices, on a small model of emoji: a table and a picture
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m align_your_steps.benchmarks.demo

# Both go on where they were stopped; the results are in benchmarks/results/.
BENCH := OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m align_your_steps.benchmarks.bench

bench: $(READY)  ## four problems at 5 and 10 steps beside every other schedule, and six budgets
	$(BENCH) --oracle

bench-full: $(READY)  ## every problem and step count, hours
	$(BENCH) --full

# Goes on where it was stopped. The parts may run side by side: see the modules' options.
EVIDENCE := OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m align_your_steps.benchmarks.evidence

evidence: $(READY)  ## what optimised schedules do for trained networks, with intervals; hours
	$(EVIDENCE).grid
	$(EVIDENCE).closer
	$(EVIDENCE).sweeps
	$(EVIDENCE).needs
	$(EVIDENCE).transfer
	$(EVIDENCE).report

networks: $(READY)  ## train the denoisers of patches and emoji, the classifiers and the LoRA anew
	OMP_NUM_THREADS=1 $(BIN)/python -m align_your_steps.benchmarks.patches.train
	OMP_NUM_THREADS=1 $(BIN)/python -m align_your_steps.benchmarks.emoji.train
	$(EVIDENCE).features
	OMP_NUM_THREADS=1 $(BIN)/python -m align_your_steps.benchmarks.digits.lora

overhead: $(READY)  ## time and memory that an optimisation takes beside the model's, ten minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m align_your_steps.benchmarks.overhead

overhead-host: host  ## the same in a real ComfyUI, on a network of 20 ms a call
	OMP_NUM_THREADS=1 $(BIN)/python -m align_your_steps.benchmarks.host_overhead

# GPU=--bare for a network alone, without ComfyUI.
gpu: host  ## speed and memory of optimising on a GPU, at SD 1.5's and SDXL's size
	$(BIN)/python -m align_your_steps.benchmarks.gpu $(GPU)

scaling: $(READY)  ## how much sooner an optimisation ends on two processes, three minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m align_your_steps.benchmarks.scaling

import-time: host  ## how long a ComfyUI takes to import the pack, beside an empty one
	OMP_NUM_THREADS=1 $(BIN)/python -m align_your_steps.benchmarks.import_time

lint: $(READY)  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd $(VENV)/pack && ../bin/mypy --config-file ../../pyproject.toml \
	  -p align_your_steps.optimizer -p align_your_steps.profiles -p align_your_steps.schedules \
	  -p align_your_steps.nodes -p align_your_steps.benchmarks

$(AUDIT_READY):
	rm -rf $(VENV)/audit
	$(PYTHON) -m venv $(VENV)/audit
	$(VENV)/audit/bin/python -m pip -qq --disable-pip-version-check install \
	  "pip-audit==$(PIP_AUDIT)"
	touch $@

# Strict: what nobody could be asked about is not passed over as harmless. So it fails without a
# network, and is no part of `make test`.
audit: $(AUDIT_READY)  ## known vulnerabilities of what requirements.txt brings; needs a network
	$(VENV)/audit/bin/python -m pip_audit --strict --progress-spinner off \
	  --requirement requirements.txt

# Two files of tests at a time, in the order of tests/conftest.py, each on one thread: on few cores
# more of them only get into each other's way.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test: lint host browser $(CLI_READY)  ## ruff, mypy and every test, those in a real ComfyUI included
	$(PYTEST)

test-full: lint host browser $(CLI_READY)  ## the same, with every row of the long tables
	$(PYTEST) -m ""

torture: host browser  ## every fault at full length, with a table at the end, twenty minutes
	$(PYTEST) --torture tests/torture

clean:  ## delete the set-up and all caches
	rm -rf $(VENV) .host .pack .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
