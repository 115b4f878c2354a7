/* The C interface of libexecutorch_backend_webgpu: options, providers, devices, inspection, and
 * running a delegate blob without ExecuTorch. All texts are UTF-8. Every function returning int
 * gives 0 on success; on failure etwg_last_error() holds one sentence. No function lets an
 * exception out; all are safe to call from several threads, with results in thread-local storage
 * valid until that thread's next call. */
#ifndef ETWEBGPU_C_API_H
#define ETWEBGPU_C_API_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define ETWG_EXPORT __declspec(dllexport)
#else
#define ETWG_EXPORT __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Providers are tried in the order they were registered, until one offers a matching adapter.
 * A table of wgpu* C functions (Dawn inside a Python process): names and addresses, `count` of
 * each. */
ETWG_EXPORT int etwg_register_provider(const char* name, const char* const* symbols,
                                       void* const* addresses, size_t count);
/* A shared library that exports the standard webgpu.h functions; opened when first needed. */
ETWG_EXPORT int etwg_register_provider_library(const char* name, const char* path);

/* Keys: "provider" (a registered name or a library path), "adapter" (index, type: discrete |
 * integrated | software, or part of a name), "profiling" (0 | 1), "kv_cache_dtype" (f32 | f16),
 * "matmul_dtype" (f32 | f16), "memory_limit" (bytes), "trusted" (0 | 1: kernels without the
 * provider's checks of indices), "self_test" (0 | 1: kernels are tried on the device before they
 * are used, and wrong ones replaced; results are kept in the user's cache folder), "data_files"
 * (.ptd files for weights that the host does not have: paths with ':' between them, ';' on Windows,
 * or a JSON list of paths; a folder stands for the .ptd files in it). Take effect for models loaded
 * afterwards. An empty value resets the key.
 */
ETWG_EXPORT int etwg_set_option(const char* key, const char* value);
/* The same for models that this thread loads, before what etwg_set_option says. */
ETWG_EXPORT int etwg_set_thread_option(const char* key, const char* value);

/* Defines an operator for models loaded afterwards (docs/kernels.md says what its kernel gets):
 * {"name": "mylib.softcap.default",   as programs have it
 *  "signature": "t f > t",            a letter for each argument: t tensor, f number, i integer
 *  "arguments": ["x", "cap", "out"],  their names in the kernel
 *  "sizes_like": "x",                 the tensor that has the output's sizes
 *  "kernel": "..."}                   a template of this project's language, called for each
 *                                     element of the output
 * It stays for the life of the process. No operator can be defined twice, and no built-in one. */
ETWG_EXPORT int etwg_register_operator(const char* json);

/* The sentence of this thread's latest failure; "" after etwg_clear_error(), or without one. */
ETWG_EXPORT const char* etwg_last_error(void);
ETWG_EXPORT void etwg_clear_error(void);
/* What to tell the user of the models that this thread has loaded since the last call, a line each:
 * kernels that were found wrong and replaced (the option "self_test"). "" for nothing. */
ETWG_EXPORT const char* etwg_take_notices(void);
/* 1 if that failure was a device that is gone or was never there: a program that is loaded again
 * gets another, and what its states held is lost. */
ETWG_EXPORT int etwg_device_lost(void);

/* {"providers": [{"name", "source", "status", "adapters": [{"index", "name", "type", "backend",
 * "driver", "limits": {...}, "features": [...], "self_test": {"tried": 12, "untried": 0,
 * "replaced":
 * [{"kernel", "without": [...], "why"}]}}]}], "selected": {...} | null}; NULL on error. "self_test"
 * is there once the option of that name has been used with the adapter and its driver. */
ETWG_EXPORT const char* etwg_devices_json(void);

/* Graph, operators, weights, memory plan and dispatches of every delegate in a .pte as JSON (its
 * members are listed in src/capi/inspect.h); NULL on error. `data_files` is written as the option
 * of that name, and NULL stands for the option's value. `options_json` may be NULL, or hold
 * {"adapter": "discrete" | "integrated" | "software", "sizes": [[...], ...], "outline": true |
 * false}: the kind of adapter to plan for instead of this machine's, sizes of a delegate's inputs
 * to plan for besides the usual ones, and whether to leave out what is inside of delegates, which
 * takes the time. */
