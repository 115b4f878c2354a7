// Windows over images [N, C, H, W] in which the rows of a matrix product (gemm_rows.wgsl) are found.
//   patches         windows over an image, patches_wide of them in a row
//   image_elements  C * H * W
//   first_patch     that is this dispatch's first row
@group(0) @binding(images) var<storage, read> images: array<f32>;

// The image's first element, and where the window begins in it.
struct Window { first: u32, y: i32, x: i32 }

fn find_window(row: u32) -> Window {
  let patch_number = params.first_patch + row;
  let image = patch_number / params.patches;
  let place = patch_number - image * params.patches;
  let y = place / params.patches_wide;
  let x = place - y * params.patches_wide;
  return Window(image * params.image_elements, i32(y * params.stride_y) - i32(params.padding_y),
                i32(x * params.stride_x) - i32(params.padding_x));
}
