// out[i] = EXPR of up to three operands, over a row-major loop nest: arithmetic, comparisons,
// conversions, fills and every copy that only moves elements (permute, slice, expand, ...).
//
// An operand is given by its kind in A, B, C: "word" (one element read), "vector" (four), "literal"
// (in params) or "live" (a SymInt's uniform); absent operands are not defined.
// Parameters: WG; LANES (elements an invocation writes, 1 or 4); SPLITS (loops - 1); LOOPS; EXPR in
// a, b, c, x, y and i (the element's index); LIB (functions of elementwise_math.wgsl that EXPR
// calls); OUT, OUT_AT (element type, binding); PARAMS_AT; X (type of x and y); for each operand K:
// K (its kind), K_AS (scalar type that EXPR sees), K_VALUE (that of LANES elements), K_AT (binding of a
// tensor or a uniform), K_STORED (a tensor's array type); LIVE_AT where operand a's base follows a
// SymInt.
struct Params {
  count: u32,  // invocations
  x: u32,
  y: u32,
  live_extent: u32,  // of the dimension that the SymInt selects in
  base: vec3<u32>,   // of a, b, c in elements of their bindings
  live_stride: u32,
  literals: vec4<u32>,
  loops: array<vec4<u32>, ${LOOPS}>,  // innermost first: size, strides of a, b, c
}

#if A_STORED
@group(0) @binding(${A_AT}) var<storage, read> a_data: array<${A_STORED}>;
#endif
#if B_STORED
@group(0) @binding(${B_AT}) var<storage, read> b_data: array<${B_STORED}>;
#endif
#if C_STORED
@group(0) @binding(${C_AT}) var<storage, read> c_data: array<${C_STORED}>;
#endif
#if LANES == 4
@group(0) @binding(${OUT_AT}) var<storage, read_write> out: array<vec4<${OUT}>>;
#else
@group(0) @binding(${OUT_AT}) var<storage, read_write> out: array<${OUT}>;
#endif
@group(0) @binding(${PARAMS_AT}) var<uniform> params: Params;
#if A == live
@group(0) @binding(${A_AT}) var<uniform> a_live: vec4<i32>;
#endif
#if B == live
@group(0) @binding(${B_AT}) var<uniform> b_live: vec4<i32>;
#endif
#if C == live
@group(0) @binding(${C_AT}) var<uniform> c_live: vec4<i32>;
#endif
#if LIVE_AT
@group(0) @binding(${LIVE_AT}) var<uniform> live_start: vec4<i32>;
#endif

#if LIB
#include "elementwise_math.wgsl"
#endif

fn apply(
    i: u32,
#if A
    a: ${A_AS},
#endif
#if B
    b: ${B_AS},
#endif
#if C
    c: ${C_AS},
#endif
) -> ${OUT} {
  let x = bitcast<${X}>(params.x);
  let y = bitcast<${X}>(params.y);
  return ${EXPR};
}

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * ${WG}u + lane;
  if (i >= params.count) {
    return;
  }
  var at = params.base;
  var rest = i;
#repeat K SPLITS
  {
    let loop_ = params.loops[${K}];
    let outer = rest / loop_.x;
    at += (rest - outer * loop_.x) * loop_.yzw;
    rest = outer;
  }
#endrepeat
  at += rest * params.loops[${SPLITS}].yzw;
#if LIVE_AT
  // As a slice's start: negative counts from the end, and both ends are clamped.
  let extent = i32(params.live_extent);
  let start = select(live_start.x, live_start.x + extent, live_start.x < 0);
  at.x += u32(clamp(start, 0, extent)) * params.live_stride;
#endif

#if A == literal
  let a = ${A_VALUE}(bitcast<${A_AS}>(params.literals.x));
#endif
#if A == live
  let a = ${A_VALUE}(${A_AS}(a_live.x));
#endif
#if A == word
  let a = ${A_VALUE}(${A_AS}(a_data[at.x]));
#endif
#if A == vector
  let a = ${A_VALUE}(a_data[at.x]);
#endif
#if B == literal
  let b = ${B_VALUE}(bitcast<${B_AS}>(params.literals.y));
#endif
#if B == live
  let b = ${B_VALUE}(${B_AS}(b_live.x));
#endif
#if B == word
  let b = ${B_VALUE}(${B_AS}(b_data[at.y]));
#endif
#if B == vector
  let b = ${B_VALUE}(b_data[at.y]);
#endif
#if C == literal
  let c = ${C_VALUE}(bitcast<${C_AS}>(params.literals.z));
#endif
#if C == live
  let c = ${C_VALUE}(${C_AS}(c_live.x));
#endif
#if C == word
  let c = ${C_VALUE}(${C_AS}(c_data[at.z]));
#endif
#if C == vector
  let c = ${C_VALUE}(c_data[at.z]);
#endif

#if LANES == 4
  out[i] = vec4<${OUT}>(
#repeat L 4
      apply(
          4u * i + ${L}u,
#if A
          a[${L}],
#endif
#if B
          b[${L}],
#endif
#if C
          c[${L}],
#endif
      ),
#endrepeat
  );
#else
  out[i] = apply(
      i,
#if A
      a,
#endif
#if B
      b,
#endif
#if C
      c,
#endif
  );
#endif
}
