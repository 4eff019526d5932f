//! Charts as SVG text: axes, steps, lines, dots, bars. Colours are the page's, by class.

use std::fmt::Write as _;

/// How numbers along an axis are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// As they are.
    Number,
    /// As shares of a hundred.
    Percent,
    /// log10 of nanoseconds, as ns, µs, ms, s.
    LogNanoseconds,
}

/// One axis: from where to where.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    from: f64,
    to: f64,
    unit: Unit,
}

impl Axis {
    /// Over all of these values, or 0 to 1.
    pub(super) fn over(values: impl IntoIterator<Item = f64>, unit: Unit) -> Self {
        let finite = values.into_iter().filter(|value| value.is_finite());
        let (from, to) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(from, to), value| {
            (from.min(value), to.max(value))
        });
        let (from, to) = if from <= to { (from, to) } else { (0.0, 1.0) };
        let to = if to - from > 1e-9 { to } else { from + 1.0 };
        Self { from, to, unit }
    }

    fn share(&self, value: f64) -> f64 {
        ((value - self.from) / (self.to - self.from)).clamp(0.0, 1.0)
    }

    /// Where marks stand, and what is written there.
    fn ticks(&self) -> Vec<(f64, String)> {
        let step = match self.unit {
            Unit::LogNanoseconds => ((self.to - self.from) / 5.0).ceil().max(1.0),
            _ => nice((self.to - self.from) / 4.0),
        };
        let first = (self.from / step).ceil() as i64;
        let last = (self.to / step + 1e-9).floor() as i64;
        let at = |number: i64| number as f64 * step;
        (first..=last)
            .map(|number| (at(number), self.write(at(number))))
            .collect()
    }

    fn write(&self, value: f64) -> String {
        match self.unit {
            Unit::Number => short(value),
            Unit::Percent => format!("{}%", short(value * 100.0)),
            Unit::LogNanoseconds => duration(10_f64.powf(value)),
        }
    }
}

/// The next larger of 1, 2, 5 times a power of ten.
fn nice(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    let times = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|times| times * power >= step);
    times.unwrap_or(10.0) * power
}

fn short(value: f64) -> String {
    let digits = format!("{value:.3}");
    let digits = digits.trim_end_matches('0').trim_end_matches('.');
    if digits == "-0" { "0" } else { digits }.to_owned()
}

/// Nanoseconds in the unit that fits.
pub(super) fn duration(nanoseconds: f64) -> String {
    let units = [(1e9, "s"), (1e6, "ms"), (1e3, "µs")];
    let unit = units
        .into_iter()
        .find(|(size, _)| nanoseconds >= *size * 0.999_999);
    let (size, unit) = unit.unwrap_or((1.0, "ns"));
    let value = nanoseconds / size;
    match value {
        value if value >= 99.5 => format!("{value:.0} {unit}"),
        value => format!("{} {unit}", short((value * 10.0).round() / 10.0)),
    }
}

/// Text that can stand in a page.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// A chart with two axes.
#[derive(Debug)]
pub(super) struct Chart {
    x: Axis,
    y: Axis,
    size: [f64; 2],
    body: String,
}

const LEFT: f64 = 48.0;
const BELOW: f64 = 24.0;
/// Room for half of the last mark's text.
const EDGE: f64 = 20.0;

impl Chart {
    pub(super) fn new(x: Axis, y: Axis, size: [f64; 2]) -> Self {
        let mut chart = Self {
            x,
            y,
            size,
            body: String::new(),
        };
        let [width, height] = size;
        for (value, text) in y.ticks() {
            let at = chart.place(chart.x.from, value)[1];
            chart.draw(&format!(
                r#"<path class="grid" d="M{LEFT:.1} {at:.1}H{:.1}"/><text class="tick" text-anchor="end" x="{:.1}" y="{:.1}">{text}</text>"#,
                width - EDGE,
                LEFT - 6.0,
                at + 4.0
            ));
        }
        for (value, text) in x.ticks() {
            let at = chart.place(value, chart.y.from)[0];
            chart.draw(&format!(
                r#"<text class="tick" text-anchor="middle" x="{at:.1}" y="{:.1}">{text}</text>"#,
                height - 6.0
            ));
        }
        chart
    }

    fn place(&self, x: f64, y: f64) -> [f64; 2] {
        let [width, height] = self.size;
        [
            LEFT + self.x.share(x) * (width - LEFT - EDGE),
            height - BELOW - self.y.share(y) * (height - BELOW - EDGE),
        ]
    }

    fn draw(&mut self, svg: &str) {
        self.body += svg;
        self.body.push('\n');
    }

