# The standard webgpu.h, from the wgpu wheel. Only types and constants are used: every function is found at
# run time, so nothing is linked.
include(cmake/Python.cmake)
etwebgpu_python_package_dir(wgpu WGPU_PACKAGE_DIR)
add_library(etwebgpu_webgpu_headers INTERFACE)
set(header_dir ${CMAKE_CURRENT_BINARY_DIR}/webgpu_headers)
file(MAKE_DIRECTORY ${header_dir})
configure_file(${WGPU_PACKAGE_DIR}/resources/webgpu.h ${header_dir}/webgpu/webgpu.h COPYONLY)
configure_file(${WGPU_PACKAGE_DIR}/resources/wgpu.h ${header_dir}/webgpu/wgpu.h COPYONLY)
target_include_directories(etwebgpu_webgpu_headers SYSTEM INTERFACE ${header_dir} ${header_dir}/webgpu)

# The wheel's own library, for tests.
file(GLOB WGPU_NATIVE_LIBRARY ${WGPU_PACKAGE_DIR}/resources/*wgpu_native-release.*)
