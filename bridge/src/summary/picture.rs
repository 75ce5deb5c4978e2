//! The picture of a summary: disk and memory of the hosts over time, readable on a phone.
//!
//! The picture has as few words as possible, so that it does not need a font for every script; the words are in the
//! caption.

use std::ops::Range;

use jiff::{SignedDuration, Timestamp, ToSpan, Unit, ZonedRound, tz::TimeZone};

use crate::{
    config::Display,
    failure::Failure,
    summary::{
        canvas::{Anchor, Canvas, Ink, Pen},
        lines::{self, Line, Name},
        totals::{Digest, Gauge, HIGH, Host},
    },
};

/// A picture in PNG format.
#[derive(Debug)]
pub(crate) struct Picture {
    pub(super) png: Vec<u8>,
    /// The width in pixels.
    pub(super) width: u32,
    pub(super) height: u32,
}

/// A function that selects one of a host's values.
type Choice = fn(&Host) -> &Gauge;

const TEXT: Ink = Ink::of(0x1f_2328);

const FAINT_TEXT: Ink = Ink::of(0x59_636e);

const GRID: Ink = Ink::of(0xe4_e7eb);

const AXIS: Ink = Ink::of(0xb4_bac2);

const LIMIT: Ink = Ink::of(0xb3_261e);

const TOO_MUCH: Ink = Ink(0xb3_261e, 0.06);

const OTHERS: Ink = Ink::of(0xc9_ced6);

// Three units are about one pixel of a phone that shows the picture at full width.
const WIDTH: u16 = 1080;

const MARGIN: f32 = 36.0;

const HEADER: f32 = 132.0;

const PANEL: f32 = 580.0;

const FOOTER: f32 = 20.0;

const PLOT_LEFT: f32 = MARGIN + 52.0;

const PLOT_RIGHT: f32 = 728.0;

const LABELS: f32 = 768.0;

/// The layout of a label: the length of its line sample, the offset of its name, and the space for its value.
const SAMPLE: f32 = 26.0;

const NAME: f32 = 36.0;

const VALUE: f32 = 56.0;

/// The offset of the plot from the top of its panel.
const PLOT_TOP: f32 = 64.0;

const PLOT_HEIGHT: f32 = 440.0;

const LABEL_HEIGHT: f32 = 38.0;

/// Draws the hosts of a digest, with `scale` pixels per unit. Returns `None` if no host has reported a value to draw.
pub(super) fn draw(
    name: &str,
    digest: &Digest,
    display: &Display,
    scale: f32,
) -> Result<Option<Picture>, Failure> {
    let lines = lines::of(digest);
    let has_any = |gauge: Choice| lines.iter().any(|line| gauge(line.host).latest.is_some());
    let panels: [(&str, Choice); 2] =
        [("Disk", |host| &host.disk), ("Memory", |host| &host.memory)];
    let panels: Vec<(&str, Choice)> =
        panels.into_iter().filter(|(_, gauge)| has_any(*gauge)).collect();
    if panels.is_empty() {
        return Ok(None);
    }
    #[expect(clippy::cast_precision_loss, reason = "there are two")]
    let height = HEADER + PANEL * panels.len() as f32 + FOOTER;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "is small")]
    let canvas = Canvas::new(WIDTH, height as u16, scale);
    let bug = |what: &dyn std::fmt::Display| Failure::Bug(format!("no picture: {what}"));
    let mut chart =
        Chart { canvas: canvas.ok_or_else(|| bug(&"it has no size"))?, digest, display };
    chart.header(name);
    let mut top = HEADER;
    for (title, gauge) in panels {
        chart.panel(title, top, &lines, gauge);
        top += PANEL;
    }
    let (width, height) = chart.canvas.size();
    let png = chart.canvas.png().map_err(|error| bug(&error))?;
    Ok(Some(Picture { png, width, height }))
}

/// The label of a line.
struct Label<'a> {
    name: &'a Name<'a>,
    value: String,
    /// The colour of the text; fainter for hosts that no longer report.
    ink: Ink,
    /// The end of the line.
    end: (f32, f32),
    /// The vertical middle of the text.
    y: f32,
}

struct Chart<'a> {
    canvas: Canvas,
    digest: &'a Digest,
    display: &'a Display,
}