    /// The line through points.
    pub(super) fn line(&mut self, points: &[[f64; 2]], class: &str) {
        let path = self.path(points);
        self.draw(&format!(r#"<path class="line {class}" d="{path}"/>"#));
    }

    /// The area under the line through points.
    pub(super) fn area(&mut self, points: &[[f64; 2]], class: &str) {
        let (Some(first), Some(last)) = (points.first(), points.last()) else {
            return;
        };
        let floor = self.y.from;
        let closed = [&[[first[0], floor]], points, &[[last[0], floor]]].concat();
        let path = self.path(&closed);
        self.draw(&format!(r#"<path class="area {class}" d="{path}Z"/>"#));
    }

    fn path(&self, points: &[[f64; 2]]) -> String {
        let mut path = String::new();
        for (at, point) in points.iter().enumerate() {
            let [x, y] = self.place(point[0], point[1]);
            let letter = if at == 0 { 'M' } else { 'L' };
            // Writing to a string does not fail.
            write!(path, "{letter}{x:.1} {y:.1}").ok();
        }
        path
    }

    /// A dot at each point.
    pub(super) fn dots(&mut self, points: &[[f64; 2]], class: &str) {
        let mut dots = String::new();
        for point in points {
            let [x, y] = self.place(point[0], point[1]);
            write!(dots, r#"<circle cx="{x:.1}" cy="{y:.1}" r="2"/>"#).ok();
        }
        self.draw(&format!(r#"<g class="dots {class}">{dots}</g>"#));
    }

    /// The chart as an element of a page.
    pub(super) fn svg(&self, title: &str) -> String {
        let [width, height] = self.size;
        drawing([width, height], title, &self.body)
    }
}

/// An SVG element.
pub(super) fn drawing([width, height]: [f64; 2], title: &str, body: &str) -> String {
    format!(
        r#"<svg viewBox="0 0 {width:.0} {height:.0}" role="img" aria-label="{}">{body}</svg>"#,
        escape(title)
    )
}

/// Shares of values in equal steps from the least to the largest of both sides, as the corners of
/// stairs. Both sides have the same steps.
pub(super) fn stairs(sides: [&[f64]; 2], most: usize) -> [Vec<[f64; 2]>; 2] {
    let axis = Axis::over(sides.into_iter().flatten().copied(), Unit::Number);
    let whole = sides
        .into_iter()
        .flatten()
        .all(|value| value.fract() == 0.0);
    let span = axis.to - axis.from;
    // Whole numbers that are few have a step each.
    let (from, step, count) = if whole && span < most as f64 {
        (axis.from - 0.5, 1.0, span as usize + 1)
    } else {
        (axis.from, span / most as f64, most)
    };
    sides.map(|side| {
        let mut counts = vec![0_usize; count];
        for value in side.iter().filter(|value| value.is_finite()) {
            let at = ((value - from) / step) as usize;
            counts[at.min(count - 1)] += 1;
        }
        let corners = counts.iter().enumerate().flat_map(|(at, &counted)| {
            let share = counted as f64 / side.len().max(1) as f64;
            let left = from + at as f64 * step;
            [[left, share], [left + step, share]]
        });
        corners.collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_stand_at_round_numbers() {
        let ticks = |values: [f64; 2], unit| {
            let ticks = Axis::over(values, unit).ticks().into_iter();
            ticks.map(|(_, text)| text).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(ticks([0.0, 100.0], Unit::Number), "0 50 100");
        assert_eq!(ticks([0.0, 0.31], Unit::Percent), "0% 10% 20% 30%");
        assert_eq!(
            ticks([2.5, 6.1], Unit::LogNanoseconds),
            "1 µs 10 µs 100 µs 1 ms"
        );
        assert_eq!(ticks([3.0, 3.0], Unit::Number), "3 3.5 4");
    }

    #[test]
    fn durations_have_the_unit_that_fits() {
        let check = |nanoseconds: f64, text: &str| assert_eq!(duration(nanoseconds), text);
        check(7.0, "7 ns");
        check(1_500.0, "1.5 µs");
        check(123_456_789.0, "123 ms");
        check(2e9, "2 s");
    }

    #[test]
    fn whole_numbers_have_a_step_each_and_both_sides_the_same_steps() {
        let [a, b] = stairs([&[1.0, 1.0, 3.0], &[2.0]], 40);
        let third = 1.0 / 3.0;
        let corners = [
            [0.5, 2.0 * third],
            [1.5, 2.0 * third],
            [1.5, 0.0],
            [2.5, 0.0],
            [2.5, third],
            [3.5, third],
        ];
        assert_eq!(a, corners);
        assert_eq!((b.len(), b[2]), (6, [1.5, 1.0]));
    }

    #[test]
    fn what_names_hold_is_text_in_the_page() {
        assert_eq!(escape("<a> \"b\" & c"), "&lt;a&gt; &quot;b&quot; &amp; c");
    }
}
