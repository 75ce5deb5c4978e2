//! The picture of a summary: disk and memory of the hosts over time, to be read on a phone.
//!
//! It has as few words as can be, so that it needs no font for every script; they are in the caption.

use std::ops::Range;

use jiff::{SignedDuration, Timestamp, ToSpan, Unit, ZonedRound, tz::TimeZone};

use super::{
    canvas::{Anchor, Canvas, Ink, Pen},
    digest::{Digest, Gauge, HIGH, Host},
};
use crate::{
    config::{Display, Language},
    failure::Failure,
};

/// A PNG.
#[derive(Debug)]
pub(super) struct Picture {
    pub(super) png: Vec<u8>,
    /// In pixels.
    pub(super) width: u32,
    pub(super) height: u32,
}

/// Which of the values of a host.
type Choice = fn(&Host) -> &Gauge;

/// How many hosts have a line with a name; of the others there are lines in grey.
const MOST_NAMED: usize = 12;
/// For people who see colours differently, too (of Okabe and Ito). The second six lines have dashes.
const COLOURS: [u32; 6] = [0xd5_5e00, 0x00_72b2, 0x00_9e73, 0xcc_79a7, 0x56_b4e9, 0xe6_9f00];

const TEXT: Ink = Ink::of(0x1f_2328);
const FAINT_TEXT: Ink = Ink::of(0x59_636e);
const GRID: Ink = Ink::of(0xe4_e7eb);
const AXIS: Ink = Ink::of(0xb4_bac2);
const LIMIT: Ink = Ink::of(0xb3_261e);
const TOO_MUCH: Ink = Ink(0xb3_261e, 0.06);
const OTHERS: Ink = Ink::of(0xc9_ced6);

// Three units are about a dot of a phone that shows the picture as wide as it is.
const WIDTH: u16 = 1080;
const MARGIN: f32 = 36.0;
const HEADER: f32 = 132.0;
const PANEL: f32 = 580.0;
const FOOTER: f32 = 20.0;
const PLOT_LEFT: f32 = MARGIN + 52.0;
const PLOT_RIGHT: f32 = 728.0;
const LABELS: f32 = 768.0;
/// Of a panel, from its top.
const PLOT_TOP: f32 = 64.0;
const PLOT_HEIGHT: f32 = 440.0;
const LABEL_HEIGHT: f32 = 38.0;

/// Draws the hosts of a digest, as many pixels to a unit as `scale` says. `None` if no host has said anything
/// that could be drawn.
pub(super) fn draw(
    name: &str,
    digest: &Digest,
    display: &Display,
    scale: f32,
) -> Result<Option<Picture>, Failure> {
    let lines = Line::of_all(digest);
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
    let mut chart = Chart {
        canvas: canvas.ok_or_else(|| bug(&"it has no size"))?,
        digest,
        display,
        zone: &display.time_zone,
        lines,
    };
    chart.header(name);
    let mut top = HEADER;
    for (title, gauge) in panels {
        chart.panel(title, top, gauge);
        top += PANEL;
    }
    let (width, height) = chart.canvas.size();
    let png = chart.canvas.png().map_err(|error| bug(&error))?;
    Ok(Some(Picture { png, width, height }))
}

/// How a host is shown, in all panels alike.
struct Line<'a> {
    name: String,
    host: &'a Host,
    /// Those without one are shown in grey and without a name.
    colour: Option<Ink>,
    dashes: Option<[f32; 2]>,
}

impl<'a> Line<'a> {
    /// The worst first.
    fn of_all(digest: &'a Digest) -> Vec<Self> {
        let mut hosts: Vec<(&String, &Host)> = digest.hosts.iter().collect();
        let worst = |host: &Host| {
            let (disk, memory) = (host.disk.latest, host.memory.peak());
            disk.unwrap_or_default().max(memory.unwrap_or_default())
        };
        hosts.sort_by(|a, b| worst(b.1).total_cmp(&worst(a.1)));
        hosts
            .into_iter()
            .enumerate()
            .map(|(rank, (name, host))| Self {
                name: name.clone(),
                host,
                colour: (rank < MOST_NAMED).then(|| Ink::of(COLOURS[rank % COLOURS.len()])),
                dashes: (rank >= COLOURS.len()).then_some([10.0, 6.0]),
            })
            .collect()
    }
}

/// The name of a line at its end.
struct Label {
    text: String,
    value: String,
    colour: Ink,
    dashes: Option<[f32; 2]>,
    /// Where the line ends.
    from: (f32, f32),
    /// The middle of the text.
    y: f32,
}

