# make test, make demo: each makes .venv itself (once, and again when the build files or csrc/ change).
# The install is editable: Python files are used where they lie, the kernel is compiled into .venv.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

PYTHON3 ?= python3
VENV := .venv
PYTHON ?= $(VENV)/bin/python
BUILD ?= build
KERNEL := pyproject.toml CMakeLists.txt $(wildcard csrc/*.cpp csrc/*.hpp)
CROSS := aarch64-linux-gnu

.PHONY: native test demo bench soak lint types sanitize cross clean

test: $(VENV)/test.stamp
	$(VENV)/bin/python -m pytest -n 2 --dist worksteal -m "not soak"

demo: $(VENV)/demo.stamp
	$(VENV)/bin/jaxhp tune examples/digits.py

soak: $(VENV)/test.stamp
	$(VENV)/bin/python -m pytest -n 2 -m soak

bench: $(VENV)/dev.stamp
	@for script in bench/*.py; do echo "== $$script"; $(VENV)/bin/python $$script; done

lint: $(VENV)/dev.stamp
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check

types: $(VENV)/dev.stamp
	$(VENV)/bin/mypy

# Compiles jaxhp/_core*.so in place for $(PYTHON), which must have pybind11 (make native PYTHON=/path/to/python).
# The finished module is moved over the old one, so that processes which use that one go on.
native:
	cmake -S . -B $(BUILD)/native -DCMAKE_BUILD_TYPE=Release -DJAXHP_TESTS=ON -DPython_EXECUTABLE=$(abspath $(PYTHON)) \
	  -Dpybind11_DIR="$$($(PYTHON) -m pybind11 --cmakedir)"
	cmake --build $(BUILD)/native --parallel 2
	suffix=$$($(PYTHON) -c "import sysconfig; print(sysconfig.get_config_var('EXT_SUFFIX'))"); \
	cp $(BUILD)/native/_core$$suffix $(BUILD)/native/_core.new && mv $(BUILD)/native/_core.new jaxhp/_core$$suffix

# csrc/ and its tests without Python, under AddressSanitizer and UndefinedBehaviorSanitizer.
sanitize:
	cmake -S . -B $(BUILD)/sanitize -DCMAKE_BUILD_TYPE=Debug -DJAXHP_PYTHON=OFF -DJAXHP_TESTS=ON -DJAXHP_SANITIZE=ON
	cmake --build $(BUILD)/sanitize --parallel 2
	cd $(BUILD)/sanitize && ctest --output-on-failure

# csrc/ and its tests for aarch64, run under qemu-user (Debian: g++-aarch64-linux-gnu qemu-user).
cross:
	cmake -S . -B $(BUILD)/aarch64 -DCMAKE_BUILD_TYPE=Release -DJAXHP_PYTHON=OFF -DJAXHP_TESTS=ON -DCMAKE_SYSTEM_NAME=Linux \
	  -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_CXX_COMPILER=$(CROSS)-g++ -DCMAKE_CROSSCOMPILING_EMULATOR="qemu-aarch64;-L;/usr/$(CROSS)"
	cmake --build $(BUILD)/aarch64 --parallel 2
	cd $(BUILD)/aarch64 && ctest --output-on-failure

clean:
	rm -rf $(BUILD) dist $(VENV) jaxhp/_core*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	$(PYTHON3) -m venv $(VENV)

$(VENV)/test.stamp $(VENV)/dev.stamp $(VENV)/demo.stamp: $(VENV)/%.stamp: $(KERNEL) | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	touch $@
