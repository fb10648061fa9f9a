//! Secrets on disk: written so that nobody else reads them, refused where somebody else could.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use zeroize::Zeroizing;

use ntm_program::{Failure, ResultExt as _};

/// What a secret may weigh; more is a mistake.
const MAX_SECRET: u64 = 1 << 20;

/// Writes a new file that only its owner can read. An existing one is never overwritten.
pub fn create_secret(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let name = path.display();
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = opened.map_err(|why| match why.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Failure::new(format!("{name} exists already")).way_out("move it away if its key is to be replaced")
        }
        _ => Failure::new(format!("{name}: {why}")),
    })?;
    file.write_all(content).and_then(|()| file.sync_all()).context(name)
}

/// Puts `content` in the place of a secret file in one step: a crash leaves the old or the new.
pub fn replace_secret(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let beside = path.with_extension("new");
    let _ = std::fs::remove_file(&beside);
    create_secret(&beside, content)?;
    std::fs::rename(&beside, path).context(path.display())?;
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).context(folder.display())
}

/// Reads a secret; one that others may read is refused, because it is none any more.
pub fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let name = path.display();
    let mut file = File::open(path).context(name.to_string())?;
    let about = file.metadata().context(name.to_string())?;
    if about.mode() & 0o077 != 0 {
        let mode = about.mode() & 0o777;
        return Err(Failure::new(format!("{name} can be read by others (mode {mode:04o})"))
            .way_out(format!("chmod 600 {name}")));
    }
    if about.len() > MAX_SECRET {
        return Err(Failure::new(format!("{name} is too large for a secret")));
    }
    let mut content = Zeroizing::new(Vec::new());
    file.read_to_end(&mut content).context(name)?;
    Ok(content)
}
