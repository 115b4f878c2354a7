// Reductions over a workgroup of WG lanes in two barriers, without subgroups. Every lane gets the result.
// Both functions may be called repeatedly; calls must be in uniform control flow.
#param FOLD  // min(WG, 16)
var<workgroup> reduce_lanes: array<f32, ${WG}>;
var<workgroup> reduce_folds: array<f32, ${FOLD}>;

fn workgroup_sum(lane: u32, value: f32) -> f32 {
  reduce_lanes[lane] = value;
  workgroupBarrier();
  if (lane < ${FOLD}u) {
    var part = 0.0;
    for (var i = lane; i < ${WG}u; i += ${FOLD}u) {
      part += reduce_lanes[i];
    }
    reduce_folds[lane] = part;
  }
  workgroupBarrier();
  var total = 0.0;
  for (var i = 0u; i < ${FOLD}u; i++) {
    total += reduce_folds[i];
  }
  return total;
}

fn workgroup_max(lane: u32, value: f32) -> f32 {
  reduce_lanes[lane] = value;
  workgroupBarrier();
  if (lane < ${FOLD}u) {
    var part = reduce_lanes[lane];
    for (var i = lane + ${FOLD}u; i < ${WG}u; i += ${FOLD}u) {
      part = max(part, reduce_lanes[i]);
    }
    reduce_folds[lane] = part;
  }
  workgroupBarrier();
  var total = reduce_folds[0];
  for (var i = 1u; i < ${FOLD}u; i++) {
    total = max(total, reduce_folds[i]);
  }
  return total;
}
