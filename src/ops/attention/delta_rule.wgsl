// The gated delta rule, token by token, over a state of depth x width for each head: an invocation has a column of it.
//   state = state * decay;  state += key * (value - key . state) * beta;  out = query . state
// Neighbouring invocations have neighbouring columns.
#param WG
#param CHANNELS : 0 | 1  // a decay for each row of the state, else one for all
//   columns       of all states
//   query_heads   that read a head's state
#params
@group(0) @binding(query) var<storage, read> query: array<f32>;
@group(0) @binding(key) var<storage, read> key: array<f32>;
@group(0) @binding(value) var<storage, read> value: array<f32>;
@group(0) @binding(decay) var<storage, read> decay: array<f32>;
@group(0) @binding(beta) var<storage, read> beta: array<f32>;
@group(0) @binding(start) var<storage, read> start: array<f32>;
@group(0) @binding(out) var<storage, read_write> out: array<f32>;
@group(0) @binding(state) var<storage, read_write> state: array<f32>;

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * ${WG}u + lane;
  if (i >= params.columns) {
    return;
  }
  let head = i / params.width;
  let column = i % params.width;
  let first = head * params.depth * params.width + column;
  let end = first + params.depth * params.width;
  for (var at = first; at < end; at += params.width) {
    state[at] = start[at];
  }
  for (var token = 0u; token < params.tokens; token++) {
    let row = head * params.tokens + token;
    let keys = row * params.depth;
    var seen = 0.0;
    for (var d = 0u; d < params.depth; d++) {
#if CHANNELS
      let left = state[first + d * params.width] * decay[keys + d];
#else
      let left = state[first + d * params.width] * decay[row];
#endif
      state[first + d * params.width] = left;
      seen += left * key[keys + d];
    }
    let change = (value[row * params.width + column] - seen) * beta[row];
    for (var d = 0u; d < params.depth; d++) {
      state[first + d * params.width] += key[keys + d] * change;
    }
    for (var q = head * params.query_heads; q < (head + 1u) * params.query_heads; q++) {
      let asked = q * params.tokens + token;
      var sum = 0.0;
      for (var d = 0u; d < params.depth; d++) {
        sum += state[first + d * params.width] * query[asked * params.depth + d];
      }
      out[asked * params.width + column] = sum;
    }
  }
}
