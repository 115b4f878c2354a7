# CMake package of the WebGPU backend inside its Python package:
#
#   find_package(executorch CONFIG REQUIRED COMPONENTS runtime kernels_optimized)
#   find_package(executorch_webgpu CONFIG REQUIRED)
#   target_link_libraries(app PRIVATE executorch::runtime executorch_webgpu::backend)
#
# with both package folders in CMAKE_PREFIX_PATH. Linking registers the backend; nothing has to be called.
# Targets:   executorch_webgpu::backend   libexecutorch_backend_webgpu and its headers
# Variables: executorch_webgpu_WGPU_NATIVE   the wgpu-native library of an installed `wgpu` package beside
#                                            this one, or empty
get_filename_component(_executorch_webgpu_root "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
set(_executorch_webgpu_library
  "${_executorch_webgpu_root}/lib/${CMAKE_SHARED_LIBRARY_PREFIX}executorch_backend_webgpu${CMAKE_SHARED_LIBRARY_SUFFIX}")

if(NOT EXISTS "${_executorch_webgpu_library}")
  set(executorch_webgpu_FOUND FALSE)
  set(executorch_webgpu_NOT_FOUND_MESSAGE "${_executorch_webgpu_library} does not exist")
  return()
endif()

if(NOT TARGET executorch_webgpu::backend)
  # The application references no symbol of the backend, so a plain link would drop it.
  add_library(executorch_webgpu::backend INTERFACE IMPORTED)
  target_include_directories(executorch_webgpu::backend INTERFACE "${_executorch_webgpu_root}/include")
  if(APPLE)
    target_link_libraries(executorch_webgpu::backend INTERFACE
      "-Wl,-needed_library,${_executorch_webgpu_library}")
  else()
    target_link_libraries(executorch_webgpu::backend INTERFACE
      "-Wl,--push-state,--no-as-needed,${_executorch_webgpu_library},--pop-state")
  endif()
  target_link_options(executorch_webgpu::backend INTERFACE
    "LINKER:-rpath,${_executorch_webgpu_root}/lib")
endif()

set(executorch_webgpu_WGPU_NATIVE "")
foreach(_name libwgpu_native-release.so libwgpu_native.so libwgpu_native-release.dylib libwgpu_native.dylib)
  if(EXISTS "${_executorch_webgpu_root}/../wgpu/resources/${_name}")
    get_filename_component(executorch_webgpu_WGPU_NATIVE
      "${_executorch_webgpu_root}/../wgpu/resources/${_name}" ABSOLUTE)
    break()
  endif()
endforeach()
unset(_name)
