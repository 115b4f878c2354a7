// The core for the browser: a wasm module without imports. A page loads a program, gives the packed
// weights to its GPU, and replays plans over navigator.gpu.
//
//   etwg_head_size(kind, head)           how much of a file's beginning the next two need
//   etwg_program(head)                   what is in a .pte: methods, delegates, named data
//   etwg_data_file(head)                 what is in a .ptd
//   delegate = etwg_delegate(head)       0 and an error text, or a handle
//   etwg_delegate_json(delegate)         its constants
//   etwg_shared_states(delegates)        which states of several are one
//   model = etwg_load(delegate, device)  0 and an error text, or a handle; the delegate is used up
//   etwg_model_json(model)               inputs, outputs, constants and states to upload
//   etwg_windows, etwg_pack              bytes of a packed constant or of a state's first content
//   etwg_match(model, values)            which values of the program's call are which
//   plan = etwg_prepare(model, inputs)   0 and an error text, or the plan's number
//   etwg_plan_json, etwg_plan_uniforms   what to replay; once per plan number
//   etwg_kernel(model, i)                WGSL text
//   etwg_scalars, etwg_dirty             live scalars to write before a replay
//
// docs/executor.md says what to do with these; plan/plan_json.h and base/capabilities_json.h have
// the forms of the JSON texts.
//
// Functions that return text or bytes keep them until the next such call: etwg_result() and
// etwg_result_size() tell where. Those returning bool give false, or 0 for no handle or number,
// with the error's sentence as the result. Buffers for arguments come from etwg_alloc() and are
// read during the call only. Of files, only beginnings are given ("head"), with the size of the
// whole; sizes and offsets in files are doubles, for they may pass 4 GB.
#pragma once

#include <cstdint>

namespace etwebgpu {
class Model;
}  // namespace etwebgpu