impl Chart<'_> {
    fn zone(&self) -> &TimeZone {
        &self.display.time_zone
    }

    fn header(&mut self, name: &str) {
        let room = f32::from(WIDTH) - 2.0 * MARGIN;
        let name = self.canvas.fit(name, 46.0, room);
        self.canvas.text((MARGIN, 66.0), Anchor::Start, 46.0, TEXT, &name);
        let time = |time: Timestamp| time.to_zoned(self.zone().clone()).strftime("%Y-%m-%d %H:%M");
        let Range { start, end } = &self.digest.period;
        let zone = self.zone().iana_name().unwrap_or_default();
        let span = format!("{} – {}  {zone}", time(*start), time(*end));
        let span = self.canvas.fit(&span, 28.0, room);
        self.canvas.text((MARGIN, 110.0), Anchor::Start, 28.0, FAINT_TEXT, &span);
    }

    fn panel(&mut self, title: &str, top: f32, lines: &[Line<'_>], gauge: Choice) {
        let title_base = top + 36.0;
        self.canvas.text((MARGIN, title_base), Anchor::Start, 34.0, TEXT, &format!("{title} %"));
        let plot = Plot { top: top + PLOT_TOP };
        self.grid(&plot);
        self.times(&plot);
        let mut labels = Vec::new();
        let mut unnamed = 0;
        // The fullest hosts are drawn last, so that their lines are on top.
        for line in lines.iter().rev() {
            let gauge = gauge(line.host);
            let Some((step, value)) = gauge.points().last() else { continue };
            self.line(line, gauge, &plot);
            let Some(name) = &line.name else {
                unnamed += 1;
                continue;
            };
            let end = (self.x_of_step(step), plot.y(value));
            labels.push(Label {
                name,
                value: format!("{:.0}", gauge.latest.unwrap_or(value)),
                ink: if line.host.is_silent(self.digest) { FAINT_TEXT } else { TEXT },
                end,
                y: end.1,
            });
        }
        if unnamed > 0 {
            let pen = Pen { ink: OTHERS, width: 6.0, dashes: None };
            let y = title_base - 10.0;
            self.canvas.line(&[(LABELS, y), (LABELS + SAMPLE, y)], pen);
            let place = (LABELS + NAME, title_base);
            self.canvas.text(place, Anchor::Start, 29.0, FAINT_TEXT, &format!("+ {unnamed}"));
        }
        self.labels(&plot, labels);
    }

    fn grid(&mut self, plot: &Plot) {
        let pen = Pen { ink: GRID, width: 2.0, dashes: None };
        for x in [PLOT_LEFT, PLOT_RIGHT] {
            self.canvas.line(&[(x, plot.y(100.0)), (x, plot.y(0.0))], pen);
        }
        self.canvas.area(PLOT_LEFT, plot.y(100.0), PLOT_RIGHT, plot.y(HIGH), TOO_MUCH);
        for value in [0.0, 25.0, 50.0, 75.0, 100.0] {
            let ink = if value == 0.0 { AXIS } else { GRID };
            let pen = Pen { ink, width: 2.0, dashes: None };
            let y = plot.y(value);
            self.canvas.line(&[(PLOT_LEFT, y), (PLOT_RIGHT, y)], pen);
            // The number 100 would be too close to that of the limit.
            if value < 100.0 {
                self.number(value, y, FAINT_TEXT);
            }
        }
        let y = plot.y(HIGH);
        let pen = Pen { ink: LIMIT, width: 2.0, dashes: Some([8.0, 6.0]) };
        self.canvas.line(&[(PLOT_LEFT, y), (PLOT_RIGHT, y)], pen);
        self.number(HIGH, y, LIMIT);
    }

    fn number(&mut self, value: f32, y: f32, ink: Ink) {
        let text = format!("{value:.0}");
        self.canvas.text((PLOT_LEFT - 12.0, y + 9.0), Anchor::End, 26.0, ink, &text);
    }

    fn times(&mut self, plot: &Plot) {
        let is_short = self.digest.step < SignedDuration::from_hours(1);
        let y = plot.y(0.0);
        for (time, text) in if is_short { self.hours() } else { self.days() } {
            let x = self.x(time);
            let pen = Pen { ink: GRID, width: 2.0, dashes: None };
            self.canvas.line(&[(x, plot.y(100.0)), (x, y)], pen);
            // The name of a day is placed at noon.
            let middle = if is_short { x } else { self.x(time + SignedDuration::from_hours(12)) };
            let room = self.canvas.width(&text, 26.0) / 2.0;
            if middle - room >= PLOT_LEFT - 50.0 && middle + room <= PLOT_RIGHT + 40.0 {
                self.canvas.text((middle, y + 38.0), Anchor::Middle, 26.0, FAINT_TEXT, &text);
            }
        }
    }

    /// Returns every fourth hour of the period.
    fn hours(&self) -> Vec<(Timestamp, String)> {
        let start = self.digest.period.start.to_zoned(self.zone().clone());
        let hour = ZonedRound::new().smallest(Unit::Hour).mode(jiff::RoundMode::Ceil);
        let Ok(first) = start.round(hour) else { return Vec::new() };
        (0..26)
            .filter_map(|hours| first.checked_add(hours.hours()).ok())
            .filter(|time| time.hour() % 4 == 0 && time.minute() == 0)
            .filter(|time| time.timestamp() <= self.digest.period.end)
            .map(|time| (time.timestamp(), time.strftime("%H:%M").to_string()))
            .collect()
    }

    /// Returns the midnights of the period and the one before it, with the names of the days.
    fn days(&self) -> Vec<(Timestamp, String)> {
        let form = self.display.language.words().day_form();
        let first = self.digest.period.start.to_zoned(self.zone().clone()).date();
        (0..9)
            .filter_map(|days| {
                first.checked_add(days.days()).ok()?.to_zoned(self.zone().clone()).ok()
            })
            .filter(|day| day.timestamp() <= self.digest.period.end)
            .map(|day| (day.timestamp(), day.strftime(form).to_string()))
            .collect()
    }

    fn line(&mut self, line: &Line<'_>, gauge: &Gauge, plot: &Plot) {
        let pen = match &line.name {
            Some(name) => Pen { ink: name.colour, width: 4.5, dashes: dashes(name) },
            None => Pen { ink: OTHERS, width: 3.0, dashes: None },
        };
        let patience = line.host.patience(self.digest).unwrap_or(self.digest.step * 2);
        for run in runs(gauge.points(), self.digest.step, patience) {
            let points: Vec<(f32, f32)> =
                run.iter().map(|(step, value)| (self.x_of_step(*step), plot.y(*value))).collect();
            match points[..] {
                [point] => self.canvas.dot(point, pen.width * 1.2, pen.ink),
                _ => self.canvas.line(&points, pen),
            }
        }
    }

    fn labels(&mut self, plot: &Plot, mut labels: Vec<Label<'_>>) {
        labels.sort_by(|a, b| a.y.total_cmp(&b.y));
        spread(&mut labels, plot.y(100.0), plot.y(0.0));
        for Label { name, value, ink, end, y } in labels {
            // A connector that crosses the plot is dashed, so that it does not look like values.
            let dashes_there = (end.0 < PLOT_RIGHT - 20.0).then_some([2.0, 7.0]);
            let pen = Pen { ink: Ink(name.colour.0, 0.5), width: 1.5, dashes: dashes_there };
            self.canvas.line(&[end, (PLOT_RIGHT + 6.0, end.1), (LABELS - 6.0, y)], pen);
            self.canvas.dot(end, 6.0, name.colour);
            let pen = Pen { ink: name.colour, width: 6.0, dashes: dashes(name) };
            self.canvas.line(&[(LABELS, y), (LABELS + SAMPLE, y)], pen);
            let (base, right) = (y + 10.0, f32::from(WIDTH) - MARGIN);
            self.canvas.text((right, base), Anchor::End, 29.0, ink, &value);
            let left = LABELS + NAME;
            let text = self.canvas.fit(&name.label, 29.0, right - VALUE - left);
            self.canvas.text((left, base), Anchor::Start, 29.0, ink, &text);
        }
    }

    fn x(&self, time: Timestamp) -> f32 {
        let Range { start, end } = self.digest.period;
        let share =
            time.duration_since(start).as_secs_f32() / end.duration_since(start).as_secs_f32();
        PLOT_LEFT + (PLOT_RIGHT - PLOT_LEFT) * share.clamp(0.0, 1.0)
    }

    /// The position of the middle of a step.
    fn x_of_step(&self, step: usize) -> f32 {
        let begin = self.digest.step * steps(0, step);
        self.x(self.digest.period.start + begin + self.digest.step / 2)
    }
}

