// The softmax of row lane / LANES of the tile, by LANES lanes together, and the keys that the workgroup walks.
  let my_row = lane / ${LANES}u;
  let my_part = lane % ${LANES}u;
  let my_query = min(first_row + my_row, rows - 1u) / params.group;
  let my_limit = key_limit(my_query);
  let my_head = kv_head * params.group + min(first_row + my_row, rows - 1u) % params.group;
  var top = LOWEST;
  var sum = 0.0;

  let k_base = batch * params.k_batch + kv_head * params.k_head;
  let v_base = batch * params.v_batch + kv_head * params.v_head;
  let last_query = min(first_row + ${BQ}u, rows) - 1u;
#if SPLIT
  let first_key = wid.y * ${SPLIT_KEYS}u;
  let tile_limit = min(key_limit(last_query / params.group), first_key + ${SPLIT_KEYS}u);
#else
  let first_key = 0u;
  let tile_limit = key_limit(last_query / params.group);
#endif
  let last_key = max(tile_limit, 1u) - 1u;
