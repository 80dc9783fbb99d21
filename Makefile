# Targets a user types. What they do stands in tools/, which also works where there is no make.
.PHONY: help env demo web test test-gpu test-slurm test-web web-pictures plan lint fix bench fuzz mutants schema reference docs pins
PYTHON ?= python3
EXPERIMENT ?= digits
PORT ?= 8000
export PYTHON

help:
	@echo "make demo    set up, run the embedded experiment, print its table (first time: some minutes)"
	@echo "make web     the web application, over the models there are: http://localhost:8000/ (PORT=8000)"
	@echo "make test    set up, run all tests"
	@echo "make test-gpu  what needs a CUDA device: equal bits with the CPU, graphs, memory, several GPUs"
	@echo "make test-slurm  the workflow on a real one-node SLURM (installs Debian's packages where it may)"
	@echo "make test-web  the web application in a real browser (installs Debian's Chromium where it may)"
	@echo "make mutants   would the tests notice a wrong line? (hours; OPTIONS='--number 20 --seed 3 stats', see docs/tests.md)"
	@echo "make plan EXPERIMENT=imagenet   jobs, device hours and disk of an experiment, before it runs"
	@echo "make env     create .venv with the pinned packages"
	@echo "make lint    formatters, linters and the type checker, without changing anything (make fix: with)"
	@echo "make bench   speed against the field's usual loops, as tables (on the GPU where there is one)"
	@echo "make fuzz    damage files of every format 20,000 times each and see whether a reader trusts one"
	@echo "make schema  write schemas/config.schema.json, which editors read, and docs/reference.md from the code"
	@echo "make docs    the documentation as a site with search: build/site/index.html"
	@echo "make pins    resolve the dependencies of pyproject.toml anew"

env:
	@sh tools/env.sh

demo: env
	@sh tools/demo.sh

web: env
	@PYTHONPATH=lib .venv/bin/python -m certflow.doors.cli web --port $(PORT)

test: env
	@sh tools/test.sh

test-gpu: env
	@TEST_GPU=yes sh tools/test.sh -m gpu -n 0 -rs

test-slurm: env
	@sh tools/test-slurm.sh

test-web: env
	@sh tools/test-web.sh

web-pictures: env
	@sh tools/test-web.sh --pictures

mutants: env
	@.venv/bin/python tools/mutants $(OPTIONS)

plan: env
	@.venv/bin/python -m certflow.workflow.cost $(EXPERIMENT) $(OPTIONS)

lint: env
	@sh tools/lint.sh

fix: env
	@sh tools/lint.sh --fix

bench: env
	@for file in $(filter-out benchmarks/field%.py,$(wildcard benchmarks/*.py)); do echo "== $$file"; PYTHONPATH=lib:. .venv/bin/python $$file || exit 1; done

schema: env
	@PYTHONPATH=lib .venv/bin/python -m certflow.config.generated

reference: schema

docs:
	@sh tools/docs.sh

fuzz: env
	@.venv/bin/python -m tools.fuzz $(OPTIONS)

pins: env
	@sh tools/pins.sh
