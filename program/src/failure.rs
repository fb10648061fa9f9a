//! Why a program cannot go on, told so that the user knows what to do.

use std::fmt;
use std::process::ExitCode;

/// One line for the user: what is wrong and, where there is one, the way out.
#[derive(Debug)]
pub struct Failure {
    message: String,
    usage: bool,
}

impl Failure {
    /// Something in the world is not as it must be: exit status 1.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), usage: false }
    }

    /// The command line or the configuration is wrong: exit status 2.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), usage: true }
    }

    /// Adds what the user can do about it.
    #[must_use]
    pub fn way_out(mut self, advice: impl fmt::Display) -> Self {
        self.message = format!("{} ({advice})", self.message);
        self
    }

    /// The status to end with.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(if self.usage { 2 } else { 1 })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Says what was being done when something failed.
pub trait ResultExt<T> {
    fn context(self, doing: impl fmt::Display) -> Result<T, Failure>;
}

impl<T, E: fmt::Display> ResultExt<T> for Result<T, E> {
    fn context(self, doing: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|why| Failure::new(format!("{doing}: {why}")))
    }
}
