//! The 24 words on a small display, four at a time, and the two that are asked back with one button: three words are offered,
//! a tap goes from one to the next, a hold chooses.

use super::Unconfirmed;
use super::texts::Texts;
use saveos_hal::button::Gesture;
use saveos_hal::display::Page;
use zeroize::Zeroizing;

/// Words on a page.
const AT_ONCE: usize = 4;

/// Where the person is.
#[derive(Debug)]
pub(super) struct Recovery {
    phrase: Zeroizing<String>,
    asked: [usize; 2],
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// The words from here.
    Reads(usize),
    /// Which of the two is asked for, and which of the three is marked.
    Chooses { which: usize, marked: usize },
    /// It was another word.
    Wrong,
}

/// What became of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    On,
    Done([String; 2]),
}

impl Recovery {
    pub(super) fn new(words: &Unconfirmed) -> Recovery {
        Recovery { phrase: words.phrase.clone(), asked: words.asked, place: Place::Reads(0) }
    }

    fn words(&self) -> Vec<&str> {
        self.phrase.split(' ').collect()
    }

    /// Which word is asked for, counted from zero.
    fn wanted(&self, which: usize) -> usize {
        self.asked.get(which).map_or(0, |one| one.saturating_sub(1))
    }

    /// Three different words of the 24, the right one at a place that does not tell.
    fn offered(&self, which: usize) -> Vec<&str> {
        let words = self.words();
        let wanted = self.wanted(which);
        let right = words.get(wanted).copied().unwrap_or_default();
        let mut offered: Vec<&str> = Vec::new();
        // From the words around it: far enough that a slip of one line is found out as well.
        for step in [1, words.len().saturating_sub(1), 5, 9, 13] {
            let other = words.get((wanted + step) % words.len().max(1)).copied().unwrap_or_default();
            if other != right && !offered.contains(&other) && offered.len() < 2 {
                offered.push(other);
            }
        }
        offered.insert((wanted * 7 + which + 1) % 3 % (offered.len() + 1), right);
        offered
    }

    pub(super) fn press(&mut self, gesture: Gesture) -> Step {
        self.place = match (&self.place, gesture) {
            (Place::Reads(from), Gesture::Tap) if from + AT_ONCE < self.words().len() => Place::Reads(from + AT_ONCE),
            (Place::Reads(_), Gesture::Tap) => Place::Chooses { which: 0, marked: 0 },
            (Place::Chooses { which, marked }, Gesture::Tap) => {
                Place::Chooses { which: *which, marked: (marked + 1) % self.offered(*which).len().max(1) }
            }
            (Place::Chooses { which, marked }, Gesture::Hold) => {
                let right = self.words().get(self.wanted(*which)).copied();
                match (self.offered(*which).get(*marked).copied() == right, which) {
                    (false, _) => Place::Wrong,
                    (true, 0) => Place::Chooses { which: 1, marked: 0 },
                    (true, _) => {
                        let words = self.words();
                        let word = |which| words.get(self.wanted(which)).copied().unwrap_or_default().to_owned();
                        return Step::Done([word(0), word(1)]);
                    }
                }
            }
            (Place::Wrong, Gesture::Tap) => Place::Reads(0),
            _ => return Step::On,
        };
        Step::On
    }

    pub(super) fn page(&self, texts: &Texts) -> Page {
        match self.place {
            Place::Reads(from) => {
                let shown = self.words().into_iter().enumerate().skip(from).take(AT_ONCE);
                let lines = shown.map(|(at, word)| format!("{:>2} {word}", at + 1));
                let next = ["".to_owned(), texts.words_next.to_owned()];
                Page::of(lines.chain(next))
            }
            Place::Chooses { which, marked } => {
                let question = format!("{} {}?", texts.which_word, self.wanted(which) + 1);
                let mark = |at: usize| if at == marked { '>' } else { ' ' };
                let offered = self.offered(which).into_iter().enumerate();
                let lines = offered.map(|(at, word)| format!("{} {word}", mark(at)));
                let hint = ["".to_owned(), texts.which_hint.to_owned()];
                Page::of([question].into_iter().chain(lines).chain(hint))
            }
            Place::Wrong => Page::of(texts.wrong_word),
        }
    }
}
