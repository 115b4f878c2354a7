// A convolution, an output for each invocation: for what is no matrix product, as depthwise and transposed ones. The
// weight is [OC, C / groups, KERNEL_HEIGHT, KERNEL_WIDTH], TRANSPOSED [C, OC / groups, ...].
#param WG
#param KERNEL_HEIGHT
#param KERNEL_WIDTH
#param BIAS = 0 : 0 | 1
#param RESIDUAL = 0 : 0 | 1
//   count       of outputs
//   channels    of a group,
//   outputs       and its output channels
#params
@group(0) @binding(x) var<storage, read> x: array<f32>;
@group(0) @binding(weight) var<storage, read> weight: array<f32>;
@group(0) @binding(out) var<storage, read_write> out: array<f32>;
#if BIAS
@group(0) @binding(bias) var<storage, read> bias: array<f32>;
#endif

#if RESIDUAL
@group(0) @binding(residual) var<storage, read> residual: array<f32>;
#endif

#include "window_place.wgsl"
#include "activation.wgsl"

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
        @builtin(local_invocation_index) index: u32) {
  let item = (wid.y * grid.x + wid.x) * ${WG}u + index;
  if (item >= params.count) {
    return;
  }
  let out_x = item % params.out_width;
  let out_y = item / params.out_width % params.out_height;
  let plane = item / (params.out_width * params.out_height);
  let output = plane % (params.outputs * params.groups);
  let image = plane / (params.outputs * params.groups);
  let group = output / params.outputs;
  const TAPS = ${KERNEL_HEIGHT}u * ${KERNEL_WIDTH}u;
  var sum = 0.0;
  for (var channel = 0u; channel < params.channels; channel++) {
    let x_base = ((image * params.groups + group) * params.channels + channel) * params.in_height * params.in_width;
#if TRANSPOSED
    let w_base = ((group * params.channels + channel) * params.outputs + output % params.outputs) * TAPS;
#else
    let w_base = (output * params.channels + channel) * TAPS;
#endif
    for (var ky = 0u; ky < ${KERNEL_HEIGHT}u; ky++) {
      let y = place(out_y, ky, params.stride_y, params.padding_y, params.dilation_y);
      for (var kx = 0u; kx < ${KERNEL_WIDTH}u; kx++) {
        let at = place(out_x, kx, params.stride_x, params.padding_x, params.dilation_x);
        if (y >= 0 && u32(y) < params.in_height && at >= 0 && u32(at) < params.in_width) {
          sum += x[x_base + u32(y) * params.in_width + u32(at)] * weight[w_base + ky * ${KERNEL_WIDTH}u + kx];
        }
      }
    }
  }
#if BIAS
  sum += bias[output];
#endif
#if RESIDUAL
  sum += residual[item];
#endif
#if ACTIVATION
  sum = activated(sum);
#endif
  out[item] = sum;
}
