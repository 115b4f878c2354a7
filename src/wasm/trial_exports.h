// Exports with which a page tries a delegate's kernels on its device before weights are fetched
// (plan/kernel_tester.h):
//
//   test = etwg_test(delegate, device)   0 and an error text, or a handle
//   trial = etwg_next_trial(test)        a model to run once, which is the page's to unload; 0 and
//                                        an error text, or none when all has been tried
//   etwg_trial_inputs, etwg_trial_input, etwg_trial_constant     what to run it with
//   etwg_trial_output, then etwg_trial_ended                     what came of it
//   etwg_test_json(test)                 what was found
//
// Conventions are those of wasm/exports.h.
#pragma once

#include <cstdint>

#include "wasm/exports.h"

extern "C" {

struct EtwgTest;

// `device` and `constants` as for etwg_load; the delegate stays. `verdicts` is JSON of
// plan/kernel_verdicts.h: what is known of kernels on this adapter, with this driver and browser.
EtwgTest* etwg_test(const EtwgDelegate* delegate, const char* device, std::uint32_t device_size,
                    const EtwgConstant* constants, std::uint32_t constant_count,
                    const char* verdicts, std::uint32_t verdicts_size);
void etwg_end_test(EtwgTest* test);

etwebgpu::Model* etwg_next_trial(EtwgTest* test);

// [{"dtype", "sizes"} or {"scalar"}]
void etwg_trial_inputs(const EtwgTest* test);
// Bytes of a tensor among them.
void etwg_trial_input(const EtwgTest* test, std::uint32_t input);
// Bytes of a constant of the delegate, which are made up.
bool etwg_trial_constant(const EtwgTest* test, std::uint32_t constant);

// `dtype` as inputs have it; floats come as "float32".
bool etwg_trial_output(EtwgTest* test, std::uint32_t output, const char* dtype,
                       std::uint32_t dtype_size, const std::uint8_t* data, std::uint32_t size);
// How: 0 with all outputs, 1 with the error `why`, 2 with one for lack of memory, 3 as the device
// was lost, which ends the test.
bool etwg_trial_ended(EtwgTest* test, std::uint32_t how, const char* why, std::uint32_t size);

// {"capabilities": {...}, "replaced": [sentences], "verdicts": [...]}: those of the device less
// what was given up; `where` is the device's name in sentences.
void etwg_test_json(const EtwgTest* test, const char* where, std::uint32_t size);

}  // extern "C"
