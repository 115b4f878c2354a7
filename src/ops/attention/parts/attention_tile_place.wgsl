// Of tiles of BQ rows, a row being one (query, head of the group) pair of one kv head: the workgroup's own. Split along
// the keys, wid.y is which of the splits.
  let rows = params.queries * params.group;
  let tiles = (rows + ${BQ}u - 1u) / ${BQ}u;
#if SPLIT
  let index = wid.x;
#else
  let index = wid.y * groups.x + wid.x;
#endif
  if (index >= params.units * tiles) {
    return;
  }
  // Late tiles see more keys: they come first, so that the last to finish are short.
  let tile = tiles - 1u - index / params.units;
  let unit = index % params.units;
  let kv_head = unit % params.kv_heads;
  let batch = unit / params.kv_heads;
  let first_row = tile * ${BQ}u;
