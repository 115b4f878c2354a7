// Draws the next token from COUNT logits, in one workgroup: tokens seen before are made less likely, then only the
// top_k likeliest take part, of those the fewest that have top_p of their probability together, and of those the
// ones with min_p of the likeliest's. The draw adds noise of Gumbel's distribution to what is left and takes the
// largest, which picks each token with its probability. Ties at a limit take part.
#param FIRST  // the logits' first element
#param COUNT
#param WG
#include "workgroup_reduce.wgsl"
#params
@group(0) @binding(logits) var<storage, read> logits: array<f32>;
@group(0) @binding(seen) var<storage, read_write> seen: array<u32>;  // a bit for each token
@group(0) @binding(token) var<storage, read_write> token: array<u32>;  // the token, 0, its place in the text

const LOWEST = -0x1.fffffep+127f;
var<workgroup> best_score: array<f32, ${WG}>;
var<workgroup> best_at: array<u32, ${WG}>;

fn is_seen(at: u32) -> bool {
  return ((seen[at / 32u] >> (at % 32u)) & 1u) != 0u;
}

// Over the temperature; without one, as it is.
fn value_of(at: u32) -> f32 {
  let logit = logits[${FIRST}u + at];
  let unlikelier = select(logit * params.penalty, logit / params.penalty, logit > 0.0);
  return select(logit, unlikelier, is_seen(at)) / select(params.temperature, 1.0, params.temperature == 0.0);
}

// Floats in the order of unsigned integers, and back.
fn key_of(value: f32) -> u32 {
  let bits = bitcast<u32>(value);
  return select(bits ^ 0x80000000u, ~bits, bits >> 31u != 0u);
}
fn value_at(key: u32) -> f32 {
  return bitcast<f32>(select(~key, key ^ 0x80000000u, key >> 31u != 0u));
}

// How many values there are from `least` on, or how much probability they have, the largest counting 1.
fn amount(lane: u32, least: f32, largest: f32, counts: bool) -> f32 {
  var part = 0.0;
  for (var i = lane; i < ${COUNT}u; i += ${WG}u) {
    let value = value_of(i);
    part += select(0.0, select(exp(value - largest), 1.0, counts), value >= least);
  }
  return workgroup_sum(lane, part);
}

// The largest value from which on there is enough.
fn limit(lane: u32, lowest: f32, largest: f32, counts: bool, enough: f32) -> f32 {
  var low = key_of(lowest);
  var high = key_of(largest);
  for (var round = 0u; round < 32u; round++) {
    let middle = low + (high - low) / 2u + ((high - low) & 1u);
    let there = amount(lane, value_at(middle), largest, counts) >= enough;
    low = select(low, middle, there);
    high = select(max(middle, low + 1u) - 1u, high, there);
  }
  return value_at(low);
}

fn hash(a: u32) -> u32 {
  var h = a;
  h ^= h >> 16u;
  h *= 0x85ebca6bu;
  h ^= h >> 13u;
  h *= 0xc2b2ae35u;
  return h ^ (h >> 16u);
}

fn noise(at: u32) -> f32 {
  let bits = hash(hash(hash(params.seed) ^ token[2]) ^ at);
  let uniform_part = (f32(bits >> 9u) + 0.5) * 0x1p-23f;  // never rounded to 1, whose noise is infinite
  return -log(max(-log(uniform_part), 0x1p-24f));  // nor is a log, which may be off by 2^-21 near 1
}

@compute @workgroup_size(${WG})
fn main(@builtin(local_invocation_index) lane: u32) {
  var largest_here = LOWEST;
  var lowest_here = -LOWEST;
  for (var i = lane; i < ${COUNT}u; i += ${WG}u) {
    largest_here = max(largest_here, value_of(i));
    lowest_here = min(lowest_here, value_of(i));
  }
  let largest = workgroup_max(lane, largest_here);
  workgroupBarrier();
  var least = -workgroup_max(lane, -lowest_here);
  if (params.top_k > 0u && params.top_k < ${COUNT}u) {
    least = limit(lane, least, largest, true, f32(params.top_k));
  }
  if (params.top_p < 1.0) {
    let whole = amount(lane, least, largest, false);
    least = limit(lane, least, largest, false, params.top_p * whole);
  }
  if (params.min_p > 0.0) {
    least = max(least, largest + log(params.min_p));
  }
  var best = LOWEST;
  var at = ${COUNT}u - 1u;
  for (var i = lane; i < ${COUNT}u; i += ${WG}u) {
    let value = value_of(i);
    let score = value + select(noise(i), 0.0, params.temperature == 0.0);
    if (value >= least && score > best) {
      best = score;
      at = i;
    }
  }
  best_score[lane] = best;
  best_at[lane] = at;
  workgroupBarrier();
  for (var half = ${WG}u / 2u; half > 0u; half /= 2u) {
    if (lane < half) {
      let other = best_score[lane + half];
      let other_at = best_at[lane + half];
      if (other > best_score[lane] || (other == best_score[lane] && other_at < best_at[lane])) {
        best_score[lane] = other;
        best_at[lane] = other_at;
      }
    }
    workgroupBarrier();
  }
  if (lane == 0u) {
    let chosen = best_at[0];
    seen[chosen / 32u] |= 1u << (chosen % 32u);
    token[0] = chosen;
    token[1] = 0u;
    token[2]++;
  }
}
