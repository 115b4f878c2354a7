// The beginning of a kernel for one row, up to where its loads begin: which columns and which slice of K an
// invocation has. PARTIALS is how many sums of slices are to be joined.
#param MATS : 1 | 2        // 2 if GATED
#param WG                  // LANES * SLICES
#param LANES               // a power of two
#param SLICES
#param LOOP : 0 | 1        // 0: what an invocation has at once is all
#param RUN                 // neighbours that are surely in one subgroup; 0: no subgroups, and WG is a power of two
#param RUNS                // WG / RUN
#repeat M MATS
var<workgroup> partial${M}: array<F4, PARTIALS>;
#endrepeat
#if NORM
var<workgroup> partial_square: array<f32, PARTIALS>;
#endif

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
        @builtin(local_invocation_index) index: u32) {
  let block = wid.y * grid.x + wid.x;
  if (block >= params.blocks) {
    return;
  }
  let local_quad = block * ${LANES}u + index % ${LANES}u;
  let column = local_quad % 16u;
  let slice = index / ${LANES}u;
  let row0 = find_row(0u);
#repeat M MATS
  let panel${M} = local_quad / 16u + params.pair_panels * ${M}u;
  let base${M} = panel${M} * params.words * 16u + column;
  var total${M} = F4(0.0);
#endrepeat
#if NORM
  var total_square = 0.0;
#endif
#if RESIDUAL
  var residual4 = F4(0.0);
  if (index < ${LANES}u) {
    residual4 = residual_quad(0u, params.first_panel * 16u + local_quad);
  }
#endif
