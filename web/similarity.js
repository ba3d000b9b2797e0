// similarity.js - how alike vectors of texts are.

/**
 * The cosine of two vectors, from -1 to 1; 0 if one of them is 0.
 * @param {ArrayLike<number>} left
 * @param {ArrayLike<number>} right
 * @returns {number}
 */
export function similarity(left, right) {
  let product = 0, lefts = 0, rights = 0;
  for (let i = 0; i < left.length; i++) {
    product += left[i] * right[i];
    lefts += left[i] * left[i];
    rights += right[i] * right[i];
  }
  return lefts > 0 && rights > 0 ? product / Math.sqrt(lefts * rights) : 0;
}