/// The part of a panel that has the lines.
struct Plot {
    top: f32,
}

impl Plot {
    fn y(&self, percent: f32) -> f32 {
        self.top + PLOT_HEIGHT * (1.0 - percent / 100.0)
    }
}

fn dashes(name: &Name<'_>) -> Option<[f32; 2]> {
    name.is_dashed.then_some([10.0, 6.0])
}

/// Splits the points of a line where the gap between two is longer than `patience`.
fn runs(
    points: impl Iterator<Item = (usize, f32)>,
    step: SignedDuration,
    patience: SignedDuration,
) -> Vec<Vec<(usize, f32)>> {
    let mut runs: Vec<Vec<(usize, f32)>> = Vec::new();
    let mut last = None;
    for point in points {
        let is_gap = last.is_none_or(|last| step * steps(last, point.0) > patience);
        last = Some(point.0);
        match runs.last_mut() {
            Some(run) if !is_gap => run.push(point),
            _ => runs.push(vec![point]),
        }
    }
    runs
}

fn steps(from: usize, to: usize) -> i32 {
    i32::try_from(to - from).unwrap_or(i32::MAX)
}

/// Moves sorted labels apart so that none covers another, as little as possible and within the panel.
fn spread(labels: &mut [Label<'_>], top: f32, bottom: f32) {
    let mut least = top;
    for label in labels.iter_mut() {
        label.y = label.y.max(least);
        least = label.y + LABEL_HEIGHT;
    }
    let mut most = bottom;
    for label in labels.iter_mut().rev() {
        label.y = label.y.min(most);
        most = label.y - LABEL_HEIGHT;
    }
}
