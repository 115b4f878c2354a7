// A convolution of 8-bit integers, summed as integers, for what is no matrix product: depthwise ones, and those in
// groups. An invocation computes four outputs that are neighbours in memory.
#param WG
//   count         invocations
//   elements      of the output
//   channels      of a group,
//   outputs         and its output channels
//   w_output, w_tap  distances between weights; channels are neighbours
//   scale_count   scales, which repeat over the outputs
//   x_zero_point
#params
@group(0) @binding(x) var<storage, read> x: array<u32>;
@group(0) @binding(weights) var<storage, read> weights: array<u32>;
@group(0) @binding(out) var<storage, read_write> out: array<u32>;
#include "bytes.wgsl"
#include "requantize.wgsl"
#include "window_place.wgsl"

struct Output { x: u32, y: u32, channel: u32, image: u32 }

fn find_output(element: u32) -> Output {
  let at = min(element, params.elements - 1u);
  let row = at / params.out_width;
  let plane = row / params.out_height;
  let image = plane / (params.outputs * params.groups);
  return Output(at % params.out_width, row % params.out_height, plane % (params.outputs * params.groups), image);
}

// The element of x under a tap less the zero point; nothing is 0.
fn element(o: Output, channel: u32, ky: u32, kx: u32) -> i32 {
  let y = place(o.y, ky, params.stride_y, params.padding_y, params.dilation_y);
  let at_x = place(o.x, kx, params.stride_x, params.padding_x, params.dilation_x);
  let inside = y >= 0 && u32(y) < params.in_height && at_x >= 0 && u32(at_x) < params.in_width;
  let plane = (o.image * params.groups + o.channel / params.outputs) * params.channels + channel;
  let at = (plane * params.in_height + u32(max(y, 0))) * params.in_width + u32(max(at_x, 0));
  let word = x[select(0u, at / 4u, inside)];
  return select(0, signed_byte(word, at) - params.x_zero_point, inside);
}

fn weight(o: Output, channel: u32, tap: u32) -> i32 {
  let at = o.channel * params.w_output + tap * params.w_tap + channel;
  return signed_byte(weights[at / 4u], at);
}

fn result(o: Output) -> i32 {
  var sum = 0;
  for (var channel = 0u; channel < params.channels; channel++) {
    for (var ky = 0u; ky < params.kernel_height; ky++) {
      for (var kx = 0u; kx < params.kernel_width; kx++) {
        sum += element(o, channel, ky, kx) * weight(o, channel, ky * params.kernel_width + kx);
      }
    }
  }
  return requantized(sum, o.channel, o.channel % params.scale_count);
}

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
        @builtin(local_invocation_index) index: u32) {
  let item = (wid.y * grid.x + wid.x) * ${WG}u + index;
  if (item >= params.count) {
    return;
  }
  var results = vec4<i32>();
  for (var j = 0u; j < 4u; j++) {
    results[j] = result(find_output(item * 4u + j));
  }
  out[item] = packed_bytes(results);
}