ETWG_EXPORT const char* etwg_inspect_json(const char* pte_path, const char* data_files,
                                          const char* options_json);

/* --- Compiling a program ahead of time --- */

typedef struct etwg_compilation etwg_compilation;

/* Plans a .pte for executors without this library (docs/compiled.md); NULL on error. `options_json`
 * may be NULL, or hold what CompileSettings::parse in src/capi/compile.h takes: capabilities,
 * methods and sizes. `data_files` as for etwg_inspect_json. */
ETWG_EXPORT etwg_compilation* etwg_compile(const char* pte_path, const char* data_files,
                                           const char* options_json);
/* The head of the file, but for where constants lie. */
ETWG_EXPORT const char* etwg_compilation_json(const etwg_compilation* compilation);
/* The plans' parameters, which live as long as the compilation. */
ETWG_EXPORT const void* etwg_compilation_uniforms(const etwg_compilation* compilation,
                                                  size_t* size);
/* Passes the packed bytes of a constant to `take`, piece by piece in order, until it gives anything
 * but 0. They are numbered as in the JSON: of each delegate its constants, then its states. */
ETWG_EXPORT int etwg_compilation_constant(etwg_compilation* compilation, size_t number,
                                          int (*take)(void* user, const void* data, size_t size),
                                          void* user);
ETWG_EXPORT void etwg_compilation_free(etwg_compilation* compilation);

/* --- A delegate without ExecuTorch --- */

typedef struct etwg_model etwg_model;

typedef struct {
  const char* key; /* NULL-terminated */
  const void* data;
  size_t size;
} etwg_named_data;

/* dtype numbers: 0 bool, 1 uint8, 2 int8, 3 int32, 4 float16, 5 float32, 6 float64, 7 int64; 100 =
 * a scalar (one int64 in data). */
typedef struct {
  int32_t dtype;
  int32_t rank;
  int64_t sizes[8];
  void* data;      /* inputs: read; outputs: written, may be NULL to learn the sizes only */
  size_t capacity; /* bytes behind data; of an input at least what its sizes need */
} etwg_tensor;

ETWG_EXPORT etwg_model* etwg_model_load(const void* blob, size_t blob_size,
                                        const etwg_named_data* named, size_t named_count);
ETWG_EXPORT size_t etwg_model_input_count(const etwg_model* model);
ETWG_EXPORT size_t etwg_model_output_count(const etwg_model* model);
/* Output dtype, rank and sizes are set by the call. An output whose capacity is too small is an
 * error. */
ETWG_EXPORT int etwg_model_execute(etwg_model* model, const etwg_tensor* inputs, size_t input_count,
                                   etwg_tensor* outputs, size_t output_count);
/* JSON of the last execute's plan: dispatches with kernel, label, grid and, with profiling,
 * microseconds; and where its time went on the host (after etwg_model_generate: a step's, on
 * average). */
ETWG_EXPORT const char* etwg_model_profile_json(etwg_model* model);
/* Greedy decoding of a model of (tokens [1, S], position [1]) -> logits [.., V]: feeds `token` at
 * `position`, passes the likeliest token after it to `take`, and goes on with that, `count` times
 * or until `take` gives anything but 0. The tokens stay on the GPU, so a few more may have been fed
 * than were passed. `take` must not call the model. */
ETWG_EXPORT int etwg_model_generate(etwg_model* model, int64_t token, int64_t position,
                                    size_t count, int (*take)(void* user, int64_t token),
                                    void* user);
/* The delegates that ExecuTorch loaded last on this thread and that still live: puts up to `most`
 * of them into `models`, in the order of loading, as models that keep them alive until they are
 * freed, and returns how many. */
ETWG_EXPORT size_t etwg_latest_delegates(etwg_model** models, size_t most);
ETWG_EXPORT void etwg_model_free(etwg_model* model);

#ifdef __cplusplus
}
#endif
#endif
