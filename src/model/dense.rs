//! Small dense kernels on plain buffers, for training and serving alike.
//!
//! Row-major matrices in `&[f32]`. A row of a product does not depend on the rows beside it: what
//! is computed for one trace is the same, bit for bit, however many are computed abreast.

use pulp::{Simd, WithSimd};

/// Runs a kernel with the widest vectors that the machine has.
fn dispatch<K: WithSimd>(kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = pulp::x86::V3::try_new() {
        return pulp::Simd::vectorize(simd, kernel);
    }
    pulp::Arch::new().dispatch(kernel)
}

/// `out += a · b`. Shapes: a [rows, depth], b [depth, cols] -> out [rows, cols]; `cols` is a
/// multiple of 16.
pub fn add_product(out: &mut [f32], a: &[f32], b: &[f32], depth: usize, cols: usize) {
    debug_assert!(cols.is_multiple_of(16) && depth > 0);
    debug_assert_eq!(out.len() / cols, a.len() / depth);
    dispatch(Product {
        out,
        a,
        b,
        depth,
        cols,
    });
}

struct Product<'a> {
    out: &'a mut [f32],
    a: &'a [f32],
    b: &'a [f32],
    depth: usize,
    cols: usize,
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            out,
            a,
            b,
            depth,
            cols,
        } = self;
        let lanes = size_of::<S::f32s>() / size_of::<f32>();
        // Columns outside, rows inside: a few columns of `b` stay in the nearest cache.
        let mut col = 0;
        while col + 3 * lanes <= cols {
            columns::<S, 3>(simd, out, a, b, depth, cols, col);
            col += 3 * lanes;
        }
        while col < cols {
            columns::<S, 1>(simd, out, a, b, depth, cols, col);
            col += lanes;
        }
    }
}

/// All rows of the product, a few vectors of columns.
#[inline(always)]
fn columns<S: Simd, const VECTORS: usize>(
    simd: S,
    out: &mut [f32],
    a: &[f32],
    b: &[f32],
    depth: usize,
    cols: usize,
    col: usize,
) {
    let mut outs = out.chunks_exact_mut(4 * cols);
    let mut rows = a.chunks_exact(4 * depth);
    for (out, a) in (&mut outs).zip(&mut rows) {
        tile::<S, 4, VECTORS>(simd, out, a, b, depth, cols, col);
    }
    let rest = outs.into_remainder().chunks_exact_mut(cols);
    for (out, a) in rest.zip(rows.remainder().chunks_exact(depth)) {
        tile::<S, 1, VECTORS>(simd, out, a, b, depth, cols, col);
    }
}

/// A few rows and a few vectors of columns, held in registers.
#[inline(always)]
fn tile<S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    out: &mut [f32],
    a: &[f32],
    b: &[f32],
    depth: usize,
    cols: usize,
    col: usize,
) {
    let lanes = size_of::<S::f32s>() / size_of::<f32>();
    let width = VECTORS * lanes;
    let mut sums = [[simd.splat_f32s(0.0); VECTORS]; ROWS];
    for (k, b) in b.chunks_exact(cols).take(depth).enumerate() {
        let (vectors, _) = S::as_simd_f32s(&b[col..col + width]);
        let Some(vectors) = vectors.first_chunk::<VECTORS>() else {
            return;
        };
        for row in 0..ROWS {
            let factor = simd.splat_f32s(a[row * depth + k]);
            for (sum, &vector) in sums[row].iter_mut().zip(vectors) {
                *sum = simd.mul_add_e_f32s(factor, vector, *sum);
            }
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        let from = row * cols + col;
        let (vectors, _) = S::as_mut_simd_f32s(&mut out[from..from + width]);
        for (out, &sum) in vectors.iter_mut().zip(sums) {
            *out = simd.add_f32s(*out, sum);
        }
    }
}

/// e to the x, to about one part in a million; never infinite, never below 1e-38.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Adding and taking off 1.5 * 2^23 rounds to a whole number and leaves it in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0) * std::f32::consts::LOG2_E;
    let rounded = x + ROUND;
    let f = x - (rounded - ROUND);
    let scale = f32::from_bits((rounded.to_bits() << 23).wrapping_add(1_f32.to_bits()));
    let power = 1.0
        + f * (std::f32::consts::LN_2
            + f * (0.240_226_5
                + f * (0.055_504_11 + f * (0.009_618_13 + f * (0.001_333_56 + f * 0.000_154_03)))));
    scale * power
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[inline(always)]
fn tanh(x: f32) -> f32 {
    2.0 * sigmoid(2.0 * x) - 1.0
}

/// One step of a gated recurrent unit, for many rows.
///
/// r = σ(x_r + u_r), z = σ(x_z + u_z), n = tanh(x_n + r u_n), h' = (1 - z) n + z h, where `x` is
/// the projected input and `u` the projected state. Shapes: x, u [rows, 3 hidden], h [rows,
/// hidden]. `h` becomes h'; `x` becomes (r, z, n).
pub fn gru_step(x: &mut [f32], u: &[f32], h: &mut [f32], hidden: usize) {
    dispatch(Step { x, u, h, hidden });
}

// A kernel is a struct and not a closure: a closure is not always inlined, and compiled by itself
// it has the narrowest vectors.
struct Step<'a> {
    x: &'a mut [f32],
    u: &'a [f32],
    h: &'a mut [f32],
    hidden: usize,
}

