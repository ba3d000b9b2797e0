// rows.wgsl - out = x[rows], or with VARIANT 1 out[rows] = x. params: how many rows, width.
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> rows: array<u32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) here: vec3u, @builtin(local_invocation_index) thread: u32) {
  let row = group(here);
  if (row >= param(0)) { return; }
  let width = param(1);
  let other = rows[first(3) + row];
  let to = first(1) + select(row, other, has(1)) * width;
  let base = first(2) + select(other, row, has(1)) * width;
  for (var i = thread; i < width; i += 64) { out[to + i] = x[base + i]; }
}
