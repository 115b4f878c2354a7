// The rows' sums of weights, in row_sum.
  workgroupBarrier();
  row_part[lane] = sum;
  workgroupBarrier();
  if (my_part == 0u) {
    var total = 0.0;
    for (var n = 0u; n < ${LANES}u; n++) {
      total += row_part[lane + n];
    }
    row_sum[my_row] = total;
  }
  workgroupBarrier();
