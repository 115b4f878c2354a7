// Results of a matrix product (gemm_results.wgsl) as images [N, C, H, W]: a row is a pixel, a column a channel.
//   plane_elements   H * W
//   planes_count     C
//   first_pixel      that is this dispatch's first row
@group(0) @binding(planes) var<storage, read_write> planes: array<f32>;

// Of a pixel's first channel.
fn first_place(row: u32) -> u32 {
  let pixel = params.first_pixel + row;
  let image = pixel / params.plane_elements;
  return image * (params.planes_count - 1u) * params.plane_elements + pixel;
}

fn store_quad(row: u32, quad: u32, value: F4) {
  let first = first_place(row);
#repeat J 4
  if (quad * 4u + ${J}u < params.planes_count) {
    planes[first + (quad * 4u + ${J}u) * params.plane_elements] = value[${J}];
  }
#endrepeat
}

#if RESIDUAL
@group(0) @binding(residual) var<storage, read> residual: array<f32>;

fn residual_quad(row: u32, quad: u32) -> F4 {
  let first = first_place(row);
  let last = params.planes_count - 1u;
  let plane = quad * 4u;
  return F4(residual[first + min(plane, last) * params.plane_elements],
            residual[first + min(plane + 1u, last) * params.plane_elements],
            residual[first + min(plane + 2u, last) * params.plane_elements],
            residual[first + min(plane + 3u, last) * params.plane_elements]);
}
#endif
