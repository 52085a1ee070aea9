//! What the display says, in the languages of its readers. No line is longer than the display: a test counts.

use super::{DiskState, Need};
use saveos_protocol::fact::Work;

/// Of the people at the box.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Language {
    /// English.
    #[default]
    En,
    /// French.
    Fr,
}

impl Language {
    pub(super) const fn texts(self) -> Texts {
        match self {
            Language::En => ENGLISH,
            Language::Fr => FRENCH,
        }
    }
}

type Line = &'static str;

/// All of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Texts {
    pub(super) backing_up: Line,
    pub(super) restoring: Line,
    pub(super) checking: Line,
    pub(super) tidying: Line,
    pub(super) keep_plugged: Line,
    pub(super) keep_power: Line,
    pub(super) updating: Line,
    pub(super) safe: Line,
    pub(super) ready: Line,
    pub(super) plug_in: Line,
    pub(super) needs_help: Line,
    pub(super) overwrite: Line,
    pub(super) overwrite_hint: [Line; 2],
    pub(super) backup_failed: [Line; 2],
    pub(super) pulled: [Line; 2],
    pub(super) disk_fails: [Line; 2],
    pub(super) store_full: [Line; 2],
    pub(super) clock_behind: [Line; 2],
    pub(super) too_hot: [Line; 2],
    pub(super) fan_stands: [Line; 2],
    pub(super) not_recoverable: [Line; 2],
    pub(super) busy: Line,
    pub(super) backed_up: Line,
    pub(super) failed: Line,
    pub(super) waits: Line,
    pub(super) unknown: Line,
    pub(super) idle: Line,
    pub(super) hold_backup: [Line; 2],
    pub(super) words: Line,
    pub(super) words_hint: [Line; 3],
    pub(super) words_next: Line,
    pub(super) which_word: Line,
    pub(super) which_hint: Line,
    pub(super) wrong_word: [Line; 3],
    pub(super) claim: Line,
    pub(super) claim_at: Line,
    pub(super) about: Line,
    pub(super) let_go: Line,
    pub(super) hold_on: Line,
    pub(super) nothing: Line,
    pub(super) resets: [Line; 3],
    pub(super) reset_sure: [[Line; 2]; 3],
    pub(super) reset_hint: [Line; 2],
    pub(super) restarts: Line,
    pub(super) silent: [Line; 3],
}

impl Default for Texts {
    fn default() -> Texts {
        ENGLISH
    }
}

impl Texts {
    pub(super) const fn work(&self, work: Work) -> Line {
        match work {
            Work::Backup => self.backing_up,
            Work::Restore => self.restoring,
            Work::Verify | Work::RestoreTest => self.checking,
            _ => self.tidying,
        }
    }

    pub(super) const fn need(&self, need: &Need) -> [Line; 2] {
        match need {
            Need::BackupFailed { .. } => self.backup_failed,
            Need::Pulled { .. } => self.pulled,
            Need::DiskFails { .. } => self.disk_fails,
            Need::StoreFull => self.store_full,
            Need::ClockBehind => self.clock_behind,
            Need::TooHot => self.too_hot,
            Need::FanStands => self.fan_stands,
            Need::NotRecoverable => self.not_recoverable,
        }
    }

    pub(super) const fn disk(&self, state: DiskState) -> Line {
        match state {
            DiskState::Busy => self.busy,
            DiskState::BackedUp => self.backed_up,
            DiskState::Failed => self.failed,
            DiskState::Waits => self.waits,
            DiskState::Unknown => self.unknown,
            DiskState::Idle => self.idle,
        }
    }
}

