//! `ntm run`: a program under the shim.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Args;
use ntm_agent::{KEEPER_VARIABLE, SOCKET_VARIABLE, socket_path};

use crate::session::Session;

const SHIM: &str = "libntmfw_preload.so";
const PRELOAD: &str = "LD_PRELOAD";
const CANNOT_RUN: u8 = 126;
const NOT_THERE: u8 = 127;

/// Run a program, unchanged, so that it reaches nodes by their names and is reached
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Ports at which nodes may connect: `all`, or numbers with commas between them
    #[arg(long, value_name = "PORTS", value_parser = ports)]
    listen: Option<String>,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

/// Why a program is not run: the status that shells give, and a line.
struct Refused(u8, String);

impl Run {
    pub(crate) fn carry_out(self, session: Session) -> ExitCode {
        let Refused(status, why) = self.replace_self(session);
        let _ = writeln!(std::io::stderr(), "ntm run: {why}");
        ExitCode::from(status)
    }

    /// Becomes the program; comes back only where that cannot be.
    fn replace_self(self, session: Session) -> Refused {
        let Some((name, arguments)) = self.program.split_first() else {
            return Refused(2, "no program was named".to_owned());
        };
        let prepared = find_program(name).and_then(|program| {
            check(&program)?;
            Ok((program, find_shim()?))
        });
        let (program, shim) = match prepared {
            Ok(prepared) => prepared,
            Err(refused) => return refused,
        };
        let mut preload = shim.into_os_string();
        if let Some(others) = std::env::var_os(PRELOAD).filter(|others| !others.is_empty()) {
            preload.push(":");
            preload.push(others);
        }
        let mut command = Command::new(&program);
        command.arg0(name).args(arguments).env(PRELOAD, preload);
        match session.agent() {
            Some(_) => command.env(SOCKET_VARIABLE, socket_path()),
            None => command.env_remove(SOCKET_VARIABLE),
        };
        if let Ok(own) = std::env::current_exe() {
            command.env(KEEPER_VARIABLE, own);
        }
        if let Some(ports) = self.listen {
            command.env("NTM_LISTEN", ports);
        }
        let why = command.exec();
        Refused(CANNOT_RUN, format!("{}: {why}", program.display()))
    }
}

fn ports(text: &str) -> Result<String, String> {
    let is_port = |part: &str| part.trim().parse::<u16>().is_ok_and(|port| port != 0);
    if text == "all" || text.split(',').all(is_port) {
        Ok(text.to_owned())
    } else {
        Err("`all`, or port numbers with commas between them".to_owned())
    }
}

/// The file of this name, found as a shell does.
fn find_program(name: &OsString) -> Result<PathBuf, Refused> {
    let path = Path::new(name);
    if path.components().count() > 1 || path.is_absolute() {
        return if path.exists() {
            Ok(path.to_owned())
        } else {
            Err(Refused(NOT_THERE, format!("no such program: {}", path.display())))
        };
    }
    let runs =
        |file: &PathBuf| file.metadata().is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0);
    let directories = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&directories).map(|directory| directory.join(path)).find(runs);
    found.ok_or_else(|| Refused(NOT_THERE, format!("no such program: {}", path.display())))
}

/// Refuses what nothing can be preloaded into.
fn check(program: &Path) -> Result<(), Refused> {
    let name = program.display();
    let about = program.metadata().map_err(|why| Refused(CANNOT_RUN, format!("{name}: {why}")))?;
    if about.mode() & (libc::S_ISUID | libc::S_ISGID) != 0 {
        let why = "changes its user when it starts, and the system lets nothing be preloaded into such";
        return Err(Refused(CANNOT_RUN, format!("{name} {why} (`ntm proxy` is a way for some)")));
    }
    let is_static = File::open(program).and_then(|mut file| is_static(&mut file)).unwrap_or(false);
    if is_static {
        let why = "is linked statically, so nothing can be preloaded into it";
        return Err(Refused(CANNOT_RUN, format!("{name} {why} (`ntm proxy` is a way for some)")));
    }
    Ok(())
}

/// Whether this is an ELF file that names no loader.
fn is_static(file: &mut File) -> std::io::Result<bool> {
    /// Of the header and a program header: where the fields of 64-bit files stand, least byte first.
    const MAGIC: &[u8] = b"\x7fELF\x02\x01";
    const TABLE_AT: std::ops::Range<usize> = 32..40;
    const ENTRY_SIZE: std::ops::Range<usize> = 54..56;
    const ENTRIES: std::ops::Range<usize> = 56..58;
    const INTERPRETER: u32 = 3;
    let mut head = [0; 64];
    if file.read_exact(&mut head).is_err() || !head.starts_with(MAGIC) {
        return Ok(false);
    }
    let number =
        |range: std::ops::Range<usize>| head[range].iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    let (at, size, count) = (number(TABLE_AT), number(ENTRY_SIZE), number(ENTRIES));
    for entry in 0..count {
        let mut kind = [0; 4];
        file.seek(SeekFrom::Start(at + entry * size))?;
        file.read_exact(&mut kind)?;
        if u32::from_le_bytes(kind) == INTERPRETER {
            return Ok(false);
        }
    }
    Ok(true)
}

/// `$NTM_PRELOAD`, or the shim beside this program or in the library directory.
fn find_shim() -> Result<PathBuf, Refused> {
    let beside = std::env::current_exe().ok().and_then(|own| own.canonicalize().ok()?.parent().map(Path::to_owned));
    let usual = beside.iter().flat_map(|here| [here.join(SHIM), here.join("../lib/ntmfw").join(SHIM)]);
    let named = std::env::var_os("NTM_PRELOAD").map(PathBuf::from);
    named
        .into_iter()
        .chain(usual)
        .find_map(|place| place.canonicalize().ok())
        .ok_or_else(|| Refused(1, format!("{SHIM} is nowhere; set NTM_PRELOAD")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_numbers_or_all() {
        assert!(ports("all").is_ok() && ports("80").is_ok() && ports("80, 443").is_ok());
        assert!(ports("").is_err() && ports("0").is_err() && ports("http").is_err() && ports("70000").is_err());
    }

    #[test]
    fn a_program_with_a_loader_is_taken_and_a_script_as_well() {
        let own = std::env::current_exe().expect("a program");
        assert!(check(&own).is_ok());
        let directory = std::env::temp_dir().join(format!("ntm-run-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let script = directory.join("script");
        std::fs::write(&script, "#!/bin/sh\n").expect("written");
        let taken = check(&script).is_ok();
        // The same file without the header that names the loader: what a static one looks like.
        let mut image = std::fs::read(&own).expect("its bytes");
        image[56..58].fill(0);
        let cut = directory.join("static");
        std::fs::write(&cut, &image).expect("written");
        let refused = check(&cut).is_err_and(|Refused(status, _)| status == CANNOT_RUN);
        std::fs::remove_dir_all(&directory).expect("gone");
        assert!(taken && refused);
    }
}
