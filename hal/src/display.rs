//! Words on a small display: a page of short lines, and the dots that draw it.

use crate::HalError;
use embedded_graphics::mono_font::MonoTextStyle;
use embedded_graphics::mono_font::iso_8859_1::FONT_6X10;
use embedded_graphics::pixelcolor::BinaryColor;
use embedded_graphics::prelude::{Dimensions, DrawTarget, Drawable, Pixel, Point, Size};
use embedded_graphics::primitives::Rectangle;
use embedded_graphics::text::{Baseline, Text};
use serde::{Deserialize, Serialize};
use std::convert::Infallible;

/// Letters in a line.
pub const COLUMNS: usize = 21;
/// Lines on a page.
pub const ROWS: usize = 6;
/// Dots across.
pub const WIDTH: usize = 128;
/// Dots down.
pub const HEIGHT: usize = 64;

/// What a display shows: at most [`ROWS`] lines of at most [`COLUMNS`] letters. What is longer is cut, so that a long serial
/// number cannot push a warning off the display.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Page(Vec<String>);

impl Page {
    /// From lines. Control characters become spaces: names come from disks.
    pub fn of(lines: impl IntoIterator<Item = impl AsRef<str>>) -> Page {
        let tame = |letter: char| if letter.is_control() { ' ' } else { letter };
        let cut = |line: &str| line.chars().map(tame).take(COLUMNS).collect::<String>();
        Page(lines.into_iter().take(ROWS).map(|line| cut(line.as_ref())).collect())
    }

    /// From top to bottom.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        &self.0
    }

    /// Its dots.
    #[must_use]
    pub fn draw(&self) -> Frame {
        let mut frame = Frame::default();
        let style = MonoTextStyle::new(&FONT_6X10, BinaryColor::On);
        let mut top = 2;
        for line in &self.0 {
            let Ok(_) = Text::with_baseline(line, Point::new(1, top), style, Baseline::Top).draw(&mut frame);
            top += 10;
        }
        frame
    }
}

/// The dots of a display, eight of a column in a byte, the highest one in its lowest bit: as SSD1306 and its kin keep them.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame([u8; WIDTH * HEIGHT / 8]);

impl Default for Frame {
    fn default() -> Frame {
        Frame([0; WIDTH * HEIGHT / 8])
    }
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for y in 0..HEIGHT {
            let row: String = (0..WIDTH).map(|x| if self.is_lit(x, y) { '#' } else { '.' }).collect();
            writeln!(f, "{row}")?;
        }
        Ok(())
    }
}

impl Frame {
    /// As they go over the bus.
    #[must_use]
    pub const fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// From what went over the bus; none: not as many.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Frame> {
        bytes.try_into().ok().map(Frame)
    }

    /// Whether the dot is lit; outside it is not.
    #[must_use]
    pub fn is_lit(&self, x: usize, y: usize) -> bool {
        x < WIDTH && self.0.get(x + y / 8 * WIDTH).is_some_and(|column| column & (1 << (y % 8)) != 0)
    }

    fn set(&mut self, x: usize, y: usize, lit: bool) {
        if x < WIDTH
            && let Some(column) = self.0.get_mut(x + y / 8 * WIDTH)
        {
            *column = (*column & !(1 << (y % 8))) | (u8::from(lit) << (y % 8));
        }
    }
}

impl Dimensions for Frame {
    fn bounding_box(&self) -> Rectangle {
        Rectangle::new(Point::zero(), Size::new(128, 64))
    }
}

impl DrawTarget for Frame {
    type Color = BinaryColor;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<BinaryColor>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(point, color) in pixels {
            if let (Ok(x), Ok(y)) = (usize::try_from(point.x), usize::try_from(point.y)) {
                self.set(x, y, color.is_on());
            }
        }
        Ok(())
    }
}

/// A display that shows pages.
pub trait Display: Send {
    /// In place of what it shows.
    fn show(&mut self, page: &Page) -> Result<(), HalError>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_letter_has_the_dots_of_its_font() {
        let drawn = format!("{:?}", Page::of(["H"]).draw());
        let rows: Vec<&str> = drawn.lines().skip(3).take(9).map(|row| &row[..7]).collect();
        let stem = ".#...#.";
        assert_eq!(rows[..7], [stem, stem, stem, ".#####.", stem, stem, stem], "{drawn}");
        assert_eq!(rows[7..], [".......", "......."]);
    }

    #[test]
    fn what_is_too_long_is_cut_and_what_is_wild_is_tamed() {
        let page = Page::of(["a\nb\u{1b}[2J", "0123456789012345678901234567", "", "", "", "last", "beyond"]);
        assert_eq!(page.lines()[0], "a b [2J");
        assert_eq!(page.lines()[1].len(), COLUMNS);
        assert_eq!(page.lines().last().map(String::as_str), Some("last"));
    }

    #[test]
    fn accents_are_in_the_font() {
        assert_ne!(Page::of(["é"]).draw(), Page::of(["?"]).draw());
        assert_ne!(Page::of(["é"]).draw(), Page::of(["e"]).draw());
    }

    proptest! {
        #[test]
        fn any_words_fit(lines in prop::collection::vec(".{0,80}", 0..12)) {
            let page = Page::of(&lines);
            prop_assert!(page.lines().len() <= ROWS);
            prop_assert!(page.lines().iter().all(|line| line.chars().count() <= COLUMNS));
            let frame = page.draw();
            prop_assert_eq!(Frame::from_bytes(frame.bytes()), Some(frame));
        }
    }
}
