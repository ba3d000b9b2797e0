// embedding_backward.wgsl - d_table[row] += the rows of d_out that belong to it, one workgroup a row of the table.
// VARIANT 0: words; the workgroup's row is the id that a segment of `order` has in common, if it is among those bound.
// VARIANT 1: positions; the workgroup's row is a position, and order the starts of the sequences.
// params: workgroups, width, first row of the table that is bound and how many (words), sequences (positions).
@group(0) @binding(1) var<storage, read_write> d_table: array<f32>;
@group(0) @binding(2) var<storage, read> d_out: array<f32>;
@group(0) @binding(3) var<storage, read> order: array<u32>;
@group(0) @binding(4) var<storage, read> segments: array<u32>;
@group(0) @binding(5) var<storage, read> ids: array<u32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) here: vec3u, @builtin(local_invocation_index) thread: u32) {
  let index = group(here);
  if (index >= param(0)) { return; }
  let width = param(1);
  var row = index;
  var begin = 0u;
  var end = param(4);
  if (!has(1)) {
    begin = segments[first(4) + index];
    end = segments[first(4) + index + 1];
    row = ids[first(5) + order[first(3) + begin]] - param(2);
    if (row >= param(3)) { return; }
  }
  for (var i = thread; i < width; i += 64) {
    var sum = d_table[first(1) + row * width + i];
    for (var j = begin; j < end; j++) {
      var token = order[first(3) + j];
      if (has(1)) {
        if (token + index >= order[first(3) + j + 1]) { continue; }
        token += index;
      }
      sum += d_out[first(2) + token * width + i];
    }
    d_table[first(1) + row * width + i] = sum;
  }
}
