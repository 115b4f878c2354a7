# Readers of the delegate graph and of .pte programs, generated from the schemas in the executorch wheel.
include(${CMAKE_CURRENT_LIST_DIR}/Python.cmake)
find_path(FLATBUFFERS_INCLUDE_DIR flatbuffers/flatbuffers.h REQUIRED)
# Generated code compiles with the headers of the same version only, and the executorch wheel puts a flatc
# of its own on the path: take the one that fits the headers.
file(STRINGS ${FLATBUFFERS_INCLUDE_DIR}/flatbuffers/base.h version_lines REGEX "#define FLATBUFFERS_VERSION_")
string(REGEX REPLACE "[^0-9;]" "" version_numbers "${version_lines}")
list(JOIN version_numbers "." FLATBUFFERS_VERSION)
function(etwebgpu_fits_headers result path)
  execute_process(COMMAND ${path} --version OUTPUT_VARIABLE output ERROR_QUIET)
  if(NOT output MATCHES "version ${FLATBUFFERS_VERSION}")
    set(${result} FALSE PARENT_SCOPE)
  endif()
endfunction()
find_program(FLATC flatc VALIDATOR etwebgpu_fits_headers REQUIRED)
etwebgpu_python_package_dir(executorch EXECUTORCH_PACKAGE_DIR)

set(schema_dir ${CMAKE_CURRENT_BINARY_DIR}/schemas)
set(schema_headers "")
# `name` is the generated header's stem; the wheel's vulkan schema is called just "schema".
function(etwebgpu_schema name path)
  set(copy ${schema_dir}/${name}.fbs)
  set(header ${schema_dir}/${name}_generated.h)
  # Copied while configuring: one schema includes another, and generation runs in parallel.
  configure_file(${path} ${copy} COPYONLY)
  add_custom_command(
    OUTPUT ${header}
    COMMAND ${FLATC} --cpp --scoped-enums --gen-object-api -o ${schema_dir} ${copy}
    DEPENDS ${copy} ${schema_dir}/scalar_type.fbs)
  set(schema_headers ${schema_headers} ${header} PARENT_SCOPE)
endfunction()
file(MAKE_DIRECTORY ${schema_dir})
configure_file(${EXECUTORCH_PACKAGE_DIR}/schema/scalar_type.fbs ${schema_dir}/scalar_type.fbs COPYONLY)
etwebgpu_schema(vk_graph ${EXECUTORCH_PACKAGE_DIR}/backends/vulkan/serialization/schema.fbs)
etwebgpu_schema(scalar_type ${EXECUTORCH_PACKAGE_DIR}/schema/scalar_type.fbs)
etwebgpu_schema(program ${EXECUTORCH_PACKAGE_DIR}/schema/program.fbs)
etwebgpu_schema(flat_tensor ${EXECUTORCH_PACKAGE_DIR}/extension/flat_tensor/serialize/flat_tensor.fbs)
add_custom_target(etwebgpu_generate_schemas DEPENDS ${schema_headers})

# The headers alone, not what lies beside them: a cross compiler must not see the host's system headers.
file(CREATE_LINK ${FLATBUFFERS_INCLUDE_DIR}/flatbuffers ${schema_dir}/flatbuffers SYMBOLIC)
# A system include: warnings in generated code are not ours.
add_library(etwebgpu_schemas INTERFACE)
target_include_directories(etwebgpu_schemas SYSTEM INTERFACE ${schema_dir})
add_dependencies(etwebgpu_schemas etwebgpu_generate_schemas)
