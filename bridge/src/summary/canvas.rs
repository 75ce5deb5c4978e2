//! Lines and text on a bitmap, smooth at every scale. The only font is the one inside the program, because servers have
//! none.

use png::{BitDepth, ColorType, Encoder, EncodingError, Filter};
use skrifa::{
    FontRef, GlyphId, MetadataProvider,
    charmap::Charmap,
    instance::{LocationRef, Size},
    metrics::GlyphMetrics,
    outline::{DrawSettings, OutlineGlyphCollection, OutlinePen},
};
use tiny_skia::{
    Color, FillRule, LineCap, LineJoin, Paint, Path, PathBuilder, Pixmap, Rect, Stroke, StrokeDash,
    Transform,
};

const FONT: &[u8] = include_bytes!("font/Roboto-Regular.ttf");

/// Whether the font has all characters of the text.
pub(super) fn can_write(text: &str) -> bool {
    let font = Font::new();
    text.chars().all(|c| font.characters.map(c).is_some())
}

/// A colour as 0xRRGGBB, and its opacity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Ink(pub(super) u32, pub(super) f32);

impl Ink {
    /// Creates an opaque colour.
    pub(super) const fn of(rgb: u32) -> Self {
        Self(rgb, 1.0)
    }

    fn paint(self) -> Paint<'static> {
        let [_, red, green, blue] = self.0.to_be_bytes();
        let mut color = Color::from_rgba8(red, green, blue, u8::MAX);
        color.set_alpha(self.1);
        let mut paint = Paint::default();
        paint.set_color(color);
        paint
    }
}

/// The style of a line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pen {
    pub(super) ink: Ink,
    pub(super) width: f32,
    /// The lengths of the dashes and of the gaps between them.
    pub(super) dashes: Option<[f32; 2]>,
}

/// The part of a text that is at the given position.
#[derive(Debug, Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A drawing in its own units; a pixel is `1 / scale` units.
pub(super) struct Canvas {
    pixels: Pixmap,
    scale: Transform,
    font: Font,
}

impl Canvas {
    /// Creates a white canvas, or returns `None` if it has no size.
    pub(super) fn new(width: u16, height: u16, scale: f32) -> Option<Self> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "is small")]
        let pixels = |units: u16| (f32::from(units) * scale).round() as u32;
        let mut pixels = Pixmap::new(pixels(width), pixels(height))?;
        pixels.fill(Color::WHITE);
        Some(Self { pixels, scale: Transform::from_scale(scale, scale), font: Font::new() })
    }

    /// The width and height in pixels.
    pub(super) fn size(&self) -> (u32, u32) {
        (self.pixels.width(), self.pixels.height())
    }

    /// Draws a line through the points.
    pub(super) fn line(&mut self, points: &[(f32, f32)], pen: Pen) {
        let mut path = PathBuilder::new();
        for (index, (x, y)) in points.iter().enumerate() {
            if index == 0 { path.move_to(*x, *y) } else { path.line_to(*x, *y) }
        }
        let stroke = Stroke {
            width: pen.width,
            // Round ends would close the gaps between dashes.
            line_cap: if pen.dashes.is_some() { LineCap::Butt } else { LineCap::Round },
            line_join: LineJoin::Round,
            dash: pen.dashes.and_then(|dashes| StrokeDash::new(dashes.to_vec(), 0.0)),
            ..Stroke::default()
        };
        if let Some(path) = path.finish() {
            self.pixels.stroke_path(&path, &pen.ink.paint(), &stroke, self.scale, None);
        }
    }

    /// Draws a disc.
    pub(super) fn dot(&mut self, (x, y): (f32, f32), radius: f32, ink: Ink) {
        if let Some(path) = PathBuilder::from_circle(x, y, radius) {
            self.fill(&path, ink);
        }
    }

    /// Draws a rectangle.
    pub(super) fn area(&mut self, left: f32, top: f32, right: f32, bottom: f32, ink: Ink) {
        if let Some(area) = Rect::from_ltrb(left, top, right, bottom) {
            self.fill(&PathBuilder::from_rect(area), ink);
        }
    }

    fn fill(&mut self, path: &Path, ink: Ink) {
        self.pixels.fill_path(path, &ink.paint(), FillRule::Winding, self.scale, None);
    }

    /// Draws one line of text with its baseline at `y`.
    pub(super) fn text(
        &mut self,
        (x, y): (f32, f32),
        anchor: Anchor,
        size: f32,
        ink: Ink,
        text: &str,
    ) {
        let width = self.width(text, size);
        let left = match anchor {
            Anchor::Start => x,
            Anchor::Middle => x - width / 2.0,
            Anchor::End => x - width,
        };
        if let Some(path) = self.font.outline(text, size, left, y) {
            self.fill(&path, ink);
        }
    }

    /// The width of the text.
    pub(super) fn width(&self, text: &str, size: f32) -> f32 {
        self.font.width(text, size)
    }

    /// Shortens a text that is too wide by leaving out its middle, because the names of machines differ at their ends.
    pub(super) fn fit(&self, text: &str, size: f32, width: f32) -> String {
        if self.width(text, size) <= width {
            return text.to_owned();
        }
        let chars: Vec<char> = text.chars().collect();
        let cut = |left: usize| {
            let head: String = chars[..left.div_ceil(2)].iter().collect();
            let tail: String = chars[chars.len() - left / 2..].iter().collect();
            format!("{head}…{tail}")
        };
        let fits = (1..chars.len()).rev().map(cut).find(|text| self.width(text, size) <= width);
        fits.unwrap_or_default()
    }

    /// Encodes the drawing as a PNG.
    pub(super) fn png(&self) -> Result<Vec<u8>, EncodingError> {
        let mut bytes = Vec::new();
        let (width, height) = self.size();
        let mut encoder = Encoder::new(&mut bytes, width, height);
        encoder.set_color(ColorType::Rgb);
        encoder.set_depth(BitDepth::Eight);
        // Large areas of one colour compress better without a filter.
        encoder.set_filter(Filter::NoFilter);
        let mut writer = encoder.write_header()?;
        // Row by row, because a second copy of all pixels would be the peak of the program's memory.
        let mut stream = writer.stream_writer()?;
        for row in self.pixels.data().chunks(width as usize * 4) {
            // Every pixel is opaque, as the canvas was white, so alpha is left out.
            let row: Vec<u8> = row.chunks(4).flat_map(|pixel| &pixel[..3]).copied().collect();
            std::io::Write::write_all(&mut stream, &row)?;
        }
        stream.finish()?;
        writer.finish()?;
        Ok(bytes)
    }
}

