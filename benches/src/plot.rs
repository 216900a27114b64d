//! Pure: charts of lines or of bars as SVG, one below the other, on a white ground so that they can be read on any page.

use std::fmt::{self, Write};

/// Size of one chart, and what its axes and its legend take of that, in pixels.
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 210.0;
const TOP: f64 = 36.0;
const BOTTOM: f64 = 50.0;
/// Told apart by people who see few colours, too; later series begin again.
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

/// One line.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    /// In the order of drawing; what is not a number, or cannot stand on a logarithmic axis, is left out.
    pub(crate) points: Vec<(f64, f64)>,
}

/// How an axis is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// From 0.
    Linear,
    /// In powers of ten.
    Log,
}

/// One chart.
#[derive(Clone, Debug)]
pub(crate) struct Chart {
    pub(crate) title: String,
    /// What each axis shows, and how.
    pub(crate) x: (&'static str, Scale),
    pub(crate) y: (&'static str, Scale),
    pub(crate) series: Vec<Series>,
}

/// A chart of one figure of several things: a bar for each, from 0, with the figure at its end.
#[derive(Clone, Debug)]
pub(crate) struct Bars {
    pub(crate) title: String,
    /// What is not a number has no bar.
    pub(crate) bars: Vec<(String, f64)>,
}

/// Height of a bar with the space around it, and of what stands above the bars of a chart.
const BAR_HEIGHT: f64 = 24.0;
const BARS_TOP: f64 = 34.0;
/// Where bars begin and how long the longest one is.
const BARS_LEFT: f64 = 110.0;
const BAR_LENGTH: f64 = 540.0;

/// An axis with its range on paper.
struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    /// Where `low` and `high` are, in pixels.
    from: f64,
    to: f64,
}

/// The charts as a document.
pub(crate) fn svg(charts: &[Chart]) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    _ = draw_all(charts, &mut out);
    out
}

/// Charts of bars as a document.
pub(crate) fn bars_svg(charts: &[Bars]) -> String {
    let mut out = String::new();
    _ = draw_bars(charts, &mut out);
    out
}

