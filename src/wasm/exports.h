// The core for the browser: a wasm module without imports. A page loads a program, gives the packed
// weights to its GPU, and replays plans over navigator.gpu.
//
//   etwg_program(file)                   what is in a .pte: methods, delegates, named data
//   model = etwg_load(blob, device)      0 and an error text, or a handle
//   etwg_model_json(model)               inputs, outputs, constants and states to upload
//   etwg_pack(model, ...)                bytes of a packed constant or of a state's first content
//   plan = etwg_prepare(model, inputs)   0 and an error text, or the plan's number
//   etwg_plan_json, etwg_plan_uniforms   what to replay; once per plan number
//   etwg_kernel(model, i)                WGSL text
//   etwg_scalars, etwg_dirty             live scalars to write before a replay
//
// docs/executor.md says what to do with these; plan/plan_json.h and base/capabilities_json.h have
// the forms of the JSON texts.
//
// Functions that return text or bytes keep them until the next such call: etwg_result() and
// etwg_result_size() tell where. Those returning bool give false, or 0 for no handle, with the
// error's sentence as the result. Buffers for arguments come from etwg_alloc().
#pragma once

#include <cstdint>

namespace etwebgpu {
class Model;
}

extern "C" {

// One input of a call.
struct EtwgInput {
  std::uint32_t rank;
  std::int32_t sizes[8];
  std::int32_t scalar;           // for a SymInt input
  const std::int32_t* elements;  // content, where the model JSON says "wants_host_data"
  std::uint32_t element_count;
};

struct EtwgBytes {
  const std::uint8_t* data;
  std::uint32_t size;
};

void* etwg_alloc(std::uint32_t size);
void etwg_free(void* memory);
const char* etwg_result();
std::uint32_t etwg_result_size();

bool etwg_program(const std::uint8_t* file, std::uint32_t size);

// `device` is JSON: {"capabilities": {...}, "options": {"kv_cache_dtype": "f32" | "f16",
// "matmul_dtype": likewise}}, what is not said as by default.
etwebgpu::Model* etwg_load(const std::uint8_t* blob, std::uint32_t size, const char* device,
                           std::uint32_t device_size);
void etwg_unload(etwebgpu::Model* model);
void etwg_model_json(const etwebgpu::Model* model);

// The number of the plan for these inputs, from 1; the same number means the same plan.
std::uint32_t etwg_prepare(etwebgpu::Model* model, const EtwgInput* inputs, std::uint32_t count);
// Of the plan prepared last.
void etwg_plan_json();
void etwg_plan_uniforms();

std::uint32_t etwg_kernel_count(const etwebgpu::Model* model);
bool etwg_kernel(const etwebgpu::Model* model, std::uint32_t index, std::uint32_t dialect);

// Values by slot (i32) and whether each changed since etwg_clear_dirty (u8); as many as the model
// JSON's "scalars".
const std::int32_t* etwg_scalars(const etwebgpu::Model* model);
const std::uint8_t* etwg_dirty(const etwebgpu::Model* model);
void etwg_clear_dirty(etwebgpu::Model* model);

// Writes bytes [offset, offset + size) of a constant, or of a state's first content, to `out`.
// `sources` are its parts' bytes in the order of the model JSON. Offset and size are multiples
// of 16.
bool etwg_pack(const etwebgpu::Model* model, bool state, std::uint32_t index,
               const EtwgBytes* sources, std::uint32_t source_count, std::uint32_t offset,
               std::uint8_t* out, std::uint32_t size);

}  // extern "C"
