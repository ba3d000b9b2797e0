// common.wgsl - put before each of the kernels. How they are written:
//
// A kernel is one file, or several (kernels.cmake), with one entry point, main, of 256 threads or fewer. Binding 0 is
// the block of uniforms below; bindings 1 and on are the operands, in the order in which C binds them (gpu_bind). The
// player takes from the text whether a binding is read alone, so outputs are "read_write" and all else "read". A
// binding begins at a multiple of 256 bytes: the operand's first element is first(number of the binding). A buffer that
// is written must not be bound twice.
// VARIANT, a constant that the player puts in front, chooses what would cost time to decide at run time. A line behind
// #N is there if VARIANT has a bit of N, behind #!N if it has none; #subgroups, if the GPU has subgroups.
// param(i) are C's parameters (gpu_word, gpu_float) in their order.
// The player may cut a run into several dispatches, so a workgroup asks place_of() where it is in all of them. Where C
// asks for more workgroups than a dimension takes, group() is its number, x + y * (number of x).
// Sums have a fixed order. No kernel makes NaN or infinity out of finite numbers, nor relies on them.
struct Block { begin: vec3u, count_x: u32, first: array<vec4u, 2>, params: array<vec4u, 4> }
@group(0) @binding(0) var<uniform> block: Block;
fn first(binding: u32) -> u32 { return block.first[(binding - 1) / 4][(binding - 1) % 4]; }
fn param(i: u32) -> u32 { return block.params[i / 4][i % 4]; }
fn number(i: u32) -> f32 { return bitcast<f32>(param(i)); }
fn place_of(here: vec3u) -> vec3u { return block.begin + here; }
fn group(here: vec3u) -> u32 { return place_of(here).x + place_of(here).y * block.count_x; }
// Number i of a row of int8, in its word.
fn integer(word: u32, i: u32) -> f32 { return f32(bitcast<i32>(word << (24 - 8 * (i % 4))) >> 24); }
fn has(bit: u32) -> bool { return (VARIANT & bit) != 0; }

// Threefry-2x32 with 20 rounds, as fm_threefry.
fn threefry(key: vec2u, counter: vec2u) -> vec2u {
  let third = 0x1bd11bdau ^ key.x ^ key.y;
  var x = four_rounds(counter + key, vec4u(13, 15, 26, 6)) + vec2u(key.y, third + 1);
  x = four_rounds(x, vec4u(17, 29, 16, 24)) + vec2u(third, key.x + 2);
  x = four_rounds(x, vec4u(13, 15, 26, 6)) + vec2u(key.x, key.y + 3);
  x = four_rounds(x, vec4u(17, 29, 16, 24)) + vec2u(key.y, third + 4);
  return four_rounds(x, vec4u(13, 15, 26, 6)) + vec2u(third, key.x + 5);
}
fn four_rounds(x: vec2u, by: vec4u) -> vec2u { return a_round(a_round(a_round(a_round(x, by.x), by.y), by.z), by.w); }
fn a_round(x: vec2u, by: u32) -> vec2u {
  let sum = x.x + x.y;
  return vec2u(sum, ((x.y << by) | (x.y >> (32 - by))) ^ sum);
}

// What an element is multiplied with: 0 or the scale. at: its place in the sequence, whose rows are padded to multiples
// of 4; p: the first of the dropout's parameters.
fn dropped(p: u32, sequence: u32, at: u32) -> f32 { return four_dropped(p, sequence, at)[at % 4]; }
// The same of the four elements that `at` is among.
fn four_dropped(p: u32, sequence: u32, at: u32) -> vec4f {
  let out = threefry(vec2u(param(p), param(p + 1)), vec2u(param(p + 2) | (sequence & 0xfffff), at / 4)).xxyy;
  let bits = (out >> vec4u(0, 16, 0, 16)) & vec4u(0xffff);
  return select(vec4f(number(p + 4)), vec4f(), bits < vec4u(param(p + 3)));
}
fn padded(width: u32) -> u32 { return (width + 3) / 4 * 4; }

// Phi(x), the normal distribution function: the fit of core/ops/cpu/kernels_template.h.
fn normal_cdf(x: vec4f) -> vec4f {
  let t = 1 / (abs(x) * (0.46 * 0.70710678118654752) + 1);
  var p = vec4f(0.029124587774276733);
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
  return select(1 - tail, tail, x < vec4f());
}
fn bell(x: vec4f) -> vec4f { return exp(max(-0.5 * x * x, vec4f(-87))); }

// Row i is a[i] * b.
fn outer(a: vec4f, b: vec4f) -> mat4x4f { return mat4x4f(a.x * b, a.y * b, a.z * b, a.w * b); }

// Sums and maxima of a workgroup of 256, whose threads all call them together: of each subgroup, whose threads follow
// one another, or of each 16 threads, and then of those.
#subgroups enable subgroups;
var<workgroup> shared_numbers: array<f32, 256>;
var<workgroup> shared_parts: array<f32, 16>;
#subgroups fn share(thread: u32, x: f32) -> u32 {
#subgroups   let size = subgroupAdd(1u);
#subgroups   workgroupBarrier();
#subgroups   if (thread % size == 0) { shared_numbers[thread / size] = x; }
#subgroups   workgroupBarrier();
#subgroups   return 256 / size;
#subgroups }
fn sum_of_group(thread: u32, x: f32) -> f32 {
  var sum = 0.0;
#subgroups   let parts = share(thread, subgroupAdd(x));
#subgroups   for (var i = 0u; i < parts; i++) { sum += shared_numbers[i]; }
#!subgroups   workgroupBarrier();
#!subgroups   shared_numbers[thread] = x;
#!subgroups   workgroupBarrier();
#!subgroups   for (var i = thread; i < select(0u, 256u, thread < 16); i += 16) { sum += shared_numbers[i]; }
#!subgroups   if (thread < 16) { shared_parts[thread] = sum; }
#!subgroups   workgroupBarrier();
#!subgroups   sum = 0.0;
#!subgroups   for (var i = 0u; i < 16; i++) { sum += shared_parts[i]; }
  return sum;
}
fn max_of_group(thread: u32, x: f32) -> f32 {
  var most = x;
#subgroups   let parts = share(thread, subgroupMax(x));
#subgroups   for (var i = 0u; i < parts; i++) { most = max(most, shared_numbers[i]); }
#!subgroups   workgroupBarrier();
#!subgroups   shared_numbers[thread] = x;
#!subgroups   workgroupBarrier();
#!subgroups   for (var i = thread; i < select(0u, 256u, thread < 16); i += 16) { most = max(most, shared_numbers[i]); }
#!subgroups   if (thread < 16) { shared_parts[thread] = most; }
#!subgroups   workgroupBarrier();
#!subgroups   for (var i = 0u; i < 16; i++) { most = max(most, shared_parts[i]); }
  return most;
}
