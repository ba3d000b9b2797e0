// attention_backward_q.wgsl - d_q of attention.wgsl, for 16 queries of one head of one sequence a workgroup; and for
// the keys' pass (attention_backward_kv.wgsl) four numbers a query and head: its greatest score, the sum of exp(score -
// greatest), the slope of the greatest, the mean slope. Slopes are less that of the greatest score: where one
// probability is nearly 1, the difference of its slope and their mean would be hardly more than its rounding.
// VARIANT: 1 dropout, the rest the width of a head.
// params: stride of the rows, number of the first sequence, the dropout (5), heads.
const WIDTH = VARIANT >> 1;
const PARTS = (WIDTH + 15) / 16;
@group(0) @binding(1) var<storage, read_write> d_q: array<f32>;
@group(0) @binding(2) var<storage, read_write> kept: array<vec4f>;
@group(0) @binding(3) var<storage, read> q: array<f32>;
@group(0) @binding(4) var<storage, read> k: array<f32>;
@group(0) @binding(5) var<storage, read> v: array<f32>;
@group(0) @binding(6) var<storage, read> d_out: array<f32>;
@group(0) @binding(7) var<storage, read> starts: array<u32>;

var<workgroup> numbers: array<array<f32, 16>, 16>;
var<workgroup> places: array<array<u32, 16>, 16>;

fn score(query: u32, key: u32) -> f32 {
  var sum = 0.0;
  for (var i = 0u; i < WIDTH; i++) { sum += q[query + i] * k[key + i]; }
  return sum / sqrt(f32(WIDTH));
}
fn slope(query: u32, key: u32, sequence: u32, element: u32) -> f32 {
  var sum = 0.0;
  for (var i = 0u; i < WIDTH; i++) { sum += d_out[query + i] * v[key + i]; }
  if (has(1)) { sum *= dropped(2, sequence, element); }
  return sum;
}
fn sum_of_row(row: u32, column: u32, x: f32) -> f32 {
  workgroupBarrier();
  numbers[row][column] = x;
  workgroupBarrier();
  var sum = 0.0;
  for (var j = 0u; j < 16; j++) { sum += numbers[row][j]; }
  return sum;
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) at: vec3u, @builtin(local_invocation_index) thread: u32) {
  let start = starts[first(7) + at.z];
  let length = starts[first(7) + at.z + 1] - start;
  if (at.x * 16 >= length) { return; }
  let stride = param(0);
  let row = thread / 16;
  let column = thread % 16;
  let query = at.x * 16 + row;
  let head = at.y * WIDTH;
  let sequence = param(1) + at.z;
  let place = (start + min(query, length - 1)) * stride + head;
  let stream = (at.y * length + query) * padded(length);

  var most = -3.0e38;
  var which = 0u;
  for (var key = column; key < length; key += 16) {
    let found = score(first(3) + place, first(4) + (start + key) * stride + head);
    if (found > most) {
      most = found;
      which = key;
    }
  }
  numbers[row][column] = most;
  places[row][column] = which;
  workgroupBarrier();
  for (var j = 0u; j < 16; j++) {
    if (numbers[row][j] > most) {
      most = numbers[row][j];
      which = places[row][j];
    }
  }
  let greatest = slope(first(6) + place, first(5) + (start + which) * stride + head, sequence, stream + which);
  var total = 0.0;
  var mean = 0.0;
  for (var key = column; key < length; key += 16) {
    let other = (start + key) * stride + head;
    let p = exp(max(score(first(3) + place, first(4) + other) - most, -87.0));
    total += p;
    mean += p * (slope(first(6) + place, first(5) + other, sequence, stream + key) - greatest);
  }
  total = sum_of_row(row, column, total);
  mean = sum_of_row(row, column, mean) / total;
  if (column == 0 && query < length) { kept[first(2) / 4 + (start + query) * param(7) + at.y] = vec4f(most, total, greatest, mean); }

  var sums: array<f32, PARTS>;
  for (var key0 = 0u; key0 < length; key0 += 16) {
    let key = key0 + column;
    var flow = 0.0;
    if (key < length) {
      let other = (start + key) * stride + head;
      let p = exp(max(score(first(3) + place, first(4) + other) - most, -87.0)) / total;
      flow = p * (slope(first(6) + place, first(5) + other, sequence, stream + key) - greatest - mean) / sqrt(f32(WIDTH));
    }
    workgroupBarrier();
    numbers[row][column] = flow;
    workgroupBarrier();
    for (var part = 0u; part < PARTS; part++) {
      let i = part * 16 + column;
      if (i >= WIDTH) { continue; }
      for (var j = 0u; j < min(16u, length - key0); j++) {
        sums[part] += numbers[row][j] * k[first(4) + (start + key0 + j) * stride + head + i];
      }
    }
  }
  if (query >= length) { return; }
  for (var part = 0u; part < PARTS; part++) {
    let i = part * 16 + column;
    if (i < WIDTH) { d_q[first(1) + place + i] = sums[part]; }
  }
}
