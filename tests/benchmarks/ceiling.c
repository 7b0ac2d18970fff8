/* What one core can do with plain delta tracking, written straight in C: the yardstick of `goals.py`.
   cc -O3 -march=native -ffast-math ceiling.c -lm; reads N, cell edge, picture size, spp and roulette threshold from the
   command line, then from stdin: int16 volume N^3, float majorants, float table (1025 x 4: sigma_t, albedo), camera
   position (3 floats). Camera: 90 degrees, looking along +z, with a point light of intensity 1000 at its place. HG 0.7. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

typedef struct { float x, y, z; } vec;
static int n, edge, cells;
static int16_t *hu;
static float *most, (*table)[4];
static uint64_t state;

static float draw(void) {
    uint64_t z = state += 0x9E3779B97F4A7C15ull;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return ((z ^ (z >> 31)) >> 40) * (1.f / 16777216.f);
}

static float lookup(vec p) {
    int i = p.x, j = p.y, k = p.z;
    i = i > n - 2 ? n - 2 : i, j = j > n - 2 ? n - 2 : j, k = k > n - 2 ? n - 2 : k;
    float fx = p.x - i, fy = p.y - j, fz = p.z - k;
    const int16_t *v = hu + ((size_t)i * n + j) * n + k;
    float a = v[0] + (v[1] - v[0]) * fz, b = v[n] + (v[n + 1] - v[n]) * fz;
    v += (size_t)n * n;
    float c = v[0] + (v[1] - v[0]) * fz, d = v[n] + (v[n + 1] - v[n]) * fz;
    a += (b - a) * fy, c += (d - c) * fy;
    return a + (c - a) * fx;
}

static float row(float h, int *i) {
    float u = (h + 1024.f) * .25f;
    u = u < 0 ? 0 : u > 1023.999f ? 1023.999f : u;
    *i = (int)u;
    return u - *i;
}

/* Free flight or shadow ray: 1 and its end if it collides before `end` and the domain's border. */
static int fly(vec o, vec d, float end, float *where, float *value) {
    const float p[3] = {o.x, o.y, o.z}, w[3] = {d.x, d.y, d.z};
    const int stride[3] = {cells * cells, cells, 1};
    float next[3], step[3], t = 0, left = -logf(1 - draw());
    int jump[3], c[3], at = 0;
    for (int a = 0; a < 3; a++) {
        c[a] = (int)(p[a] / edge);
        c[a] = c[a] >= cells ? cells - 1 : c[a];
        at += c[a] * stride[a];
        jump[a] = w[a] > 0 ? stride[a] : -stride[a];
        step[a] = next[a] = 1e30f;
        if (fabsf(w[a]) > 1e-12f) {
            float r = 1 / w[a];
            step[a] = fabsf(r) * edge;
            next[a] = ((c[a] + (w[a] > 0)) * edge - p[a]) * r;
            float rim = ((w[a] > 0 ? n - 1 : 0) - p[a]) * r;
            end = rim < end ? rim : end;
        }
    }
    for (;;) {
        float m = most[at], stop = fminf(fminf(next[0], next[1]), fminf(next[2], end));
        while (m > 0) {
            float s = t + left / m;
            if (s >= stop) { left -= (stop - t) * m; break; }
            t = s;
            float h = lookup((vec){o.x + d.x * t, o.y + d.y * t, o.z + d.z * t});
            int i;
            float f = row(h, &i);
            if (draw() * m < table[i][0] + (table[i + 1][0] - table[i][0]) * f) { *where = t, *value = h; return 1; }
            left = -logf(1 - draw());
        }
        t = stop;
        if (stop >= end) return 0;
        int a = next[0] == stop ? 0 : next[1] == stop ? 1 : 2;
        at += jump[a], next[a] += step[a];
    }
}

int main(int argc, char **argv) {
    if (argc != 6) return 2;
    n = atoi(argv[1]), edge = atoi(argv[2]);
    int size = atoi(argv[3]), spp = atoi(argv[4]);
    float thin = atof(argv[5]), g = .7f, eye[3];
    cells = (n - 1 + edge - 1) / edge;
    size_t voxels = (size_t)n * n * n, bounds = (size_t)cells * cells * cells;
    hu = malloc(voxels * 2), most = malloc(bounds * 4), table = malloc(1025 * 16);
    if (fread(hu, 2, voxels, stdin) != voxels || fread(most, 4, bounds, stdin) != bounds) return 3;
    if (fread(table, 16, 1025, stdin) != 1025 || fread(eye, 4, 3, stdin) != 3) return 3;
    double sum[3] = {0}, vertices = 0;
    clock_t began = clock();
    for (int pixel = 0; pixel < size * size; pixel++)
        for (int sample = 0; sample < spp; sample++) {
            state = (uint64_t)pixel * spp + sample, draw(), state *= 0xD1342543DE82EF95ull;
            float x = (pixel % size + draw()) / size * 2 - 1, y = (pixel / size + draw()) / size * 2 - 1;
            float l = 1 / sqrtf(x * x + y * y + 1), beta[3] = {1, 1, 1}, t, h;
            vec o = {eye[0], eye[1], eye[2]}, d = {x * l, y * l, l};
            while (fly(o, d, 1e30f, &t, &h)) {
                vertices++;
                o = (vec){o.x + d.x * t, o.y + d.y * t, o.z + d.z * t};
                int i;
                float f = row(h, &i), top = 0, unused, cosine, e, s;
                for (int c = 0; c < 3; c++) {
                    beta[c] *= table[i][1 + c] + (table[i + 1][1 + c] - table[i][1 + c]) * f;
                    top = beta[c] > top ? beta[c] : top;
                }
                if (top < thin) {
                    if (draw() * thin >= top) break;
                    for (int c = 0; c < 3; c++) beta[c] *= thin / top;
                }
                vec w = {eye[0] - o.x, eye[1] - o.y, eye[2] - o.z};
                float d2 = w.x * w.x + w.y * w.y + w.z * w.z, r = sqrtf(d2);
                w.x /= r, w.y /= r, w.z /= r;
                if (!fly(o, w, r, &unused, &unused)) {
                    cosine = d.x * w.x + d.y * w.y + d.z * w.z, e = 1 + g * g - 2 * g * cosine;
                    s = (1 - g * g) / (12.5663706f * e * sqrtf(e)) * 1000 / d2;
                    for (int c = 0; c < 3; c++) sum[c] += beta[c] * s;
                }
                float u = draw(), phi = 6.28318531f * draw(), q = (1 - g * g) / (1 + g - 2 * g * u);
                cosine = (1 + g * g - q * q) / (2 * g);
                float sine = sqrtf(fmaxf(0, 1 - cosine * cosine)), sign = d.z < 0 ? -1 : 1;
                float a = -1 / (sign + d.z), b = d.x * d.y * a, cp = sine * cosf(phi), sp = sine * sinf(phi);
                d = (vec){(1 + sign * d.x * d.x * a) * cp + b * sp + d.x * cosine,
                          sign * b * cp + (sign + d.y * d.y * a) * sp + d.y * cosine,
                          -sign * d.x * cp - d.y * sp + d.z * cosine};
            }
        }
    double seconds = (double)(clock() - began) / CLOCKS_PER_SEC, paths = (double)size * size * spp;
    printf("%.9g %.6g %.9g\n", seconds / paths, vertices / paths, (sum[0] + sum[1] + sum[2]) / paths / 3);
    return 0;
}
