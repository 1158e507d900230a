PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: env demo demo-mcu demo-arm test lint clean

env: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: env
	rm -rf runs/demo
	$(BIN)/edgegrow grow --data digits --net dscnn --budget macs=60k --seed 0 --out runs/demo

demo-mcu: env
	rm -rf runs/demo-mcu
	$(BIN)/edgegrow grow --data digits --net dscnn --target nucleo-l4r5zi \
		--budget latency=2ms,ram=4kB,flash=40kB --seed 0 --out runs/demo-mcu

demo-arm: env
	rm -rf runs/demo-arm
	$(BIN)/edgegrow grow --data digits --net dscnn --target raspberry-pi-4 \
		--budget macs=60k --seed 0 --out runs/demo-arm

test: env
	$(BIN)/pytest -n 2

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) runs build dist
