// attention_backward_kv.wgsl - d_k and d_v of attention.wgsl, for 16 keys of one head of one sequence a workgroup, with
// what attention_backward_q.wgsl kept of each query. VARIANT: 1 dropout, the rest the width of a head.
// params: stride of the rows, number of the first sequence, the dropout (5), heads.
const WIDTH = VARIANT >> 1;
const PARTS = (WIDTH + 15) / 16;
@group(0) @binding(1) var<storage, read_write> d_k: array<f32>;
@group(0) @binding(2) var<storage, read_write> d_v: array<f32>;
@group(0) @binding(3) var<storage, read> q: array<f32>;
@group(0) @binding(4) var<storage, read> k: array<f32>;
@group(0) @binding(5) var<storage, read> v: array<f32>;
@group(0) @binding(6) var<storage, read> d_out: array<f32>;
@group(0) @binding(7) var<storage, read> starts: array<u32>;
@group(0) @binding(8) var<storage, read> kept: array<vec4f>;

var<workgroup> weights: array<array<f32, 16>, 16>;
var<workgroup> flows: array<array<f32, 16>, 16>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) at: vec3u, @builtin(local_invocation_index) thread: u32) {
  let start = starts[first(7) + at.z];
  let length = starts[first(7) + at.z + 1] - start;
  if (at.x * 16 >= length) { return; }
  let stride = param(0);
  let row = thread / 16;
  let column = thread % 16;
  let key = at.x * 16 + row;
  let head = at.y * WIDTH;
  let place = (start + min(key, length - 1)) * stride + head;
  var sums_k: array<f32, PARTS>;
  var sums_v: array<f32, PARTS>;
  for (var query0 = 0u; query0 < length; query0 += 16) {
    let query = query0 + column;
    var weight = 0.0;
    var flow = 0.0;
    if (query < length) {
      let other = (start + query) * stride + head;
      var score = 0.0;
      var slope = 0.0;
      for (var i = 0u; i < WIDTH; i++) {
        score += q[first(3) + other + i] * k[first(4) + place + i];
        slope += d_out[first(6) + other + i] * v[first(5) + place + i];
      }
      let of_query = kept[first(8) / 4 + (start + query) * param(7) + at.y];
      let p = exp(max(score / sqrt(f32(WIDTH)) - of_query.x, -87.0)) / of_query.y;
      weight = p;
      if (has(1)) {
        let factor = dropped(2, param(1) + at.z, (at.y * length + query) * padded(length) + key);
        weight *= factor;
        slope *= factor;
      }
      flow = p * (slope - of_query.z - of_query.w) / sqrt(f32(WIDTH));
    }
    workgroupBarrier();
    weights[row][column] = weight;
    flows[row][column] = flow;
    workgroupBarrier();
    for (var part = 0u; part < PARTS; part++) {
      let i = part * 16 + column;
      if (i >= WIDTH) { continue; }
      for (var j = 0u; j < min(16u, length - query0); j++) {
        let other = (start + query0 + j) * stride + head + i;
        sums_k[part] += flows[row][j] * q[first(3) + other];
        sums_v[part] += weights[row][j] * d_out[first(6) + other];
      }
    }
  }
  if (key >= length) { return; }
  for (var part = 0u; part < PARTS; part++) {
    let i = part * 16 + column;
    if (i < WIDTH) {
      d_k[first(1) + place + i] = sums_k[part];
      d_v[first(2) + place + i] = sums_v[part];
    }
  }
}
