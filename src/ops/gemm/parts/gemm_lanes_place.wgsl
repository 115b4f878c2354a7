// The columns of an invocation of gemm_lanes or gemv_lanes, by four: quad{S} of the dispatch, their panel, and where
// their weights begin (base{S}); and PLACES, by which gemm_lanes_weights wants x multiplied.
#param COLUMN_QUADS  // of a workgroup: WG, or WG * SETS if not GATED
#if WEIGHT == q4
  const PLACES = F4(1.0, 0.0625, 0.00390625, 0.000244140625);  // undo what a nibble's place makes of it
#else
  const PLACES = F4(1.0);
#endif
#repeat S SETS
#if GATED
  let quad${S} = block * ${COLUMN_QUADS}u + column;
  let panel${S} = quad${S} / 16u + params.pair_panels * ${S}u;
#else
  let quad${S} = block * ${COLUMN_QUADS}u + column + ${WG}u * ${S}u;
  let panel${S} = quad${S} / 16u;
#endif
  let base${S} = panel${S} * params.words * 16u + quad${S} % 16u;
#endrepeat
