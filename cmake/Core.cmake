# core_sources: every source of the core, which is plain data without GPU, threads or files, so that the
# native build and the wasm build have the same.
cmake_path(GET CMAKE_CURRENT_LIST_DIR PARENT_PATH core_root)

# Kernels: every .wgsl of the core becomes a string in one generated file.
set(wgsl_folders ${core_root}/src/kernels ${core_root}/src/ops)
list(TRANSFORM wgsl_folders APPEND /*.wgsl OUTPUT_VARIABLE wgsl_globs)
file(GLOB_RECURSE wgsl_files CONFIGURE_DEPENDS ${wgsl_globs})
set(embedded_kernels ${CMAKE_CURRENT_BINARY_DIR}/embedded_kernels.cpp)
add_custom_command(
  OUTPUT ${embedded_kernels}
  COMMAND ${CMAKE_COMMAND} "-DDIRECTORIES=${wgsl_folders}"
          -DOUTPUT=${embedded_kernels} -P ${core_root}/cmake/embed_kernels.cmake
  VERBATIM
  DEPENDS ${wgsl_files} ${core_root}/cmake/embed_kernels.cmake)

set(core_rooms base format ir passes ops kernels plan)
list(TRANSFORM core_rooms REPLACE "(.+)" "${core_root}/src/\\1/*.cpp" OUTPUT_VARIABLE core_globs)
file(GLOB_RECURSE core_sources CONFIGURE_DEPENDS ${core_globs})
list(APPEND core_sources ${embedded_kernels})