/// The font, with all lengths in units of which one em has `units`.
struct Font {
    characters: Charmap<'static>,
    advances: GlyphMetrics<'static>,
    outlines: OutlineGlyphCollection<'static>,
    units: f32,
}

impl Font {
    fn new() -> Self {
        let font =
            FontRef::new(FONT).expect("the font is part of the program, and a test draws with it");
        let (size, location) = (Size::unscaled(), LocationRef::default());
        Self {
            characters: font.charmap(),
            advances: font.glyph_metrics(size, location),
            outlines: font.outline_glyphs(),
            units: f32::from(font.metrics(size, location).units_per_em),
        }
    }

    fn glyph(&self, c: char) -> GlyphId {
        self.characters.map(c).unwrap_or_default()
    }

    fn advance(&self, glyph: GlyphId, size: f32) -> f32 {
        self.advances.advance_width(glyph).unwrap_or_default() * size / self.units
    }

    fn width(&self, text: &str, size: f32) -> f32 {
        text.chars().map(|c| self.advance(self.glyph(c), size)).sum()
    }

    fn outline(&self, text: &str, size: f32, left: f32, base: f32) -> Option<Path> {
        let mut pen =
            TextPen { path: PathBuilder::new(), x: left, y: base, scale: size / self.units };
        for c in text.chars() {
            let glyph = self.glyph(c);
            if let Some(outline) = self.outlines.get(glyph) {
                let settings = DrawSettings::unhinted(Size::unscaled(), LocationRef::default());
                // A broken glyph would be left blank; a test draws all of them to show that there is none.
                let _ = outline.draw(settings, &mut pen);
            }
            pen.x += self.advance(glyph, size);
        }
        pen.path.finish()
    }
}

/// Moves the outline of a glyph, whose y axis points up, to its position on the canvas.
struct TextPen {
    path: PathBuilder,
    x: f32,
    y: f32,
    scale: f32,
}

impl TextPen {
    fn at(&self, x: f32, y: f32) -> (f32, f32) {
        (self.x + x * self.scale, self.y - y * self.scale)
    }
}

impl OutlinePen for TextPen {
    fn move_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.path.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.path.line_to(x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let ((x1, y1), (x, y)) = (self.at(x1, y1), self.at(x, y));
        self.path.quad_to(x1, y1, x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let ((x1, y1), (x2, y2), (x, y)) = (self.at(x1, y1), self.at(x2, y2), self.at(x, y));
        self.path.cubic_to(x1, y1, x2, y2, x, y);
    }

    fn close(&mut self) {
        self.path.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_letter_of_the_font_is_drawn_at_its_place() {
        let font = Font::new();
        let letters: Vec<char> =
            font.characters.mappings().filter_map(|(code, _)| char::from_u32(code)).collect();
        assert!(letters.len() > 500, "{}", letters.len());
        for c in letters {
            let drawn = font.outline(&c.to_string(), 100.0, 0.0, 0.0);
            assert_eq!(drawn.is_none(), c.is_whitespace(), "{c:?}");
            assert!(font.width(&c.to_string(), 100.0) > 0.0, "{c:?}");
        }
        // In Roboto, capital letters are 1456 units high, of 2048 units per em.
        let two = font.outline("HH", 2048.0, 10.0, 2000.0).unwrap().bounds();
        assert_eq!((two.top(), two.bottom()), (544.0, 2000.0));
        let one = font.outline("H", 2048.0, 10.0, 2000.0).unwrap().bounds();
        let moved = one.right() + font.width("H", 2048.0);
        assert_eq!((two.left(), two.right()), (one.left(), moved));
    }
}
