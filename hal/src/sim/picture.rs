//! The simulated panel as a picture: its display, four dots a dot, and its lights below.

use super::Seen;
use crate::display::{Frame, HEIGHT, WIDTH};
use crate::lights::{Glow, Light};

/// Dots of the picture for one of the display.
const SCALE: usize = 4;
/// Around the display, and between it and the lights.
const EDGE: usize = 12;
/// Of a light.
const LAMP: usize = 20;

const CASE: [u8; 3] = [0x26, 0x29, 0x2c];
const GLASS: [u8; 3] = [0x05, 0x08, 0x0c];
const DOT: [u8; 3] = [0xc8, 0xe8, 0xff];

fn colour(light: Light, glow: Glow) -> [u8; 3] {
    let full = match light {
        Light::Ready => [0x20, 0xd0, 0x60],
        Light::Working => [0x50, 0xa0, 0xff],
        Light::Help => [0xff, 0x40, 0x30],
    };
    // What blinks is drawn half lit: a picture stands still.
    match glow {
        Glow::Off => full.map(|part| part / 6),
        Glow::On => full,
        Glow::Slow | Glow::Fast => full.map(|part| part / 2 + 0x20),
    }
}

/// As PNG.
pub(super) fn png(seen: &Seen) -> Result<Vec<u8>, png::EncodingError> {
    let (width, height) = (WIDTH * SCALE + 2 * EDGE, HEIGHT * SCALE + 3 * EDGE + LAMP);
    let frame = seen.text.draw();
    let mut dots = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        for x in 0..width {
            dots.extend(dot(seen, &frame, x, y));
        }
    }
    let mut bytes = Vec::new();
    let size = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
    let mut encoder = png::Encoder::new(&mut bytes, size(width), size(height));
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header()?.write_image_data(&dots)?;
    Ok(bytes)
}

fn dot(seen: &Seen, frame: &Frame, x: usize, y: usize) -> [u8; 3] {
    let (Some(x), Some(y)) = (x.checked_sub(EDGE), y.checked_sub(EDGE)) else { return CASE };
    if x < WIDTH * SCALE && y < HEIGHT * SCALE {
        return if frame.is_lit(x / SCALE, y / SCALE) { DOT } else { GLASS };
    }
    let row = HEIGHT * SCALE + EDGE..HEIGHT * SCALE + EDGE + LAMP;
    let light = Light::ALL.get(x / (LAMP * 2)).filter(|_| row.contains(&y) && x % (LAMP * 2) < LAMP);
    light.map_or(CASE, |light| colour(*light, seen.lights.get(light).copied().unwrap_or_default()))
}
