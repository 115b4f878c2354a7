// out[i] = EXPR of up to three operands, over a row-major loop nest: arithmetic, comparisons,
// conversions, fills and every copy that only moves elements (permute, slice, expand, ...).
#param WG
// Elements an invocation writes: one; four neighbours, which it reads as such; or four each of which it looks for by
// itself, for those of a word of bytes.
#param LANES : 1 | 4 | each
#param SPLITS                                 // loops less one
#param EXPR                                   // in a, b, c, x, y and i (the element's index)
#param WIDE = 0 : 0 | 1                       // integers of 64 bits take part
#param BYTES = 0 : 0 | 1                      // tensors of bytes take part
#param X : f32 | i32 | u32 | vec2<u32>        // type of x and y
#param OUT : f32 | i32 | u32 | vec2<u32>      // as it is stored
#param OUT_BYTES = 0 : 0 | 1                  // as the low byte of OUT, four in a word
#param OUT_AS : f32 | i32 | u32 | vec2<u32>   // type of EXPR
#param OUT_FROM                               // what makes OUT of it
#param LIVE = 0 : 0 | 1                       // operand a's base follows a SymInt
// Operand a: one element is read, or four, it is in params, or a SymInt's uniform. So the others, where there are such.
#param A : element | vector | literal | live
#param A_AS : f32 | i32 | u32 | vec2<u32>     // type that EXPR sees
#param A_FROM = 0                             // what makes it of what is stored
#param A_STORED = 0                           // a tensor's array type
#param A_BYTES = 0 : 0 | signed | unsigned    // a tensor of bytes, in words
#param B = 0 : 0 | element | vector | literal | live
#param B_AS = 0 : 0 | f32 | i32 | vec2<u32>
#param B_FROM = 0
#param B_STORED = 0
#param B_BYTES = 0 : 0 | signed | unsigned
#param C = 0 : 0 | element | vector | literal | live
#param C_AS = 0 : 0 | f32 | i32 | vec2<u32>
#param C_FROM = 0
#param C_STORED = 0
#param C_BYTES = 0 : 0 | signed | unsigned
//   count        invocations
//   elements     that LANES each writes
//   first    index of the first element
//   base     of a, b, c in elements of their bindings
//   x, y     words of a number, the low one first
//   a, b, c  and of literals
//   loops    innermost first: size, strides of a, b, c
//   live_extent, live_stride  of the dimension that the SymInt selects in
#params

#if A_STORED
@group(0) @binding(a) var<storage, read> a_data: array<${A_STORED}>;
#endif
#if B_STORED
@group(0) @binding(b) var<storage, read> b_data: array<${B_STORED}>;
#endif
#if C_STORED
@group(0) @binding(c) var<storage, read> c_data: array<${C_STORED}>;
#endif
#if LANES == 4
alias Result = vec4<${OUT}>;
#else
alias Result = ${OUT};
#endif
#if OUT_BYTES
@group(0) @binding(out) var<storage, read_write> out: array<u32>;
#else
@group(0) @binding(out) var<storage, read_write> out: array<Result>;
#endif
#if A == live
@group(0) @binding(a) var<uniform> a_live: vec4<i32>;
#endif
#if B == live
@group(0) @binding(b) var<uniform> b_live: vec4<i32>;
#endif
#if C == live
@group(0) @binding(c) var<uniform> c_live: vec4<i32>;
#endif
#if LIVE
@group(0) @binding(live_start) var<uniform> live_start: vec4<i32>;
#endif

#include "elementwise_math.wgsl"
#if LIB == requantization
#include "requantization.wgsl"
#endif
#if WIDE
#include "wide_integers.wgsl"
#endif
#if BYTES
#include "bytes.wgsl"
#endif

// What does not fit is the lowest number, as on x86.
fn to_i32(a: f32) -> i32 {
  return select(i32(-2147483647 - 1), i32(a), abs(a) < 2147483648.0);
}

fn apply(
    i: u32,
    a: ${A_AS},
#if B
    b: ${B_AS},
#endif
#if C
    c: ${C_AS},
#endif
) -> ${OUT_AS} {
#if X == vec2<u32>
  let x = params.x;
  let y = params.y;
#else
  let x = bitcast<${X}>(params.x.x);
  let y = bitcast<${X}>(params.y.x);
#endif
  return ${EXPR};
}

// Number i of what LANES says.
fn result(i: u32) -> Result {
  var at = params.base.xyz;
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
#if LIVE
  // As a slice's start: negative counts from the end, and both ends are clamped.
  let extent = i32(params.live_extent);
  let start = select(live_start.x, live_start.x + extent, live_start.x < 0);
  at.x += u32(clamp(start, 0, extent)) * params.live_stride;
#endif

#if A == literal
#if A_AS == vec2<u32>
  let a = params.a;
#else
  let a = bitcast<${A_AS}>(params.a.x);
#endif
#elif A == live
  let a = ${A_FROM}(a_live.x);
#elif A == element
#if A_BYTES
  let a = ${A_FROM}(${A_BYTES}_byte(a_data[at.x / 4u], at.x));
#else
  let a = ${A_FROM}(a_data[at.x]);
#endif
#elif A == vector
#if A_BYTES
  let a = ${A_BYTES}_bytes(a_data[at.x]);
#else
  let a = a_data[at.x];
#endif
#endif
#if B == literal
#if B_AS == vec2<u32>
  let b = params.b;
#else
  let b = bitcast<${B_AS}>(params.b.x);
#endif
#elif B == live
  let b = ${B_FROM}(b_live.x);
#elif B == element
#if B_BYTES
  let b = ${B_FROM}(${B_BYTES}_byte(b_data[at.y / 4u], at.y));
#else
  let b = ${B_FROM}(b_data[at.y]);
#endif
#elif B == vector
#if B_BYTES
  let b = ${B_BYTES}_bytes(b_data[at.y]);
#else
  let b = b_data[at.y];
#endif
#endif
#if C == literal
#if C_AS == vec2<u32>
  let c = params.c;
#else
  let c = bitcast<${C_AS}>(params.c.x);
#endif
#elif C == live
  let c = ${C_FROM}(c_live.x);
#elif C == element
#if C_BYTES
  let c = ${C_FROM}(${C_BYTES}_byte(c_data[at.z / 4u], at.z));
#else
  let c = ${C_FROM}(c_data[at.z]);
#endif
#elif C == vector
#if C_BYTES
  let c = ${C_BYTES}_bytes(c_data[at.z]);
#else
  let c = c_data[at.z];
#endif
#endif

#if LANES == 4
  return Result(
#repeat L 4
      ${OUT_FROM}(apply(
          params.first + 4u * i + ${L}u,
#if A == vector
          ${A_FROM}(a[${L}]),
#else
          a,
#endif
#if B == vector
          ${B_FROM}(b[${L}]),
#elif B
          b,
#endif
#if C == vector
          ${C_FROM}(c[${L}]),
#elif C
          c,
#endif
      )),
#endrepeat
  );
#else
  return ${OUT_FROM}(apply(
      params.first + i,
      a,
#if B
      b,
#endif
#if C
      c,
#endif
  ));
#endif
}

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * ${WG}u + lane;
  if (i >= params.count) {
    return;
  }
#if LANES == each
  var bytes = vec4<i32>(0);
  for (var b = 0u; b < 4u; b++) {
    bytes[b] = result(min(4u * i + b, params.elements - 1u));
  }
  out[i] = packed_bytes(bytes);
#elif OUT_BYTES
  out[i] = packed_bytes(result(i));
#else
  out[i] = result(i);
#endif
}
