# Wheels that bring headers and schemas (executorch, wgpu) are found through the Python they are installed in.
include_guard()
find_package(Python REQUIRED COMPONENTS Interpreter)

# Sets OUT to the folder of an installed Python package, without importing it.
function(etwebgpu_python_package_dir package out)
  execute_process(
    COMMAND ${Python_EXECUTABLE} -c
      "import importlib.util as u; s = u.find_spec('${package}'); print(list(s.submodule_search_locations)[0] if s else '')"
    OUTPUT_VARIABLE directory OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  if(NOT directory)
    message(FATAL_ERROR
      "The Python package '${package}' is not installed in ${Python_EXECUTABLE}; see README.md.")
  endif()
  set(${out} ${directory} PARENT_SCOPE)
endfunction()
