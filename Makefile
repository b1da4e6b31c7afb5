PYTHON ?= .venv/bin/python
BUILD ?= build

.PHONY: native

# Builds the kernel in place, jaxhp/_core*.so, for $(PYTHON), which needs pybind11 (the virtual environment has it).
# The finished module is moved into place, so processes that use the old one go on.
native:
	cmake -S . -B $(BUILD)/native -DCMAKE_BUILD_TYPE=Release -DJAXHP_TESTS=ON -DPython_EXECUTABLE=$(abspath $(PYTHON)) \
	  -Dpybind11_DIR=$$($(PYTHON) -m pybind11 --cmakedir)
	cmake --build $(BUILD)/native --parallel 2
	module=$$(ls $(BUILD)/native/_core*.so) && cp $$module jaxhp/.$${module##*/}.new && mv jaxhp/.$${module##*/}.new jaxhp/$${module##*/}
