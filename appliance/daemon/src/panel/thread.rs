//! The panel's thread: looks at the button often, lets the lights blink, draws what changed, keeps the fan at its speed. It
//! touches nothing else of the daemon. A part that fails is left alone for a while: a display whose cable is loose costs no
//! processor and stops no backup.

use super::View;
use saveos_hal::HalError;
use saveos_hal::board::{Board, Kernel};
use saveos_hal::button::{Finger, Gesture};
use saveos_hal::display::Page;
use saveos_hal::fan::{Cooled, Cooling, Duty};
use saveos_hal::lights::Light;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two looks at the button.
const TICK: Duration = Duration::from_millis(20);
/// Between two looks at the heat.
const COOL: Duration = Duration::from_secs(1);
/// A part that failed is tried again after.
const AGAIN: Duration = Duration::from_secs(10);
/// The daemon says what to show five times a second; a daemon that does not for so long hangs, and what it said last is a lie. A
/// disk that does not answer can hold it for a while.
const SILENCE: Duration = Duration::from_secs(60);
/// Gestures that wait for the daemon; more are those of an impatient person.
const WAITING: usize = 8;

/// The daemon's side.
pub(crate) struct Handle {
    has_lights: bool,
    shown: Arc<Mutex<(View, Instant)>>,
    gestures: Receiver<Gesture>,
    cooled: Arc<Mutex<Cooled>>,
    held: Arc<Mutex<Option<Duration>>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Handle {
    pub(crate) fn has_lights(&self) -> bool {
        self.has_lights
    }

    pub(crate) fn show(&self, view: View) {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = (view, Instant::now());
    }

    pub(crate) fn gestures(&self) -> Vec<Gesture> {
        self.gestures.try_iter().collect()
    }

    pub(crate) fn cooled(&self) -> Cooled {
        *self.cooled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For how long the button is held now.
    pub(crate) fn held(&self) -> Option<Duration> {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the lights out: they say nothing while nobody is there who knows.
    pub(crate) fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        if self.thread.join().is_err() {
            tracing::error!("the panel's thread had panicked");
        }
    }
}

/// Opens the board that the file describes.
pub(crate) fn start(file: &Path, silent: View) -> Result<Handle, HalError> {
    let (board, missing) = Board::open(file, &Kernel::default())?;
    for error in missing {
        tracing::warn!(error = &error as &dyn std::error::Error, "a part of the board is left out");
    }
    let has_lights = !board.lamps.is_empty();
    let shown = Arc::new(Mutex::new((View::default(), Instant::now())));
    let (sender, gestures) = sync_channel(WAITING);
    let (cooled, held) = (Arc::new(Mutex::new(Cooled::default())), Arc::new(Mutex::new(None)));
    let stop = Arc::new(AtomicBool::new(false));
    let rim = Rim::new(board, (Arc::clone(&shown), silent), sender, (Arc::clone(&cooled), Arc::clone(&held)));
    let own_stop = Arc::clone(&stop);
    let thread = std::thread::Builder::new().name("panel".to_owned()).spawn(move || rim.run(&own_stop));
    let thread = thread.map_err(|source| HalError::File { path: "a thread".into(), source })?;
    Ok(Handle { has_lights, shown, gestures, cooled, held, stop, thread })
}

struct Rim {
    board: Board,
    shown: Arc<Mutex<(View, Instant)>>,
    /// When the daemon says nothing any more.
    silent: View,
    gestures: SyncSender<Gesture>,
    cooled: Arc<Mutex<Cooled>>,
    held: Arc<Mutex<Option<Duration>>>,
    began: Instant,
    finger: Finger,
    cooling: Cooling,
    next_cool: Duration,
    lit: BTreeMap<Light, bool>,
    page: Option<Page>,
    duty: Option<Duty>,
    /// Parts that failed, and until when they are left alone.
    resting: BTreeMap<&'static str, Duration>,
}

impl Rim {
    fn new(
        board: Board,
        (shown, silent): (Arc<Mutex<(View, Instant)>>, View),
        gestures: SyncSender<Gesture>,
        (cooled, held): (Arc<Mutex<Cooled>>, Arc<Mutex<Option<Duration>>>),
    ) -> Rim {
        Rim {
            board,
            shown,
            silent,
            gestures,
            cooled,
            held,
            began: Instant::now(),
            finger: Finger::default(),
            cooling: Cooling::default(),
            next_cool: Duration::ZERO,
            lit: BTreeMap::new(),
            page: None,
            duty: None,
            resting: BTreeMap::new(),
        }
    }

    fn run(mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let at = self.began.elapsed();
            self.look_at_button(at);
            let view = self.wanted();
            self.light(&view, at);
            self.draw(view.page, at);
            if self.next_cool <= at {
                self.next_cool = at + COOL;
                self.cool(at);
            }
            std::thread::sleep(TICK);
        }
        let at = self.began.elapsed();
        self.light(&View::default(), at);
        self.draw(Page::default(), at);
        // Nobody looks at the heat any more.
        self.drive(Duty::FULL, at);
    }

    fn wanted(&self) -> View {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.1.elapsed() < SILENCE { shown.0.clone() } else { self.silent.clone() }
    }

    /// Does it unless the part rests; one that fails rests.
    fn with<T>(
        &mut self,
        part: &'static str,
        at: Duration,
        deed: impl FnOnce(&mut Rim) -> Result<T, HalError>,
    ) -> Option<T> {
        if self.resting.get(part).is_some_and(|until| at < *until) {
            return None;
        }
        match deed(self) {
            Ok(done) => {
                if self.resting.remove(part).is_some() {
                    tracing::info!(part, "it answers again");
                }
                Some(done)
            }
            Err(error) => {
                if self.resting.insert(part, at + AGAIN).is_none() {
                    tracing::warn!(
                        part,
                        error = &error as &dyn std::error::Error,
                        "a part of the board does not answer"
                    );
                }
                None
            }
        }
    }

    fn look_at_button(&mut self, at: Duration) {
        let down = self.with("button", at, |rim| rim.board.button.as_mut().map(|button| button.is_down()).transpose());
        if let Some(gesture) = down.flatten().and_then(|down| self.finger.look(down, at)) {
            tracing::debug!(?gesture, "the button");
            // Full: the daemon hangs, and a gesture that it would find much later meant something else.
            let _ = self.gestures.try_send(gesture);
        }
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = self.finger.held(at);
    }

    fn light(&mut self, view: &View, at: Duration) {
        for (light, glow) in view.glows {
            let lit = glow.is_lit(at);
            if self.lit.get(&light) == Some(&lit) {
                continue;
            }
            let part = match light {
                Light::Ready => "ready light",
                Light::Working => "working light",
                Light::Help => "help light",
            };
            let set = |rim: &mut Rim| rim.board.lamps.get_mut(&light).map(|lamp| lamp.set(lit)).transpose();
            if self.with(part, at, set).is_some() {
                self.lit.insert(light, lit);
            }
        }
    }

    fn draw(&mut self, page: Page, at: Duration) {
        if self.page.as_ref() == Some(&page) {
            return;
        }
        let show = |rim: &mut Rim| rim.board.display.as_mut().map(|display| display.show(&page)).transpose();
        if self.with("display", at, show).is_some() {
            self.page = Some(page);
        }
    }

    fn cool(&mut self, at: Duration) {
        if self.board.thermometer.is_none() && self.board.fan.is_none() {
            return;
        }
        let warm =
            self.with("thermometer", at, |rim| rim.board.thermometer.as_mut().map(|part| part.read()).transpose());
        let turns = self.with("tachometer", at, |rim| rim.board.fan.as_mut().map(|fan| fan.turns()).transpose());
        let cooled = self.cooling.step(warm.flatten(), turns.flatten().flatten(), at);
        *self.cooled.lock().unwrap_or_else(PoisonError::into_inner) = cooled;
        self.drive(cooled.duty, at);
    }

    fn drive(&mut self, duty: Duty, at: Duration) {
        if self.duty == Some(duty) {
            return;
        }
        if self.with("fan", at, |rim| rim.board.fan.as_mut().map(|fan| fan.set_duty(duty)).transpose()).is_some() {
            self.duty = Some(duty);
        }
    }
}
