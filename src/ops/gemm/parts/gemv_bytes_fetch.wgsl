// gemv_bytes: weights and scales of UNROLL units from `next` on. Units past the end are clamped
// and count nothing.
#repeat U UNROLL
    let wanted${U} = next + ${U}u * ${SLICES}u;
    unit${U} = min(wanted${U}, ${UNITS}u - 1u);
#repeat M MATS
#repeat S 4
    q${M}_${S}_${U} = weights[base${M} + (unit${U} * 4u + ${S}u) * 16u];
#endrepeat
    let group${M}_${U} = panel${M} * params.groups + unit${U} * 4u / params.group_steps;
    scale${M}_${U} = select(F4(0.0), scales[group${M}_${U} * 16u + column], wanted${U} == unit${U});
#endrepeat
#endrepeat
