// layer_norm.wgsl - x becomes dropout(x) + residual; out = dropout((x - mean) * rstd * gamma + beta); stats = mean,
// rstd. One workgroup a row. VARIANT: 1 residual, 2 dropout before, 4 after.
// params: rows, width, epsilon, the dropout before (5), after (5).
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<storage, read_write> x: array<f32>;
@group(0) @binding(3) var<storage, read_write> stats: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
@group(0) @binding(5) var<storage, read> gamma: array<f32>;
@group(0) @binding(6) var<storage, read> beta: array<f32>;
@group(0) @binding(7) var<storage, read> place: array<u32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) here: vec3u, @builtin(local_invocation_index) thread: u32) {
  let row = group(here);
  let width = param(1);
  if (row >= param(0)) { return; }
  var sequence = 0u;
  var base = 0u;
  if (has(6)) {
    sequence = place[first(7) + row * 2];
    base = place[first(7) + row * 2 + 1] * padded(width);
  }
  let begin = row * width;
  var sum = 0.0;
  for (var i = thread; i < width; i += 256) {
    var value = x[first(2) + begin + i];
    if (has(2)) { value *= dropped(3, sequence, base + i); }
    if (has(1)) { value += residual[first(4) + begin + i]; }
    x[first(2) + begin + i] = value;
    sum += value;
  }
  let mean = sum_of_group(thread, sum) / f32(width);
  sum = 0.0;
  for (var i = thread; i < width; i += 256) {
    let away = x[first(2) + begin + i] - mean;
    sum += away * away;
  }
  let rstd = 1 / sqrt(sum_of_group(thread, sum) / f32(width) + number(2));
  for (var i = thread; i < width; i += 256) {
    var value = (x[first(2) + begin + i] - mean) * rstd * gamma[first(5) + i] + beta[first(6) + i];
    if (has(4)) { value *= dropped(8, sequence, base + i); }
    out[first(1) + begin + i] = value;
  }
  if (thread == 0) {
    stats[first(3) + row * 2] = mean;
    stats[first(3) + row * 2 + 1] = rstd;
  }
}