const ENGLISH: Texts = Texts {
    backing_up: "Backing up",
    restoring: "Restoring",
    checking: "Checking backups",
    tidying: "Tidying up",
    keep_plugged: "Do not unplug",
    keep_power: "Do not switch off",
    updating: "Updating the box",
    safe: "Safe to unplug",
    ready: "Ready",
    plug_in: "Plug a disk in",
    needs_help: "NEEDS HELP",
    overwrite: "OVERWRITE this disk?",
    overwrite_hint: ["Hold 2 s: yes", "Unplug it: no"],
    backup_failed: ["The last backup", "failed"],
    pulled: ["Unplugged too early:", "plug it in again"],
    disk_fails: ["This disk is failing:", "replace it"],
    store_full: ["The store is full:", "call your provider"],
    clock_behind: ["The clock is wrong:", "no contact to cloud"],
    too_hot: ["Too hot: let air in,", "work is paused"],
    fan_stands: ["The fan stands still:", "dust, or a cable?"],
    not_recoverable: ["Recovery words are", "not written down"],
    busy: "being worked on",
    backed_up: "backed up",
    failed: "last backup failed",
    waits: "waits for its time",
    unknown: "not set up yet",
    idle: "nothing to do",
    hold_backup: ["Hold 2 s:", "back up now"],
    words: "24 recovery words",
    words_hint: ["Have pen and paper.", "Nobody should watch.", "Hold 2 s: show them"],
    words_next: "Tap: next",
    which_word: "Which is word",
    which_hint: "Tap: next, hold: this",
    wrong_word: ["That is another word.", "Look at them again:", "tap"],
    claim: "Claim this box",
    claim_at: "at",
    about: "SaveOS",
    let_go: "Let go now:",
    hold_on: "Hold on:",
    nothing: "nothing happens",
    resets: ["reset the settings", "forget the owner", "ERASE EVERYTHING"],
    reset_sure: [
        ["Reset the settings?", "Backups stay."],
        ["FORGET THE OWNER?", "Backups stay."],
        ["ERASE EVERYTHING?", "All backups are lost."],
    ],
    reset_hint: ["Hold 2 s: yes", "Tap: no"],
    restarts: "Restarting",
    silent: ["The box does not", "answer: switch it off", "and on again"],
};

const FRENCH: Texts = Texts {
    backing_up: "Sauvegarde en cours",
    restoring: "Restauration",
    checking: "Vérification",
    tidying: "Rangement",
    keep_plugged: "Ne pas débrancher",
    keep_power: "Ne pas éteindre",
    updating: "Mise à jour",
    safe: "Peut être débranché",
    ready: "Prêt",
    plug_in: "Branchez un disque",
    needs_help: "AIDE REQUISE",
    overwrite: "ÉCRASER ce disque ?",
    overwrite_hint: ["Appui 2 s : oui", "Débrancher : non"],
    backup_failed: ["La sauvegarde", "a échoué"],
    pulled: ["Débranché trop tôt :", "rebranchez-le"],
    disk_fails: ["Disque défaillant :", "à remplacer"],
    store_full: ["Le stockage est plein", "appelez le support"],
    clock_behind: ["Mauvaise heure :", "cloud injoignable"],
    too_hot: ["Trop chaud : aérez,", "travail en pause"],
    fan_stands: ["Ventilateur arrêté :", "poussière, câble ?"],
    not_recoverable: ["Mots de secours", "pas encore notés"],
    busy: "travail en cours",
    backed_up: "sauvegardé",
    failed: "échec de sauvegarde",
    waits: "attend son heure",
    unknown: "pas encore configuré",
    idle: "rien à faire",
    hold_backup: ["Appui 2 s :", "sauvegarder"],
    words: "24 mots de secours",
    words_hint: ["Papier et crayon.", "Soyez seul.", "Appui 2 s : afficher"],
    words_next: "Appui : suite",
    which_word: "Quel est le mot",
    which_hint: "Court: suite; 2s: oui",
    wrong_word: ["C'est un autre mot.", "Relisez-les :", "appui court"],
    claim: "Ajouter ce boîtier",
    claim_at: "sur",
    about: "SaveOS",
    let_go: "Relâcher :",
    hold_on: "Continuer :",
    nothing: "rien ne se passe",
    resets: ["effacer les réglages", "oublier propriétaire", "TOUT EFFACER"],
    reset_sure: [
        ["Effacer réglages ?", "Sauvegardes gardées."],
        ["OUBLIER LE PROPR. ?", "Sauvegardes gardées."],
        ["TOUT EFFACER ?", "Sauvegardes perdues."],
    ],
    reset_hint: ["Appui 2 s : oui", "Court : non"],
    restarts: "Redémarrage",
    silent: ["Le boîtier ne répond", "plus : l'éteindre et", "le rallumer"],
};

#[cfg(test)]
mod tests {
    use super::*;
    use saveos_hal::display::COLUMNS;

    #[test]
    fn every_line_fits_the_display() {
        for texts in [ENGLISH, FRENCH] {
            // All that is in quotation marks; numbers of words and question marks are added to one of them.
            let printed = format!("{texts:?}");
            for line in printed.split('"').skip(1).step_by(2) {
                assert!(line.chars().count() <= COLUMNS, "{line:?} is too long");
            }
            assert!(texts.which_word.chars().count() + " 24?".len() <= COLUMNS);
        }
    }
}
