// layer_norm_backward.wgsl - d, the gradient of the layer norm's output, becomes that of x (dropped with VARIANT 2);
// d_residual, with VARIANT 1, that before the dropout. One workgroup a row.
// params: rows, width, the dropout (5).
@group(0) @binding(1) var<storage, read_write> d: array<f32>;
@group(0) @binding(2) var<storage, read_write> d_residual: array<f32>;
@group(0) @binding(3) var<storage, read> x: array<f32>;
@group(0) @binding(4) var<storage, read> gamma: array<f32>;
@group(0) @binding(5) var<storage, read> stats: array<f32>;
@group(0) @binding(6) var<storage, read> place: array<u32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) here: vec3u, @builtin(local_invocation_index) thread: u32) {
  let row = group(here);
  let width = param(1);
  if (row >= param(0)) { return; }
  let begin = row * width;
  let mean = stats[first(5) + row * 2];
  let rstd = stats[first(5) + row * 2 + 1];
  var sum = 0.0;
  var along = 0.0;
  for (var i = thread; i < width; i += 256) {
    let slope = d[first(1) + begin + i] * gamma[first(4) + i];
    sum += slope;
    along += slope * ((x[first(3) + begin + i] - mean) * rstd);
  }
  sum = sum_of_group(thread, sum) / f32(width);
  along = sum_of_group(thread, along) / f32(width);
  for (var i = thread; i < width; i += 256) {
    let normed = (x[first(3) + begin + i] - mean) * rstd;
    var slope = (d[first(1) + begin + i] * gamma[first(4) + i] - sum - normed * along) * rstd;
    if (has(1)) { d_residual[first(2) + begin + i] = slope; }
    if (has(2)) {
      let sequence = place[first(6) + row * 2];
      slope *= dropped(2, sequence, place[first(6) + row * 2 + 1] * padded(width) + i);
    }
    d[first(1) + begin + i] = slope;
  }
}
