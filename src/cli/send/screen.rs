//! Where what happens is shown: JSON as it was received, plain lines, or lines above one that is
//! rewritten while a terminal waits.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use super::follow::Step;
use super::render;
use crate::cli::Output;

/// Back to the start of the line, and erase it (ECMA-48: CR, EL).
const REWRITE: &str = "\r\x1b[K";

pub struct Screen {
    output: Output,
    is_terminal: bool,
    /// The waiting line stands there.
    is_waiting: bool,
    ticks: usize,
}

impl Screen {
    pub fn new(output: Output) -> Self {
        let is_terminal = output == Output::Text && std::io::stdout().is_terminal();
        Self { output, is_terminal, is_waiting: false, ticks: 0 }
    }

    /// Whether [`Screen::wait`] shows anything.
    pub fn is_live(&self) -> bool {
        self.is_terminal
    }

    /// A message of the vehicle, and what it means, if that is new.
    pub fn news(&mut self, payload: &[u8], step: Option<&Step>, elapsed: Duration) {
        match self.output {
            Output::Json => self.write(&[payload, b"\n"].concat()),
            Output::Text => {
                if let Some(step) = step {
                    self.write(render::step(step, elapsed).as_bytes());
                    for note in render::notes(step) {
                        self.note(&note);
                    }
                }
            }
        }
    }

    /// What is no step of the command, on the standard error.
    pub fn note(&mut self, text: &str) {
        self.clear();
        let _ = writeln!(std::io::stderr(), "downlinkd: {text}");
    }

    /// Rewrites the waiting line.
    pub fn wait(&mut self, what: &str, elapsed: Duration) {
        let line = render::waiting(what, elapsed, self.ticks);
        self.write(format!("{REWRITE}{line}").as_bytes());
        self.is_waiting = true;
        self.ticks += 1;
    }

    /// Takes the waiting line away.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.is_waiting) {
            self.write(REWRITE.as_bytes());
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut stdout = std::io::stdout().lock();
        if std::mem::take(&mut self.is_waiting) {
            let _ = stdout.write_all(REWRITE.as_bytes());
        }
        // A reader that has gone does not change what becomes of the command, which the exit code says.
        let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
    }
}
