//! The storms as a picture, in colours that can be seen on a bright page and on a dark one.

use std::fmt::Write;
use std::time::Duration;

use super::load::{Measured, SLICE, USUAL, slice_of};
use super::storm::{AFTER, OUTAGE, Storm, Variant, WELL};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 440.0;
/// The field of the curves: left, top, right, bottom.
const LEFT: f64 = 64.0;
const TOP: f64 = 70.0;
const RIGHT: f64 = WIDTH - 20.0;
const BOTTOM: f64 = HEIGHT - 118.0;
/// Where time begins in it: that long before the callee fails.
const LEAD: Duration = Duration::from_secs(2);

/// Between black and white, told apart also by who sees no colours: each has its own dashes.
fn style(variant: Variant) -> (&'static str, &'static str) {
    match variant {
        Variant::Loops => ("#d9483b", "none"),
        Variant::OneLayer => ("#3f82d6", "7 3"),
        Variant::Budgets => ("#c08316", "2 3"),
        Variant::Both => ("#259a6c", "none"),
    }
}

/// From time and load to places.
struct Field {
    /// The logarithm of the highest load.
    highest: f64,
    factor: f64,
}

impl Field {
    fn x(&self, at: Duration) -> f64 {
        let span = (LEAD + OUTAGE + AFTER).as_secs_f64();
        LEFT + (at.as_secs_f64() - (WELL - LEAD).as_secs_f64()) / span * (RIGHT - LEFT)
    }

    fn y(&self, load: f64) -> f64 {
        let height = load.max(1.0).ln() / self.highest;
        BOTTOM - height * (BOTTOM - TOP)
    }
}

pub(super) fn draw(storm: &Storm, measured: &[Measured]) -> String {
    let factor = f64::from(storm.attempts.max(2));
    let peaks = measured.iter().map(Measured::peak_factor);
    let field = Field {
        highest: peaks.fold(factor, f64::max).ln() * 1.06,
        factor,
    };
    let mut svg = String::new();
    // Writing to a string can't fail.
    let _ = frame(&mut svg, storm, &field);
    for it in measured {
        let _ = curve(&mut svg, it, &field);
    }
    for (row, it) in measured.iter().enumerate() {
        let _ = legend(&mut svg, row, it);
    }
    svg.push_str("</svg>\n");
    svg
}

fn frame(svg: &mut String, storm: &Storm, field: &Field) -> std::fmt::Result {
    let (layers, attempts) = (storm.layers, storm.attempts);
    writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         font-family=\"system-ui, sans-serif\" font-size=\"13\" fill=\"#808080\">"
    )?;
    writeln!(
        svg,
        "<title>A retry storm, with and without budgets and single-layer retry</title>"
    )?;
    writeln!(
        svg,
        "<desc>Attempts that arrive at the callee for each request at the top, over time, on a logarithmic scale. \
         Written by examples/retry_storm --svg.</desc>"
    )?;
    let seconds = OUTAGE.as_secs();
    writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"20\" font-size=\"15\" font-weight=\"600\">Attempts at the callee for each request</text>\n\
         <text x=\"{LEFT}\" y=\"40\">{layers} layers of callers, {attempts} attempts each; the callee fails for {seconds} s</text>"
    )?;

    let (fails, well) = (field.x(WELL), field.x(WELL + OUTAGE));
    let (width, height) = (well - fails, BOTTOM - TOP);
    writeln!(
        svg,
        "<rect x=\"{fails:.1}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{height}\" fill=\"#808080\" fill-opacity=\"0.14\"/>"
    )?;
    let mut load: f64 = 1.0;
    while load.ln() <= field.highest {
        let y = field.y(load);
        writeln!(
            svg,
            "<path d=\"M{LEFT} {y:.1}H{RIGHT}\" stroke=\"#808080\" stroke-opacity=\"0.3\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{load:.0}</text>",
            LEFT - 8.0,
            y + 4.5
        )?;
        load *= field.factor;
    }
    let axis = BOTTOM + 18.0;
    for second in 0..=(LEAD + OUTAGE + AFTER).as_secs() {
        let x = field.x(WELL - LEAD + Duration::from_secs(second));
        let label = second as i64 - LEAD.as_secs() as i64;
        writeln!(
            svg,
            "<text x=\"{x:.1}\" y=\"{axis}\" text-anchor=\"middle\">{label}</text>"
        )?;
    }
    let (middle, below) = ((fails + well) / 2.0, BOTTOM + 36.0);
    writeln!(
        svg,
        "<text x=\"{middle:.1}\" y=\"{}\" text-anchor=\"middle\">the callee fails</text>\n\
         <text x=\"{RIGHT}\" y=\"{below}\" text-anchor=\"end\">seconds since the callee began to fail</text>",
        TOP - 5.0
    )
}

/// Steps, because each is a count of its own.
fn curve(svg: &mut String, it: &Measured, field: &Field) -> std::fmt::Result {
    let (colour, dashes) = style(it.variant);
    let mut path = String::new();
    let mut last = None;
    for (slice, count) in it.slices.iter().enumerate().skip(slice_of(WELL - LEAD)) {
        if last == Some(count) {
            continue;
        }
        let (x, y) = (
            field.x(SLICE * slice as u32),
            field.y(*count as f64 / USUAL as f64),
        );
        match last {
            None => write!(path, "M{x:.1} {y:.1}")?,
            Some(_) => write!(path, "H{x:.1}V{y:.1}")?,
        }
        last = Some(count);
    }
    writeln!(
        svg,
        "<path d=\"{path}H{RIGHT}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dashes}\"/>"
    )
}

/// Two to a line, below the field.
fn legend(svg: &mut String, row: usize, it: &Measured) -> std::fmt::Result {
    let (colour, dashes) = style(it.variant);
    let x = LEFT + (row % 2) as f64 * 372.0;
    let y = BOTTOM + 66.0 + (row / 2) as f64 * 26.0;
    let (text, peak) = (it.variant.text(), it.peak_factor());
    writeln!(
        svg,
        "<path d=\"M{x} {y}h30\" stroke=\"{colour}\" stroke-width=\"3\" stroke-dasharray=\"{dashes}\"/>\
         <text x=\"{}\" y=\"{}\" fill=\"{colour}\">{text}: peak {peak:.1}</text>",
        x + 38.0,
        y + 4.5
    )
}
