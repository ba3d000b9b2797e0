// product_sum.wgsl - the end of a product whose depth was cut into parts: parts (their number, rows, cols) are added.
// params: those of epilogue.wgsl, number of parts.
#128 @group(0) @binding(4) var<storage, read> parts: array<vec4f>;
#!128 @group(0) @binding(4) var<storage, read> parts: array<f32>;
#128 fn four_of_parts(i: u32) -> vec4f { return parts[i / 4]; }
#!128 fn four_of_parts(i: u32) -> vec4f { return vec4f(parts[i], parts[i + 1], parts[i + 2], parts[i + 3]); }

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) here: vec3u, @builtin(local_invocation_index) thread: u32) {
  let quads = (param(1) + 3) / 4;
  let i = group(here) * 64 + thread;
  let row = i / quads;
  let col = i % quads * 4;
  if (row >= param(0)) { return; }
  var sums = vec4f();
  for (var part = 0u; part < param(5); part++) {
    sums += four_of_parts(first(4) + (part * param(0) + row) * param(1) + col);
  }
  finish(row, col, sums, 0);
}