impl WithSimd for Step<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { x, u, h, hidden } = self;
        let rows = x
            .chunks_exact_mut(3 * hidden)
            .zip(u.chunks_exact(3 * hidden));
        for ((x, u), h) in rows.zip(h.chunks_exact_mut(hidden)) {
            let (r, x) = x.split_at_mut(hidden);
            let (z, n) = x.split_at_mut(hidden);
            let [r, z, n, h] = [r, z, n, h].map(|part| part.as_chunks_mut::<LANES>().0);
            let (u_r, u) = u.split_at(hidden);
            let (u_z, u_n) = u.split_at(hidden);
            let [u_r, u_z, u_n] = [u_r, u_z, u_n].map(|part| part.as_chunks::<LANES>().0);
            for at in 0..hidden / LANES {
                // All is read before anything is written: buffers can't be in each other's way.
                let reset = each(|lane| sigmoid(r[at][lane] + u_r[at][lane]));
                let update = each(|lane| sigmoid(z[at][lane] + u_z[at][lane]));
                let new = each(|lane| tanh(n[at][lane] + reset[lane] * u_n[at][lane]));
                let next =
                    each(|lane| (1.0 - update[lane]) * new[lane] + update[lane] * h[at][lane]);
                (r[at], z[at], n[at], h[at]) = (reset, update, new, next);
            }
        }
    }
}

/// Numbers worked on at a time: widths of states are multiples of it.
const LANES: usize = 16;

#[inline(always)]
fn each(mut of: impl FnMut(usize) -> f32) -> [f32; LANES] {
    let mut all = [0.0; LANES];
    for (lane, number) in all.iter_mut().enumerate() {
        *number = of(lane);
    }
    all
}

/// Gradients through one [`gru_step`].
///
/// Shapes: gates = (r, z, n) and u_n as after the step [rows, 3 hidden] and [rows, hidden],
/// h [rows, hidden] before the step. `d_h` [rows, hidden] is the gradient of h' and becomes the
/// part of the gradient of h that does not pass through u; `d_x` and `d_u` [rows, 3 hidden] are
/// set.
pub struct GruBack<'a> {
    /// (r, z, n).
    pub gates: &'a [f32],
    /// The candidate's part of the projected state.
    pub u_n: &'a [f32],
    /// The state before the step.
    pub h: &'a [f32],
    /// Gradient of the state.
    pub d_h: &'a mut [f32],
    /// Gradient of the projected input.
    pub d_x: &'a mut [f32],
    /// Gradient of the projected state.
    pub d_u: &'a mut [f32],
    /// Width of the state.
    pub hidden: usize,
}

impl GruBack<'_> {
    /// Fills in the gradients.
    pub fn run(self) {
        dispatch(self);
    }
}

