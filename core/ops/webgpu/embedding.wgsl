// embedding.wgsl - out (rows, width) = word[ids] + position[place.y], for ids among the rows of `word` that are bound.
// VARIANT 1: word is of int8, 2: of f16, as b of product.wgsl.
// params: rows, width, first row of word that is bound, how many, words of a row of it.
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<storage, read> word: array<u32>;
@group(0) @binding(3) var<storage, read> position: array<f32>;
@group(0) @binding(4) var<storage, read> ids: array<u32>;
@group(0) @binding(5) var<storage, read> place: array<u32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) here: vec3u, @builtin(local_invocation_index) thread: u32) {
  let row = group(here);
  if (row >= param(0)) { return; }
  let width = param(1);
  let id = ids[first(4) + row] - param(2); // huge if it is before
  if (id >= param(3)) { return; }
  let at_place = place[first(5) + row * 2 + 1];
  let begin = first(2) + id * param(4);
  for (var i = thread; i < width; i += 64) {
    var value = 0.0;
    if (has(1)) {
      value = integer(word[begin + 1 + i / 4], i) * bitcast<f32>(word[begin]);
    } else if (has(2)) {
      value = unpack2x16float(word[begin + i / 2])[i % 2];
    } else {
      value = bitcast<f32>(word[begin + i]);
    }
    out[first(1) + row * width + i] = value + position[first(3) + at_place * width + i];
  }
}
