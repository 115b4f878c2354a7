// What a lane of gemv_lanes holds of x for `count` steps from step `first` on: x0, normed if NORM.
#if LANES
      let quad = min(first * ${HALVES}u + lane, params.k / 4u - 1u);
      var x0 = row_quad(row, quad);
#if NORM
      square += select(0.0, dot(x0, x0), lane < count * ${HALVES}u);
      x0 *= norm_weight[quad];
#endif
      x0 *= PLACES;
#endif
