# Writes OUTPUT, a C++ table of every .wgsl template in DIRECTORIES and below. Run with cmake -P.
list(TRANSFORM DIRECTORIES APPEND "/*.wgsl")
file(GLOB_RECURSE templates ${DIRECTORIES})
list(SORT templates)
set(entries "")
foreach(path IN LISTS templates)
  get_filename_component(name "${path}" NAME_WE)
  if(DEFINED path_of_${name})
    message(FATAL_ERROR "Two kernel templates are called ${name}: ${path_of_${name}} and ${path}")
  endif()
  set(path_of_${name} "${path}")
  file(READ "${path}" text)
  # Comments are for those who read the file: a fifth of the text. Messages quote lines, and compilers
  # number those of the expanded text, so no line's number is lost.
  string(REGEX REPLACE "[ \t]*//[^\n]*" "" text "${text}")
  string(REGEX REPLACE "\n\n+" "\n" text "${text}")
  # A string literal may be limited to 64 KiB; templates are far smaller.
  string(APPEND entries "    {\"${name}\", R\"wgsl(${text})wgsl\"},\n")
endforeach()
file(WRITE "${OUTPUT}" "#include \"kernels/kernel_source.h\"

namespace etwebgpu {

static constexpr KernelTemplate kTemplates[] = {
${entries}};

std::span<const KernelTemplate> kernel_templates() { return kTemplates; }

}  // namespace etwebgpu
")
