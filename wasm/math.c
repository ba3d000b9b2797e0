/* math.c - exp, log, cos, sin and erfc in place of the C library's, whose tables are larger than all our kernels for
 * training, and which engines of browsers would each round in their own way. Good to 1e-15 of the result, cos and
 * sin to 1e-15 in all for arguments up to a thousand, erfc to 1e-12; nothing hot calls them. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static double power_of_two(int n)
{
    uint64_t bits = (uint64_t)(n + 1023) << 52;
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* exp(x) = 2^n exp(r), |r| <= ln 2 / 2, by its Taylor series to r^14. */
double exp(double x)
{
    if (x != x || x > 710.0) return x + INFINITY;
    if (x < -746.0) return 0.0;
    double n = nearbyint(x * 1.4426950408889634), r = (x - n * 0x1.62e42fefap-1) - n * 0x1.cf79abc9e3b39p-40, sum = 1.0;
    for (int k = 14; k > 0; k--) sum = 1.0 + sum * r / k;
    /* In two steps: 2^n may be no normal number where the result is one, or is nearly 0. */
    int half = (int)n / 2;
    return sum * power_of_two(half) * power_of_two((int)n - half);
}

/* log(x) = n ln 2 + 2 artanh(s), s = (m - 1) / (m + 1), sqrt 1/2 <= m < sqrt 2, by the series of artanh. */
double log(double x)
{
    if (!(x > 0.0)) return x == 0.0 ? -INFINITY : NAN;
    if (x == INFINITY) return x;
    int n = 0;
    if (x < 0x1p-1022) { /* no exponent to read */
        x *= 0x1p54;
        n = -54;
    }
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits -= 0x3fe6a09e00000000u; /* the bits of sqrt 1/2 */
    n += (int)((int64_t)bits >> 52);
    bits = (bits & 0xfffffffffffffu) + 0x3fe6a09e00000000u;
    memcpy(&x, &bits, sizeof x);
    double s = (x - 1.0) / (x + 1.0), square = s * s, sum = 0.0;
    for (int k = 23; k > 1; k -= 2) sum = (sum + 1.0 / k) * square;
    return n * 0x1.62e42fefap-1 + (2.0 * s + (2.0 * s * sum + n * 0x1.cf79abc9e3b39p-40));
}

/* The sine of x + quarters * pi/2, by the Taylor series around the nearest multiple of pi/2. */
static double sine(double x, int quarters)
{
    double n = nearbyint(x * 0.63661977236758134);
    double r = (x - n * 0x1.921fb544p+0) - n * 0x1.0b4611a626331p-34, square = r * r, sum = 1.0;
    int turn = (int)n + quarters, odd = turn & 1;
    for (int k = 18 - odd; k > 0; k -= 2) sum = 1.0 - sum * square / (k * (k + 1));
    return (turn & 2 ? -1.0 : 1.0) * (odd ? sum : r * sum);
}

double sin(double x)
{
    return sine(x, 0);
}

double cos(double x)
{
    return sine(x, 1);
}

/* 1 - erf(x) by erf's Taylor series times exp(-x^2), or the continued fraction where that would cancel. */
double erfc(double x)
{
    double magnitude = fabs(x), square = x * x, tail;
    if (magnitude < 2.0) {
        double sum = 0.0;
        for (int k = 40; k >= 0; k--) sum = 1.0 + sum * 2.0 * square / (2 * k + 3);
        tail = 1.0 - 1.1283791670955126 * magnitude * exp(-square) * sum;
    } else {
        double below = 0.0;
        for (int k = 60; k > 0; k--) below = 0.5 * k / (magnitude + below);
        tail = 0.56418958354775629 * exp(-square) / (magnitude + below);
    }
    return x < 0.0 ? 2.0 - tail : tail;
}

float expf(float x)
{
    return (float)exp(x);
}

float logf(float x)
{
    return (float)log(x);
}
