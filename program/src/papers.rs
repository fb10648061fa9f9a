//! Manual pages and completions.

use std::path::PathBuf;

use clap::Subcommand;
use clap_complete::Shell;

use crate::{Failure, ResultExt as _};

/// The commands that print what packages hold beside the program.
#[derive(Debug, Subcommand)]
pub enum Papers {
    /// Print the manual page
    Man {
        /// Write it and those of all commands into a directory instead
        #[arg(long, value_name = "DIRECTORY")]
        into: Option<PathBuf>,
    },
    /// Print completions for a shell
    Completions { shell: Shell },
}

impl Papers {
    /// Prints them for `command`, the whole program's command line.
    pub fn print(self, command: &mut clap::Command) -> Result<(), Failure> {
        let mut out = std::io::stdout();
        match self {
            Self::Man { into: None } => {
                clap_mangen::Man::new(command.clone()).render(&mut out).context("standard output")
            }
            Self::Man { into: Some(directory) } => {
                let pages = command.clone().disable_help_subcommand(true);
                clap_mangen::generate_to(pages, &directory).context(directory.display())
            }
            Self::Completions { shell } => {
                let name = command.get_name().to_owned();
                clap_complete::generate(shell, command, name, &mut out);
                Ok(())
            }
        }
    }
}