#[allow(clippy::cast_precision_loss)] // a few charts
fn draw_all(charts: &[Chart], out: &mut String) -> fmt::Result {
    begin(HEIGHT * charts.len() as f64, out)?;
    for (number, chart) in charts.iter().enumerate() {
        writeln!(out, r#"<g transform="translate(0 {})">"#, HEIGHT * number as f64)?;
        draw(chart, out)?;
        writeln!(out, "</g>")?;
    }
    writeln!(out, "</svg>")
}

fn begin(height: f64, out: &mut String) -> fmt::Result {
    writeln!(
        out,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="12">"#
    )?;
    writeln!(out, r#"<rect width="100%" height="100%" fill="white"/>"#)
}

#[allow(clippy::cast_precision_loss)] // a few bars
fn draw_bars(charts: &[Bars], out: &mut String) -> fmt::Result {
    let heights = || charts.iter().map(|chart| BARS_TOP + BAR_HEIGHT * (chart.bars.len() as f64 + 0.5));
    begin(heights().sum(), out)?;
    let mut top = 0.0;
    for (Bars { title, bars }, height) in charts.iter().zip(heights()) {
        writeln!(out, r#"<text x="10" y="{:.1}" font-weight="bold">{}</text>"#, top + 20.0, escaped(title))?;
        let longest = bars.iter().map(|bar| bar.1).filter(|value| value.is_finite()).fold(0.0, f64::max);
        for (number, (name, value)) in bars.iter().enumerate() {
            let (at, colour) = (top + BARS_TOP + BAR_HEIGHT * number as f64, COLOURS[number % COLOURS.len()]);
            writeln!(out, r#"<text x="{}" y="{:.1}" text-anchor="end">{}</text>"#, BARS_LEFT - 6.0, at + 12.0, escaped(name))?;
            let length = if longest > 0.0 { (value / longest * BAR_LENGTH).max(0.0) } else { 0.0 };
            if !value.is_finite() {
                continue;
            }
            writeln!(out, r#"<rect x="{BARS_LEFT}" y="{at:.1}" width="{length:.1}" height="{}" fill="{colour}"/>"#, BAR_HEIGHT - 8.0)?;
            writeln!(out, r#"<text x="{:.1}" y="{:.1}">{}</text>"#, BARS_LEFT + length + 6.0, at + 12.0, short(*value))?;
        }
        top += height;
    }
    writeln!(out, "</svg>")
}

#[allow(clippy::cast_precision_loss)] // a few series
fn draw(chart: &Chart, out: &mut String) -> fmt::Result {
    let Chart { title, x: (x_name, x_scale), y: (y_name, y_scale), series } = chart;
    let points = || series.iter().flat_map(|series| &series.points);
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    let x = Axis::over(points().map(|point| point.0), *x_scale, LEFT, right);
    let y = Axis::over(points().map(|point| point.1), *y_scale, bottom, TOP);
    writeln!(out, r#"<text x="{LEFT}" y="20" font-weight="bold">{}</text>"#, escaped(title))?;
    for tick in x.ticks() {
        let at = x.at(tick).unwrap_or(LEFT);
        writeln!(out, r##"<path d="M{at:.1} {TOP}V{bottom}" stroke="#ddd"/>"##)?;
        writeln!(out, r#"<text x="{at:.1}" y="{}" text-anchor="middle">{}</text>"#, bottom + 16.0, short(tick))?;
    }
    for tick in y.ticks() {
        let at = y.at(tick).unwrap_or(bottom);
        writeln!(out, r##"<path d="M{LEFT} {at:.1}H{right}" stroke="#ddd"/>"##)?;
        writeln!(out, r#"<text x="{}" y="{:.1}" text-anchor="end">{}</text>"#, LEFT - 6.0, at + 4.0, short(tick))?;
    }
    let (middle_x, middle_y) = (f64::midpoint(LEFT, right), f64::midpoint(TOP, bottom));
    writeln!(out, r#"<text x="{middle_x}" y="{}" text-anchor="middle">{}</text>"#, bottom + 36.0, escaped(x_name))?;
    writeln!(out, r#"<text transform="translate(14 {middle_y}) rotate(-90)" text-anchor="middle">{}</text>"#, escaped(y_name))?;
    for (number, Series { name, points }) in series.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let places: Vec<(f64, f64)> = points.iter().filter_map(|point| Some((x.at(point.0)?, y.at(point.1)?))).collect();
        let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        writeln!(out, r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2"/>"#, path.join(" "))?;
        for (x, y) in places {
            writeln!(out, r#"<circle cx="{x:.1}" cy="{y:.1}" r="3.5" fill="{colour}"/>"#)?;
        }
        let at = TOP + 10.0 + 20.0 * number as f64;
        writeln!(out, r#"<path d="M{} {at}h18" stroke="{colour}" stroke-width="3"/>"#, right + 12.0)?;
        writeln!(out, r#"<text x="{}" y="{}">{}</text>"#, right + 36.0, at + 4.0, escaped(name))?;
    }
    Ok(())
}

impl Axis {
    /// Wide enough for all `values`.
    fn over(values: impl Iterator<Item = f64>, scale: Scale, from: f64, to: f64) -> Axis {
        let values = values.filter(|value| value.is_finite() && (scale == Scale::Linear || *value > 0.0));
        let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
        let (low, high) = match scale {
            _ if low > high => (1.0, 10.0),
            Scale::Linear => (low.min(0.0), if high > 0.0 { high * 1.05 } else { 1.0 }),
            Scale::Log => {
                let low = 10_f64.powf(low.log10().floor());
                (low, 10_f64.powf(high.log10().ceil()).max(low * 10.0))
            }
        };
        Axis { scale, low, high, from, to }
    }

    /// Where a value is, in pixels.
    fn at(&self, value: f64) -> Option<f64> {
        let share = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log => (value / self.low).log10() / (self.high / self.low).log10(),
        };
        share.is_finite().then_some(self.from + share * (self.to - self.from))
    }

    fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Log => {
                std::iter::successors(Some(self.low), |tick| Some(tick * 10.0)).take_while(|tick| *tick < self.high * 2.0).collect()
            }
            Scale::Linear => {
                let rough = (self.high - self.low) / 6.0;
                let power = 10_f64.powf(rough.log10().floor());
                let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * power).find(|step| *step >= rough).unwrap_or(rough);
                let first = (self.low / step).ceil() * step;
                std::iter::successors(Some(first), |tick| Some(tick + step)).take_while(|tick| *tick <= self.high).collect()
            }
        }
    }
}

/// A number as people write it on axes.
fn short(value: f64) -> String {
    let (value, unit) = match value.abs() {
        size if size >= 0.99e9 => (value / 1e9, "G"),
        size if size >= 0.99e6 => (value / 1e6, "M"),
        size if size >= 0.99e3 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let text = format!("{value:.3}");
    format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(y: Scale, points: &[(f64, f64)]) -> Chart {
        let series = vec![Series { name: "a < b".to_owned(), points: points.to_vec() }];
        Chart { title: "sizes & rates".to_owned(), x: ("size", Scale::Log), y: ("rate", y), series }
    }

    #[test]
    fn points_stand_where_their_axes_say() {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let text = svg(&[chart(Scale::Log, &[(1e4, 1.0), (1e5, 10.0), (1e6, 100.0)])]);
        let (middle_x, middle_y) = (f64::midpoint(LEFT, right), f64::midpoint(TOP, bottom));
        let path = format!(r#"points="{LEFT:.1},{bottom:.1} {middle_x:.1},{middle_y:.1} {right:.1},{TOP:.1}""#);
        assert!(text.contains(&path), "{path} is not in {text}");
        for needle in [">10k</text>", ">100k</text>", ">1M</text>", ">a &lt; b</text>", ">sizes &amp; rates</text>"] {
            assert!(text.contains(needle), "{needle} is not in {text}");
        }
        // A linear axis begins at 0 and ends above the largest.
        let axis = Axis::over([20.0, 100.0].into_iter(), Scale::Linear, 0.0, 105.0);
        assert_eq!((axis.at(0.0), axis.at(100.0).map(f64::round)), (Some(0.0), Some(100.0)));
        assert_eq!(axis.ticks(), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
    }

    #[test]
    fn what_cannot_be_drawn_is_left_out() {
        let text = svg(&[chart(Scale::Log, &[(1e4, 0.0), (1e5, f64::NAN), (1e6, 5.0)]), chart(Scale::Linear, &[])]);
        assert_eq!((text.matches("<circle").count(), text.matches("<polyline").count()), (1, 2));
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    }

    #[test]
    fn a_bar_is_as_long_as_its_share_of_the_largest() {
        let bars = [("a", 10.0), ("b", 2.5), ("c", f64::NAN)].map(|(name, value)| (name.to_owned(), value)).to_vec();
        let text = bars_svg(&[Bars { title: "cost".to_owned(), bars }]);
        for needle in [r#"width="540.0""#, r#"width="135.0""#, ">2.5</text>", ">c</text>"] {
            assert!(text.contains(needle), "{needle} is not in {text}");
        }
        assert_eq!(text.matches("<rect x=").count(), 2);
    }

    #[test]
    fn numbers_on_axes_are_short() {
        let texts = [0.0, 0.25, 2.0, 100.0, 1_500.0, 50e6, 2e9].map(short);
        assert_eq!(texts, ["0", "0.25", "2", "100", "1.5k", "50M", "2G"]);
    }
}
