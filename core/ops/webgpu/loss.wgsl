// loss.wgsl - cross-entropy of a row of logits a workgroup: result = loss, how many logits exceed the label's. With
// VARIANT 1 the logits become scale * (softmax - one_hot). params: rows, vocabulary, scale.
@group(0) @binding(1) var<storage, read_write> logits: array<f32>;
@group(0) @binding(2) var<storage, read_write> result: array<f32>;
@group(0) @binding(3) var<storage, read> labels: array<u32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) here: vec3u, @builtin(local_invocation_index) thread: u32) {
  let row = group(here);
  if (row >= param(0)) { return; }
  let vocabulary = param(1);
  let base = first(1) + row * vocabulary;
  let label = labels[first(3) + row];
  let of_label = logits[base + label];
  var most = -3.0e38;
  var above = 0.0;
  for (var i = thread; i < vocabulary; i += 256) {
    let x = logits[base + i];
    most = max(most, x);
    above += select(0.0, 1.0, x > of_label);
  }
  most = max_of_group(thread, most);
  above = sum_of_group(thread, above);
  var sum = 0.0;
  for (var i = thread; i < vocabulary; i += 256) { sum += exp(max(logits[base + i] - most, -87.0)); }
  let log_sum = log(sum_of_group(thread, sum));
  if (thread == 0) {
    result[first(2) + row * 2] = log_sum + (most - of_label);
    result[first(2) + row * 2 + 1] = above;
  }
  if (!has(1)) { return; }
  workgroupBarrier();
  for (var i = thread; i < vocabulary; i += 256) {
    let p = exp(max(logits[base + i] - most - log_sum, -87.0));
    logits[base + i] = number(2) * (p - select(0.0, 1.0, i == label));
  }
}
