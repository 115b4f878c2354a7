// Results of a matrix product (gemm_results.wgsl) as images [N, C, H, W]: a row is a pixel, a column a channel.
//   plane_elements   H * W
//   planes_count     C
//   first_pixel      that is this dispatch's first row
@group(0) @binding(planes) var<storage, read_write> planes: array<f32>;

fn store_quad(row: u32, quad: u32, value: F4) {
  let pixel = params.first_pixel + row;
  let image = pixel / params.plane_elements;
  let first = image * (params.planes_count - 1u) * params.plane_elements + pixel;
#repeat J 4
  if (quad * 4u + ${J}u < params.planes_count) {
    planes[first + (quad * 4u + ${J}u) * params.plane_elements] = value[${J}];
  }
#endrepeat
}