struct Chart<'a> {
    canvas: Canvas,
    digest: &'a Digest,
    display: &'a Display,
    zone: &'a TimeZone,
    lines: Vec<Line<'a>>,
}

impl Chart<'_> {
    fn header(&mut self, name: &str) {
        let room = f32::from(WIDTH) - 2.0 * MARGIN;
        let name = self.canvas.fit(name, 46.0, room);
        self.canvas.text((MARGIN, 66.0), Anchor::Start, 46.0, TEXT, &name);
        let time = |time: Timestamp| time.to_zoned(self.zone.clone()).strftime("%Y-%m-%d %H:%M");
        let Range { start, end } = &self.digest.period;
        let zone = self.zone.iana_name().unwrap_or_default();
        let span = format!("{} – {}  {zone}", time(*start), time(*end));
        let span = self.canvas.fit(&span, 28.0, room);
        self.canvas.text((MARGIN, 110.0), Anchor::Start, 28.0, FAINT_TEXT, &span);
    }

    fn panel(&mut self, title: &str, top: f32, gauge: Choice) {
        self.canvas.text((MARGIN, top + 36.0), Anchor::Start, 34.0, TEXT, &format!("{title} %"));
        let plot = Plot { top: top + PLOT_TOP };
        self.grid(&plot);
        self.times(&plot);
        let mut labels = Vec::new();
        let mut unnamed = 0;
        // The worst are drawn last, over the others.
        for index in (0..self.lines.len()).rev() {
            let line = &self.lines[index];
            let gauge = gauge(line.host);
            let Some((step, value)) = gauge.points().last() else { continue };
            let from = (self.x_of_step(step), plot.y(value));
            match line.colour {
                None => unnamed += 1,
                Some(colour) => labels.push(Label {
                    text: self.label(index),
                    value: format!("{:.0}", gauge.latest.unwrap_or(value)),
                    colour,
                    dashes: line.dashes,
                    from,
                    y: from.1,
                }),
            }
            self.line(index, gauge, &plot);
        }
        self.labels(&plot, labels, unnamed);
    }

    /// The name of a host, or a number for one whose script the font does not have.
    fn label(&self, index: usize) -> String {
        let name = &self.lines[index].name;
        if self.canvas.can_write(name) { name.clone() } else { format!("#{}", index + 1) }
    }

    fn grid(&mut self, plot: &Plot) {
        self.canvas.area(PLOT_LEFT, plot.y(100.0), PLOT_RIGHT, plot.y(HIGH), TOO_MUCH);
        for value in [0.0, 25.0, 50.0, 75.0, 100.0] {
            let ink = if value == 0.0 { AXIS } else { GRID };
            let pen = Pen { ink, width: 2.0, dashes: None };
            let y = plot.y(value);
            self.canvas.line(&[(PLOT_LEFT, y), (PLOT_RIGHT, y)], pen);
            // The limit's is close to it.
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
            // The name of a day is in its middle.
            let middle = if is_short { x } else { self.x(time + SignedDuration::from_hours(12)) };
            let room = self.canvas.width(&text, 26.0) / 2.0;
            if middle - room >= PLOT_LEFT - 50.0 && middle + room <= PLOT_RIGHT + 40.0 {
                self.canvas.text((middle, y + 38.0), Anchor::Middle, 26.0, FAINT_TEXT, &text);
            }
        }
    }

    /// Every fourth hour of the period.
    fn hours(&self) -> Vec<(Timestamp, String)> {
        let start = self.digest.period.start.to_zoned(self.zone.clone());
        let hour = ZonedRound::new().smallest(Unit::Hour).mode(jiff::RoundMode::Ceil);
        let Ok(first) = start.round(hour) else { return Vec::new() };
        (0..26)
            .filter_map(|hours| first.checked_add(hours.hours()).ok())
            .filter(|time| time.hour() % 4 == 0 && time.minute() == 0)
            .filter(|time| time.timestamp() <= self.digest.period.end)
            .map(|time| (time.timestamp(), time.strftime("%H:%M").to_string()))
            .collect()
    }

    /// The midnights of the period, and the one before it, with the names of the days.
    fn days(&self) -> Vec<(Timestamp, String)> {
        let form = match self.display.language {
            Language::English => "%a %-d",
            Language::Chinese => "%m-%d",
        };
        let first = self.digest.period.start.to_zoned(self.zone.clone()).date();
        (0..9)
            .filter_map(|days| {
                first.checked_add(days.days()).ok()?.to_zoned(self.zone.clone()).ok()
            })
            .filter(|day| day.timestamp() <= self.digest.period.end)
            .map(|day| (day.timestamp(), day.strftime(form).to_string()))
            .collect()
    }

    fn line(&mut self, index: usize, gauge: &Gauge, plot: &Plot) {
        let line = &self.lines[index];
        let pen = Pen {
            ink: line.colour.unwrap_or(OTHERS),
            width: if line.colour.is_some() { 4.5 } else { 3.0 },
            dashes: line.dashes.filter(|_| line.colour.is_some()),
        };
        let patience = line.host.patience(self.digest).unwrap_or(self.digest.step * 2);
        let mut run: Vec<(usize, f32)> = Vec::new();
        let mut runs = Vec::new();
        for point in gauge.points() {
            let is_gap =
                run.last().is_some_and(|last| self.digest.step * steps(last.0, point.0) > patience);
            if is_gap {
                runs.push(std::mem::take(&mut run));
            }
            run.push(point);
        }
        runs.push(run);
        for run in runs {
            let points: Vec<(f32, f32)> =
                run.iter().map(|(step, value)| (self.x_of_step(*step), plot.y(*value))).collect();
            match points[..] {
                [point] => self.canvas.dot(point, pen.width * 1.2, pen.ink),
                _ => self.canvas.line(&points, pen),
            }
        }
    }

    fn labels(&mut self, plot: &Plot, mut labels: Vec<Label>, unnamed: usize) {
        labels.sort_by(|a, b| a.y.total_cmp(&b.y));
        let bottom = plot.y(0.0) + if unnamed > 0 { 0.0 } else { LABEL_HEIGHT / 2.0 };
        spread(&mut labels, plot.y(100.0), bottom);
        for label in &labels {
            let pen = Pen { ink: Ink(label.colour.0, 0.5), width: 1.5, dashes: None };
            let knee = (PLOT_RIGHT + 6.0).max(label.from.0);
            self.canvas.line(&[label.from, (knee, label.from.1), (LABELS - 6.0, label.y)], pen);
            self.canvas.dot(label.from, 6.0, label.colour);
            let pen =
                Pen { ink: label.colour, width: 6.0, dashes: label.dashes.map(|_| [10.0, 6.0]) };
            self.canvas.line(&[(LABELS, label.y), (LABELS + 26.0, label.y)], pen);
            let base = label.y + 10.0;
            let right = f32::from(WIDTH) - MARGIN;
            self.canvas.text((right, base), Anchor::End, 29.0, TEXT, &label.value);
            let room = right - LABELS - 36.0 - 56.0;
            let text = self.canvas.fit(&label.text, 29.0, room);
            self.canvas.text((LABELS + 36.0, base), Anchor::Start, 29.0, TEXT, &text);
        }
        if unnamed > 0 {
            let text = format!("+ {unnamed}");
            let y = plot.y(0.0) + 38.0;
            let pen = Pen { ink: OTHERS, width: 6.0, dashes: None };
            self.canvas.line(&[(LABELS, y - 9.0), (LABELS + 26.0, y - 9.0)], pen);
            self.canvas.text((LABELS + 36.0, y), Anchor::Start, 29.0, FAINT_TEXT, &text);
        }
    }

    fn x(&self, time: Timestamp) -> f32 {
        let Range { start, end } = self.digest.period;
        let share =
            time.duration_since(start).as_secs_f32() / end.duration_since(start).as_secs_f32();
        PLOT_LEFT + (PLOT_RIGHT - PLOT_LEFT) * share.clamp(0.0, 1.0)
    }

    /// The middle of a step.
    fn x_of_step(&self, step: usize) -> f32 {
        let begin = self.digest.step * steps(0, step);
        self.x(self.digest.period.start + begin + self.digest.step / 2)
    }
}

/// The part of a panel in which the lines are.
struct Plot {
    top: f32,
}

impl Plot {
    fn y(&self, percent: f32) -> f32 {
        self.top + PLOT_HEIGHT * (1.0 - percent / 100.0)
    }
}

fn steps(from: usize, to: usize) -> i32 {
    i32::try_from(to - from).unwrap_or(i32::MAX)
}

/// Moves labels, which are in their order, apart so that none covers another, as little as possible and not out
/// of the panel.
fn spread(labels: &mut [Label], top: f32, bottom: f32) {
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