extern "C" {

// One input of a call.
struct EtwgInput {
  std::uint32_t rank;
  std::int32_t sizes[8];
  std::int32_t scalar;           // for a SymInt input
  const std::int32_t* elements;  // content, where the model JSON says "wants_host_data"
  std::uint32_t element_count;
};

struct EtwgDelegate;

// A constant of the delegate.
struct EtwgConstant {
  std::uint32_t index;
  const std::uint8_t* data;
  std::uint32_t size;
};

void* etwg_alloc(std::uint32_t size);
void etwg_free(void* memory);
const char* etwg_result();
std::uint32_t etwg_result_size();

// The first 48 bytes of any file are enough to ask. Kinds: 0 a program, 1 a tensor data file,
// 2 a delegate.
double etwg_head_size(std::uint32_t kind, const std::uint8_t* head, std::uint32_t size,
                      double file_size);

// {"methods": [{"name", "kernel_calls", "kernels": [names], "inputs": [value], "outputs": [value],
//   "delegates": [{"backend", "offset", "size", "aliased", "states"}], "calls": [{"delegate",
//   "values": [value]}], "host": host}],
//  "named_data": [{"key", "offset", "size"}]}
// "states" is what our exporter says of them (format/state_names.h), or "".
// A value is {"id", "dtype", "sizes", "dynamic"}, or {"id", "value"} for a number, text or null.
// "host" is there where a method does more than to call delegates (HostPlan in format/program.h):
// {"steps": [{"do": "kernel" | "call" | "move" | "jump" | "free", "index", "ids"}],
//  "values": [{"dtype", "sizes", "dynamic", "contiguous"?} | {"ids"} | {"int"} | {"double"} |
//   {"doubles"} | {"bools"} | {"value"} | {}], numbers as texts,
//  "contents": [{"id", "key", "offset", "size"}], "planned": [ids]}
bool etwg_program(const std::uint8_t* head, std::uint32_t size, double file_size);
// {"named_data": [{"key", "offset", "size"}]}
bool etwg_data_file(const std::uint8_t* head, std::uint32_t size, double file_size);

EtwgDelegate* etwg_delegate(const std::uint8_t* head, std::uint32_t size, double blob_size);
// {"constants_at", "constants": [{"key", "offset", "length", "read", "zeros"}],
// "missing_operators": [names]}: constants without a key lie in the blob, offsets counting from
// "constants_at"; "read" marks those that etwg_load may compute with, "zeros" those that it likes
// to know to be all zeros.
void etwg_delegate_json(const EtwgDelegate* delegate);
void etwg_discard(EtwgDelegate* delegate);
// Which states of a program's delegates are one buffer: `methods` is JSON, [{"method", "states"}]
// by delegate, those of one method in its order.
// [[[value, number of the buffer]] by delegate]
bool etwg_shared_states(const EtwgDelegate* const* delegates, std::uint32_t count,
                        const char* methods, std::uint32_t size);

// `device` is JSON: {"capabilities": {...}, "options": {"kv_cache_dtype": "f32" | "f16",
// "matmul_dtype": likewise}, "zero_constants": [numbers of constants whose bytes are all zero],
// "shared_states": [values that etwg_shared_states names]}, what is not said as by default.
etwebgpu::Model* etwg_load(EtwgDelegate* delegate, const char* device, std::uint32_t device_size,
                           const EtwgConstant* constants, std::uint32_t constant_count);
void etwg_unload(etwebgpu::Model* model);
void etwg_model_json(const etwebgpu::Model* model);
// The plan for the largest inputs, some of whose activations may pass the device's limits.
void etwg_bound_plan_json(const etwebgpu::Model* model);

// `values` is JSON: {"aliased": bool, "values": [{"id", "dtype", "sizes"} or {"id"}]}, live sizes
// of inputs.
// {"inputs": [[positions that it may be]], "first_output", "outputs": [the graph's output]}
bool etwg_match(const etwebgpu::Model* model, const char* values, std::uint32_t size);

// The number of the plan for these inputs, from 1; the same number means the same plan.
// `wide_integers`: the host's integers have 64 bits.
std::uint32_t etwg_prepare(etwebgpu::Model* model, const EtwgInput* inputs, std::uint32_t count,
                           bool wide_integers);
// Of the plan prepared last.
void etwg_plan_json();
void etwg_plan_uniforms();

std::uint32_t etwg_kernel_count(const etwebgpu::Model* model);
bool etwg_kernel(const etwebgpu::Model* model, std::uint32_t index, std::uint32_t dialect);

// The kernel that chooses a token from `count` logits, `first` being the first's element:
// greedy_token or sample_token of kernels/token_choice.h, which says what they bind.
bool etwg_token_kernel(bool sampled, std::uint32_t first, std::uint32_t count,
                       std::uint32_t invocations, std::uint32_t dialect);

// Values by slot (i32) and whether each changed since etwg_clear_dirty (u8); as many as the model
// JSON's "scalars".
const std::int32_t* etwg_scalars(const etwebgpu::Model* model);
const std::uint8_t* etwg_dirty(const etwebgpu::Model* model);
void etwg_clear_dirty(etwebgpu::Model* model);

// What a constant, or a state's first content, is made of, piece by piece, each at most `most`
// bytes or one panel:
// [[offset, size, part, pieces, stride, [[offset, size] in each source]]]. Sources are the part, or
// what it is "made_of" (plan/plan_json.h), of which there may be none. The window's bytes are so
// many pieces of one size, which begin `stride` bytes apart.
bool etwg_windows(const etwebgpu::Model* model, bool state, std::uint32_t index,
                  std::uint32_t most);
// Writes window number `window` of etwg_windows(..., most) to `out`, which has its size. `sources`
// are the ranges that it asks for, one after the other.
bool etwg_pack(const etwebgpu::Model* model, bool state, std::uint32_t index, std::uint32_t most,
               std::uint32_t window, const std::uint8_t* sources, std::uint32_t sources_size,
               std::uint8_t* out, std::uint32_t size);

}  // extern "C"
