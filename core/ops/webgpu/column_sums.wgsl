// column_sums.wgsl - to (parts, width) = the sums of each column of d over the rows of a part, 256 rows a part; added to
// what is there with VARIANT 1. With VARIANT 2 of d * (x - mean) * rstd. 64 columns a workgroup, 4 threads each.
// params: rows, width.
@group(0) @binding(1) var<storage, read_write> to: array<f32>;
@group(0) @binding(2) var<storage, read> d: array<f32>;
@group(0) @binding(3) var<storage, read> x: array<f32>;
@group(0) @binding(4) var<storage, read> stats: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) here: vec3u, @builtin(local_invocation_index) thread: u32) {
  let at = place_of(here);
  let width = param(1);
  let column = at.x * 64 + thread % 64;
  var sum = 0.0;
  if (column < width) {
    for (var row = at.y * 256 + thread / 64; row < min(param(0), at.y * 256 + 256); row += 4) {
      var value = d[first(2) + row * width + column];
      if (has(2)) {
        value *= (x[first(3) + row * width + column] - stats[first(4) + row * 2]) * stats[first(4) + row * 2 + 1];
      }
      sum += value;
    }
  }
  shared_numbers[thread] = sum;
  workgroupBarrier();
  if (thread >= 64 || column >= width) { return; }
  sum = shared_numbers[thread] + shared_numbers[thread + 64] + shared_numbers[thread + 128] + shared_numbers[thread + 192];
  let place = first(1) + at.y * width + column;
  if (has(1)) { sum += to[place]; }
  to[place] = sum;
}
