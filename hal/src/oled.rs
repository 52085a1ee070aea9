//! Displays with an SSD1306 (and its kin: SSD1309, SH1106 in page mode) on an I²C bus, 128 by 64 dots.
//!
//! Our own, because the crates for it bring a procedural macro that nobody maintains. Commands and their order: Solomon Systech,
//! SSD1306 datasheet rev. 1.1, chapters 8.1.5, 9 and the application note's start sequence.

use crate::HalError;
use crate::display::{Display, Frame, Page, WIDTH};
use embedded_hal::i2c::I2c;

/// Where nearly all of them answer.
pub const ADDRESS: u8 = 0x3c;
/// What follows is commands, or dots.
const COMMANDS: u8 = 0x00;
const DOTS: u8 = 0x40;
/// Display off, by pages, clock, 64 lines, no offset, first line, charge pump on, columns and rows as we count them, common pins, contrast,
/// precharge, deselect level, from memory, not inverted, on.
const START: [u8; 26] = [
    0xae, 0x20, 0x02, 0xd5, 0x80, 0xa8, 0x3f, 0xd3, 0x00, 0x40, 0x8d, 0x14, 0xa1, 0xc8, 0xda, 0x12, 0x81, 0x7f, 0xd9,
    0xf1, 0xdb, 0x40, 0xa4, 0xa6, 0x2e, 0xaf,
];

/// One on a bus.
pub struct Oled<B> {
    bus: B,
    address: u8,
    /// What it shows; none: it was not started, or lost its power, or its last frame did not arrive.
    shown: Option<Frame>,
}

impl<B: I2c> Oled<B> {
    /// It is started with its first page.
    pub fn new(bus: B, address: u8) -> Oled<B> {
        Oled { bus, address, shown: None }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), HalError> {
        self.bus
            .write(self.address, bytes)
            .map_err(|error| HalError::Part { part: "display", source: format!("{error:?}").into() })
    }

    fn command(&mut self, commands: &[u8]) -> Result<(), HalError> {
        self.write(&[&[COMMANDS], commands].concat())
    }
}

impl<B: I2c + Send> Display for Oled<B> {
    fn show(&mut self, page: &Page) -> Result<(), HalError> {
        let frame = page.draw();
        let before = self.shown.take();
        if before.is_none() {
            self.command(&START)?;
        }
        // A page of the chip is a strip of eight rows; one that did not change is not sent: the bus takes 3 ms for each.
        for (strip, dots) in frame.bytes().chunks(WIDTH).enumerate() {
            let old = before.as_ref().and_then(|before| before.bytes().chunks(WIDTH).nth(strip));
            if old != Some(dots) {
                let strip = u8::try_from(strip).unwrap_or(0);
                self.command(&[0xb0 | strip, 0x00, 0x10])?;
                self.write(&[&[DOTS], dots].concat())?;
            }
        }
        self.shown = Some(frame);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_hal::i2c::{ErrorKind, ErrorType, NoAcknowledgeSource, Operation};

    /// The chip as its datasheet has it: what it was sent ends up in its memory.
    #[derive(Default)]
    struct Chip {
        on: bool,
        strip: usize,
        column: usize,
        memory: Vec<u8>,
        writes: usize,
        unplugged: bool,
    }

    impl ErrorType for Chip {
        type Error = ErrorKind;
    }

    impl I2c for Chip {
        fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), ErrorKind> {
            if address != ADDRESS || self.unplugged {
                return Err(ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address));
            }
            self.memory.resize(1024, 0xaa);
            for operation in operations {
                let Operation::Write(bytes) = operation else { return Err(ErrorKind::Other) };
                self.writes += 1;
                match bytes.split_first() {
                    Some((&DOTS, dots)) => {
                        for dot in dots {
                            self.memory[self.strip * 128 + self.column] = *dot;
                            self.column = (self.column + 1) % 128;
                        }
                    }
                    Some((&COMMANDS, [strip @ 0xb0..=0xb7, low, high])) => {
                        (self.strip, self.column) =
                            (usize::from(strip & 7), usize::from(low & 15) + usize::from(high & 15) * 16);
                    }
                    Some((&COMMANDS, commands)) => self.on = commands.last() == Some(&0xaf),
                    _ => return Err(ErrorKind::Other),
                }
            }
            Ok(())
        }
    }

    #[test]
    fn the_chip_holds_what_the_page_drew_and_only_what_changed_is_sent() {
        let mut oled = Oled::new(Chip::default(), ADDRESS);
        let (first, second) = (Page::of(["Ready", "", "42"]), Page::of(["Ready", "", "43"]));
        oled.show(&first).expect("it answers");
        assert!(oled.bus.on);
        assert_eq!(oled.bus.memory, first.draw().bytes());
        let writes = oled.bus.writes;
        oled.show(&second).expect("it answers");
        assert_eq!(oled.bus.memory, second.draw().bytes());
        assert!(oled.bus.writes - writes <= 4, "one line touches two strips");
        oled.show(&second).expect("it answers");
        assert!(oled.bus.writes - writes <= 4, "nothing changed");
    }

    #[test]
    fn one_that_was_away_is_started_anew() {
        let mut oled = Oled::new(Chip::default(), ADDRESS);
        oled.show(&Page::of(["a"])).expect("it answers");
        oled.bus.unplugged = true;
        assert!(matches!(oled.show(&Page::of(["b"])), Err(HalError::Part { part: "display", .. })));
        oled.bus = Chip::default();
        oled.show(&Page::of(["b"])).expect("it answers");
        assert!(oled.bus.on);
        assert_eq!(oled.bus.memory, Page::of(["b"]).draw().bytes());
    }
}
