// Results of a matrix product (gemm_results.wgsl) as images [N, C, H, W]: a row is a pixel, a column a channel.
//   plane_elements   H * W
//   planes_count     C
@group(0) @binding(planes) var<storage, read_write> planes: array<f32>;

fn store_quad(row: u32, quad: u32, value: F4) {
  let image = row / params.plane_elements;
  let first = image * (params.planes_count - 1u) * params.plane_elements + row;
#repeat J 4
  if (quad * 4u + ${J}u < params.planes_count) {
    planes[first + (quad * 4u + ${J}u) * params.plane_elements] = value[${J}];
  }
#endrepeat
}
