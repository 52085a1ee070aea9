//! A panel in this process: parts whose other side a test, a demo or the virtual bench reads and presses, in memory or over a
//! socket.

mod parts;
mod picture;
mod socket;

pub use socket::{Deed, ask, picture, serve};

use crate::board::Board;
use crate::button::Gesture;
use crate::display::Page;
use crate::fan::Duty;
use crate::lights::{Glow, Light};
use crate::parts::MilliCelsius;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The other side of the parts of one board.
#[derive(Clone, Default)]
pub struct Sim(Arc<Mutex<State>>);

/// How long an eye watches a light to say how it glows.
const WATCHED: Duration = Duration::from_secs(2);

#[derive(Default)]
struct State {
    lamps: BTreeMap<Light, Lit>,
    page: Page,
    /// Until when a finger is on the button.
    pressed: Option<Instant>,
    warm: Option<MilliCelsius>,
    duty: Duty,
    jammed: bool,
    fed: u64,
    armed: bool,
    bay: bool,
}

#[derive(Default)]
struct Lit {
    now: bool,
    changed: VecDeque<Instant>,
}

/// What a person sees who looks at the box.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// How each light glows.
    pub lights: BTreeMap<Light, Glow>,
    /// What is to be read.
    pub text: Page,
    /// How fast the fan is told to turn.
    pub fan: Duty,
    /// Turns a minute.
    pub turns: u32,
    /// Whether the disks have power.
    pub bay: bool,
}

impl Sim {
    /// All parts, dark and cool.
    #[must_use]
    pub fn board(&self) -> Board {
        self.state().warm = Some(MilliCelsius::of(35));
        parts::all(self)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What there is to see.
    #[must_use]
    pub fn seen(&self) -> Seen {
        let state = self.state();
        let recent = |lit: &Lit| lit.changed.iter().filter(|changed| changed.elapsed() < WATCHED).count();
        let glow = |lit: &Lit| Glow::seen(lit.now, recent(lit));
        Seen {
            lights: Light::ALL.map(|light| (light, state.lamps.get(&light).map_or(Glow::Off, glow))).into(),
            text: state.page.clone(),
            fan: state.duty,
            turns: parts::turns(&state),
            bay: state.bay,
        }
    }

    /// Whether a light is lit at this moment.
    #[must_use]
    pub fn is_lit(&self, light: Light) -> bool {
        self.state().lamps.get(&light).is_some_and(|lit| lit.now)
    }

    /// Presses the button for so long.
    pub fn press(&self, held: Duration) {
        self.state().pressed = Instant::now().checked_add(held);
    }

    /// Makes a gesture.
    pub fn gesture(&self, gesture: Gesture) {
        self.press(Duration::from_millis(match gesture {
            Gesture::Tap => 200,
            Gesture::Hold => 2500,
            Gesture::TenSeconds => 11_000,
            Gesture::TwentySeconds => 21_000,
            Gesture::ThirtySeconds => 31_000,
        }));
    }

    /// Makes the board so warm; none: its thermometer breaks.
    pub fn warm(&self, warm: Option<MilliCelsius>) {
        self.state().warm = warm;
    }

    /// Puts a finger into the fan, or takes it out.
    pub fn jam(&self, jammed: bool) {
        self.state().jammed = jammed;
    }

    /// How often the watchdog was fed; none: it sleeps.
    #[must_use]
    pub fn fed(&self) -> Option<u64> {
        let state = self.state();
        state.armed.then_some(state.fed)
    }
}
