// gemv_bytes: weights and scales of the unit `next`. A unit past the end is clamped and counts nothing.
    unit = min(next, ${UNITS}u - 1u);
#repeat M MATS
#repeat S 4
    q${M}_${S} = weights[base${M} + (unit * 4u + ${S}u) * 16u];
#endrepeat
    let group${M} = panel${M} * params.groups + unit * 4u / params.group_steps;
    scale${M} = select(F4(0.0), scales[group${M} * 16u + column], next == unit);
#endrepeat