impl WithSimd for GruBack<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self {
            gates,
            u_n,
            h,
            d_h,
            d_x,
            d_u,
            hidden,
        } = self;
        for row in 0..h.len() / hidden {
            let wide = row * 3 * hidden..(row + 1) * 3 * hidden;
            let narrow = row * hidden..(row + 1) * hidden;
            let (r, gates) = gates[wide.clone()].split_at(hidden);
            let (z, n) = gates.split_at(hidden);
            let (u_n, h) = (&u_n[narrow.clone()], &h[narrow.clone()]);
            let [r, z, n, u_n, h] = [r, z, n, u_n, h].map(|part| part.as_chunks::<LANES>().0);
            let d_h = d_h[narrow].as_chunks_mut::<LANES>().0;
            let (x_r, d_x) = d_x[wide.clone()].split_at_mut(hidden);
            let (x_z, x_n) = d_x.split_at_mut(hidden);
            let (v_r, d_u) = d_u[wide].split_at_mut(hidden);
            let (v_z, v_n) = d_u.split_at_mut(hidden);
            let parts = [x_r, x_z, x_n, v_r, v_z, v_n];
            let [x_r, x_z, x_n, v_r, v_z, v_n] = parts.map(|part| part.as_chunks_mut::<LANES>().0);
            for at in 0..hidden / LANES {
                let (r, z, n, u_n, h) = (r[at], z[at], n[at], u_n[at], h[at]);
                let d = d_h[at];
                let d_n = each(|lane| d[lane] * (1.0 - z[lane]) * (1.0 - n[lane] * n[lane]));
                let d_z = each(|lane| d[lane] * (h[lane] - n[lane]) * z[lane] * (1.0 - z[lane]));
                let d_r = each(|lane| d_n[lane] * u_n[lane] * r[lane] * (1.0 - r[lane]));
                (x_r[at], x_z[at], x_n[at]) = (d_r, d_z, d_n);
                (v_r[at], v_z[at]) = (d_r, d_z);
                v_n[at] = each(|lane| d_n[lane] * r[lane]);
                d_h[at] = each(|lane| d[lane] * z[lane]);
            }
        }
    }
}

/// Logits to weights, in place: exp(logit - highest). Returns the highest logit.
pub fn exponents(logits: &mut [f32]) -> f32 {
    dispatch(Exponents(logits))
}

struct Exponents<'a>(&'a mut [f32]);

impl WithSimd for Exponents<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f32 {
        // Of several numbers side by side: which comes first does not matter to a maximum.
        let higher = |high: f32, x: f32| if x > high { x } else { high };
        let (chunks, rest) = self.0.as_chunks_mut::<LANES>();
        let mut last = [f32::NEG_INFINITY; LANES];
        last[..rest.len()].copy_from_slice(rest);
        let mut high = last;
        for chunk in &*chunks {
            high = each(|lane| higher(high[lane], chunk[lane]));
        }
        let highest = high.into_iter().fold(f32::NEG_INFINITY, higher);
        for chunk in chunks {
            *chunk = each(|lane| exp(chunk[lane] - highest));
        }
        last = each(|lane| exp(last[lane] - highest));
        rest.copy_from_slice(&last[..rest.len()]);
        highest
    }
}

/// `out += row`, for each of the rows.
pub fn add_row(out: &mut [f32], row: &[f32]) {
    dispatch(AddRow { out, row });
}

struct AddRow<'a> {
    out: &'a mut [f32],
    row: &'a [f32],
}

impl WithSimd for AddRow<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (out, x) in self.out.iter_mut().zip(self.row) {
            *out += x;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count)
            .map(|at| ((at * 37 + seed * 11) % 101) as f32 / 50.0 - 1.0)
            .collect()
    }

    /// Compares a product with one summed in double precision, for so many rows.
    fn check(rows: usize, depth: usize, cols: usize) {
        let (a, b) = (numbers(rows * depth, 1), numbers(depth * cols, 2));
        let mut out = vec![0.5; rows * cols];
        add_product(&mut out, &a, &b, depth, cols);
        for row in 0..rows {
            let mut alone = vec![0.5; cols];
            let a = &a[row * depth..(row + 1) * depth];
            add_product(&mut alone, a, &b, depth, cols);
            assert_eq!(
                alone,
                out[row * cols..(row + 1) * cols],
                "rows depend on each other"
            );
            for col in 0..cols {
                let exact: f64 = (0..depth)
                    .map(|k| f64::from(a[k]) * f64::from(b[k * cols + col]))
                    .sum();
                assert!((f64::from(alone[col]) - exact - 0.5).abs() < 1e-4);
            }
        }
    }

    #[test]
    fn products_are_right_for_every_number_of_rows() {
        for rows in [1, 3, 4, 7, 33] {
            check(rows, 5, 16);
            check(rows, 17, 96);
            check(rows, 3, 64);
        }
    }

    #[test]
    fn exp_is_close_to_the_library_s() {
        for step in -8_000..8_000 {
            let x = step as f32 / 100.0;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) / exact - 1.0).abs() < 1e-5, "{x}");
        }
        assert!(exp(-1e9) > 0.0 && exp(1e9).is_finite());
    }
}
