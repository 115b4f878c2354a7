"""Runs the C++ WebGPU tests on Dawn: run_on_dawn.py <test module> [GoogleTest arguments].

Dawn comes as the cffi module `wgpudawn`; each function of its C API has an address for C.
"""

import ctypes
import os
import sys

from wgpudawn._lib import ffi, lib


def main() -> int:
    module, arguments = sys.argv[1], sys.argv
    names = [name for name in dir(lib) if name.startswith("wgpu") and callable(getattr(lib, name))]
    addresses = [int(ffi.cast("uintptr_t", ffi.addressof(lib, name))) for name in names]
    symbols = (ctypes.c_char_p * len(names))(*[name.encode() for name in names])
    pointers = (ctypes.c_void_p * len(names))(*addresses)
    argv = (ctypes.c_char_p * len(arguments))(*[argument.encode() for argument in arguments])
    os.environ["ETWEBGPU_TEST_WGPU_LIBRARY"] = "dawn"
    return ctypes.CDLL(module).etwg_run_tests(len(arguments), argv, symbols, pointers, len(names))


if __name__ == "__main__":
    sys.exit(main())
