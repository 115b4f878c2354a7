// Fills workgroup memory with words that are NaN as f32 and as two f16, for webgpu/workgroup_poison.h.
#param WG
#param WORDS  // of workgroup memory
@group(0) @binding(witness) var<storage, read_write> witness: array<u32>;  // zeros
var<workgroup> memory: array<u32, ${WORDS}>;

@compute @workgroup_size(${WG})
fn main(@builtin(local_invocation_index) lane: u32) {
  for (var i = lane; i < ${WORDS}u; i += ${WG}u) {
    memory[i] = 0x7fc07fc0u;
  }
  workgroupBarrier();
  // Never so, but compilers cannot know, and must store.
  for (var i = lane; i < ${WORDS}u; i += ${WG}u) {
    if (memory[${WORDS}u - 1u - i] == witness[0]) {
      witness[0] = i;
    }
  }
}
