# make quickstart   set up, train and test a small model on generated data
# make test         set up, run the test suite
# make test-fast    the same without the slow tests
# make projects     the same for the tests of projects/
# make test-upstream  the same with OpenMMLab's own packages, in .venv-upstream
# make test-cuda-build  the same with PyTorch's CUDA build and torchvision, in
#                   .venv-cuda; needs 6.4 GB, and no GPU
# make test-slurm   only the tests that start a Slurm (docs/reliability.md)
# make lint         formatting, lint, import contract
# make docs         the site of docs/, into site/; its own small environment

PYTHON ?= python3
# .venv or, for another Python, one with its name, such as .venv-python3.12
VENV ?= .venv$(patsubst %,-%,$(filter-out python3,$(notdir $(PYTHON))))
UPSTREAM := .venv-upstream
CUDA := .venv-cuda
DOCS := .venv-docs
BIN := $(VENV)/bin
CONFIG := configs/upernet_replknet-tiny_shapes.py
WORK_DIR := work_dirs/quickstart
# processes that share the test files
JOBS ?= 2
PYTEST := -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

.PHONY: quickstart test test-fast projects test-upstream test-cuda-build \
    test-slurm lint docs clean

quickstart: $(VENV)/.installed data/shapes
	$(BIN)/python tools/train.py $(CONFIG) --work-dir $(WORK_DIR)
	$(BIN)/python tools/test.py $(CONFIG) $(WORK_DIR)/iter_600.pth \
	    --aug-test --work-dir $(WORK_DIR) --show-dir $(WORK_DIR)/pictures
	@echo 'Predicting ground everywhere gives an mIoU of 10.5.'
	@echo 'Predictions over the images: $(WORK_DIR)/pictures'

test: $(VENV)/.tests-installed
	$(BIN)/python $(PYTEST) $(PYTEST_ARGS)

test-fast: $(VENV)/.tests-installed
	$(BIN)/python $(PYTEST) -m 'not slow' $(PYTEST_ARGS)

projects: $(VENV)/.tests-installed
	$(BIN)/python $(PYTEST) projects $(PYTEST_ARGS)

test-upstream: $(UPSTREAM)/.installed
	$(UPSTREAM)/bin/python $(PYTEST) $(PYTEST_ARGS)

# the log says which of torchvision's operators load and equal mmrep's
test-cuda-build: $(CUDA)/.installed
	$(CUDA)/bin/python $(PYTEST) -rA --log-level INFO \
	    tests/compat/test_torchvision.py
	$(CUDA)/bin/python $(PYTEST) $(PYTEST_ARGS)

test-slurm: $(VENV)/.tests-installed
	$(BIN)/python -m pytest -m slurm tests/slurm

lint: $(VENV)/.tests-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(DOCS)/.installed
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build

data/shapes: | $(VENV)/.installed
	$(BIN)/python tools/dataset_converters/make_shapes.py $@

$(VENV)/.installed: requirements.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -r requirements.txt
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.tests-installed: $(VENV)/.installed requirements/tests.txt \
    requirements/export.txt
	$(BIN)/python -m pip install --quiet -r requirements/tests.txt
	touch $@

$(UPSTREAM)/.installed: requirements/upstream.txt requirements/tests.txt \
    requirements/export.txt
	test -x $(UPSTREAM)/bin/python || $(PYTHON) -m venv $(UPSTREAM)
	$(UPSTREAM)/bin/python -m pip install --quiet \
	    -r requirements/upstream.txt -r requirements/tests.txt
	$(UPSTREAM)/bin/python -m pip install --quiet --no-deps --editable .
	touch $@

$(CUDA)/.installed: requirements/cuda.txt requirements/export.txt \
    requirements/other_signals.txt
	test -x $(CUDA)/bin/python || $(PYTHON) -m venv $(CUDA)
	$(CUDA)/bin/python -m pip install --quiet -r requirements/cuda.txt
	$(CUDA)/bin/python -m pip install --quiet --no-deps --editable .
	touch $@

$(DOCS)/.installed: requirements/docs.txt
	test -x $(DOCS)/bin/python || $(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python -m pip install --quiet -r requirements/docs.txt
	touch $@

clean:
	rm -rf $(VENV) $(UPSTREAM) $(CUDA) $(DOCS) data/shapes site $(WORK_DIR)
