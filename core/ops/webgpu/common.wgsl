// common.wgsl - put before each of the kernels. How they are written:
//
// A kernel is one file with one entry point, main, of 256 threads or fewer. Binding 0 is the block of uniforms below;
// bindings 1 and on are the operands, in the order in which C binds them (gpu_bind). The player takes from the text
// whether a binding is read alone, so outputs are "read_write" and all else "read". A binding begins at a multiple of
// 256 bytes: the operand's first element is first(number of the binding). A buffer that is written must not be bound
// twice.
// VARIANT, a constant that the player puts in front, chooses what would cost time to decide at run time.
// param(i) are C's parameters (gpu_word, gpu_float) in their order.
// Dispatches count x + y * (number of x) where C asks for more workgroups than a dimension takes: see group().
// Sums have a fixed order. No kernel makes NaN or infinity out of finite numbers, nor relies on them.
struct Block { first: array<vec4u, 2>, params: array<vec4u, 4> }
@group(0) @binding(0) var<uniform> block: Block;
fn first(binding: u32) -> u32 { return block.first[(binding - 1) / 4][(binding - 1) % 4]; }
fn param(i: u32) -> u32 { return block.params[i / 4][i % 4]; }
fn number(i: u32) -> f32 { return bitcast<f32>(param(i)); }
fn group(id: vec3u, count: vec3u) -> u32 { return id.x + id.y * count.x; }
// Number i of a row of int8, in its word.
fn integer(word: u32, i: u32) -> f32 { return f32(bitcast<i32>(word << (24 - 8 * (i % 4))) >> 24); }
fn has(bit: u32) -> bool { return (VARIANT & bit) != 0; }

// Threefry-2x32 with 20 rounds, as fm_threefry.
fn threefry(key: vec2u, counter: vec2u) -> vec2u {
  let keys = array(key.x, key.y, 0x1bd11bdau ^ key.x ^ key.y);
  let turns = array(vec4u(13, 15, 26, 6), vec4u(17, 29, 16, 24));
  var a = counter.x + key.x;
  var b = counter.y + key.y;
  for (var i = 0u; i < 5; i++) {
    let by = turns[i % 2];
    for (var j = 0u; j < 4; j++) {
      a += b;
      b = ((b << by[j]) | (b >> (32 - by[j]))) ^ a;
    }
    a += keys[(i + 1) % 3];
    b += keys[(i + 2) % 3] + i + 1;
  }
  return vec2u(a, b);
}

// What an element is multiplied with: 0 or the scale. at: its place in the sequence, whose rows are padded to multiples
// of 4; p: the first of the dropout's parameters.
fn dropped(p: u32, sequence: u32, at: u32) -> f32 {
  let out = threefry(vec2u(param(p), param(p + 1)), vec2u(param(p + 2) | (sequence & 0xfffff), at / 4));
  let bits = (out[(at / 2) % 2] >> (16 * (at % 2))) & 0xffff;
  return select(number(p + 4), 0.0, bits < param(p + 3));
}
fn padded(width: u32) -> u32 { return (width + 3) / 4 * 4; }

// Phi(x), the normal distribution function: the fit of core/ops/cpu/kernels_template.h.
fn normal_cdf(x: f32) -> f32 {
  let t = 1 / (abs(x) * (0.46 * 0.70710678118654752) + 1);
  var p = 0.029124587774276733;
  p = p * t - 0.1975705921649933;
  p = p * t + 0.5409626364707947;
  p = p * t - 0.7292225360870361;
  p = p * t + 0.4742847979068756;
  p = p * t - 0.21420064568519592;
  p = p * t + 0.18414586782455444;
  p = p * t + 0.15886420011520386;
  p = p * t + 0.2347864806652069;
  p = p * t + 0.25928863883018494;
  p = p * t + 0.2595365643501282;
  let tail = bell(x) * 0.5 * p * t;
  return select(1 - tail, tail, x < 0);
}
fn bell(x: f32) -> f32 { return exp(max(-0.5 * x * x, -87.0)); }

// Sums and maxima of a workgroup of 256; all threads call them together.
var<workgroup> shared_numbers: array<f32, 256>;
fn sum_of_group(thread: u32, x: f32) -> f32 {
  workgroupBarrier();
  shared_numbers[thread] = x;
  for (var half = 128u; half > 0; half /= 2) {
    workgroupBarrier();
    if (thread < half) { shared_numbers[thread] += shared_numbers[thread + half]; }
  }
  workgroupBarrier();
  return shared_numbers[0];
}
fn max_of_group(thread: u32, x: f32) -> f32 {
  workgroupBarrier();
  shared_numbers[thread] = x;
  for (var half = 128u; half > 0; half /= 2) {
    workgroupBarrier();
    if (thread < half) { shared_numbers[thread] = max(shared_numbers[thread], shared_numbers[thread + half]); }
  }
  workgroupBarrier();
  return shared_numbers[0];
}
