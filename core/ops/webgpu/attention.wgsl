// attention.wgsl - softmax attention of one head in one sequence for 16 queries a workgroup, over 16 keys at a time,
// with the greatest score and the sum so far kept on the way: scores are never stored. VARIANT: 1 dropout, the rest the
// width of a head.
// params: stride of the rows, number of the first sequence, the dropout (5).
const WIDTH = VARIANT >> 1;
const PARTS = (WIDTH + 15) / 16;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<storage, read> q: array<f32>;
@group(0) @binding(3) var<storage, read> k: array<f32>;
@group(0) @binding(4) var<storage, read> v: array<f32>;
@group(0) @binding(5) var<storage, read> starts: array<u32>;

var<workgroup> weights: array<array<f32, 16>, 16>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) at: vec3u, @builtin(num_workgroups) count: vec3u,
        @builtin(local_invocation_index) thread: u32) {
  let start = starts[first(5) + at.z];
  let length = starts[first(5) + at.z + 1] - start;
  if (at.x * 16 >= length) { return; }
  let stride = param(0);
  let row = thread / 16;
  let column = thread % 16;
  let query = at.x * 16 + row;
  let head = at.y * WIDTH;
  let base = first(2) + (start + min(query, length - 1)) * stride + head;
  let stream = (at.y * length + query) * padded(length);
  var most = -3.0e38;
  var total = 0.0;
  var sums: array<f32, PARTS>;
  for (var key0 = 0u; key0 < length; key0 += 16) {
    let key = key0 + column;
    var score = -3.0e38;
    if (key < length) {
      let to = first(3) + (start + key) * stride + head;
      var sum = 0.0;
      for (var i = 0u; i < WIDTH; i++) { sum += q[base + i] * k[to + i]; }
      score = sum / sqrt(f32(WIDTH));
    }
    weights[row][column] = score;
    workgroupBarrier();
    var greatest = most;
    for (var j = 0u; j < 16; j++) { greatest = max(greatest, weights[row][j]); }
    workgroupBarrier();
    weights[row][column] = select(0.0, exp(max(score - greatest, -87.0)), key < length);
    workgroupBarrier();
    let shrink = exp(max(most - greatest, -87.0));
    most = greatest;
    total *= shrink;
    for (var j = 0u; j < 16; j++) { total += weights[row][j]; }
    if (has(1)) {
      workgroupBarrier();
      weights[row][column] *= dropped(2, param(1) + at.z, stream + key);
      workgroupBarrier();
    }
    for (var part = 0u; part < PARTS; part++) {
      let i = part * 16 + column;
      var sum = sums[part] * shrink;
      if (i < WIDTH) {
        for (var j = 0u; j < min(16u, length - key0); j++) {
          sum += weights[row][j] * v[first(4) + (start + key0 + j) * stride + head + i];
        }
      }
      sums[part] = sum;
    }
    workgroupBarrier();
  }
  if (query >= length) { return; }
  for (var part = 0u; part < PARTS; part++) {
    let i = part * 16 + column;
    if (i < WIDTH) { out[first(1) + (start + query) * stride + head + i] = sums[part] / total; }
  }
}
