//! Lines that stay, and below them, on a terminal, a few that change.

use std::io::{self, IsTerminal as _, Write as _};

const BAR: usize = 30;

#[derive(Debug)]
pub(super) struct Screen {
    live: bool,
    /// Lines of the changing part that are on the terminal now.
    drawn: usize,
    lines: Vec<String>,
}

impl Screen {
    pub(super) fn new() -> Self {
        Self { live: io::stdout().is_terminal(), drawn: 0, lines: Vec::new() }
    }

    /// A line that stays.
    pub(super) fn line(&mut self, text: &str) {
        let cleared = self.clear();
        self.print(format!("{cleared}{text}\n"));
    }

    /// What changes, in place of what was there; a file or a pipe does not get it.
    pub(super) fn show(&mut self, lines: Vec<String>) {
        self.lines = lines;
        self.print(String::new());
    }

    /// Up to the first of the lines that change, and nothing below.
    fn clear(&mut self) -> String {
        match std::mem::take(&mut self.drawn) {
            0 => String::new(),
            lines => format!("\x1b[{lines}A\x1b[J"),
        }
    }

    fn print(&mut self, mut text: String) {
        if self.live {
            let cleared = self.clear();
            text = format!("{cleared}{text}");
            for line in &self.lines {
                text += line;
                text.push('\n');
            }
            self.drawn = self.lines.len();
        }
        let mut out = io::stdout();
        // Who closed the pipe does not want to know.
        let _ = out.write_all(text.as_bytes());
        let _ = out.flush();
    }
}

/// So much of it is done.
pub(super) fn bar(share: f64) -> String {
    let full = (share.clamp(0.0, 1.0) * BAR as f64).round() as usize;
    format!("{}{}", "█".repeat(full), "░".repeat(BAR - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_full_as_it_should_be_and_always_as_long() {
        for (share, full) in [(-1.0, 0), (0.0, 0), (0.5, BAR / 2), (1.0, BAR), (7.0, BAR)] {
            let drawn = bar(share);
            assert_eq!(drawn.chars().filter(|mark| *mark == '█').count(), full, "{share}");
            assert_eq!(drawn.chars().count(), BAR);
        }
    }

    #[test]
    fn a_line_takes_the_place_of_what_changes_and_that_comes_after_it() {
        let mut screen = Screen { live: true, drawn: 3, lines: Vec::new() };
        assert_eq!(screen.clear(), "\x1b[3A\x1b[J");
        assert_eq!(screen.clear(), "", "it is cleared once");
    }
}
