//! `ntm recv`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use ntm_agent::accept;
use ntm_program::{Failure, ResultExt as _};

use super::message::{self, Begin, Offer, Reply};
use super::{PORT, ROOM};
use crate::session::{Session, failure};
use crate::terminal::Progress;

/// How long, and for how much, a sender that is refused is listened to.
const PATIENCE: Duration = Duration::from_secs(2);
const MOST_UNREAD: u64 = 1 << 20;

/// Wait for a file that a node sends with `ntm send`
#[derive(Debug, Args)]
pub(crate) struct Recv {
    /// Where the file goes
    #[arg(default_value = ".", value_name = "DIRECTORY")]
    directory: PathBuf,
    /// Take files of this node alone
    #[arg(long, value_name = "NAME")]
    from: Option<String>,
    /// The port to wait at
    #[arg(long, short, default_value_t = PORT)]
    port: u16,
    /// Go on after the first file
    #[arg(long, short)]
    keep_on: bool,
}

impl Recv {
    pub(crate) fn carry_out(self, session: Session) -> Result<(), Failure> {
        if !self.directory.is_dir() {
            return Err(Failure::usage(format!("{}: no directory", self.directory.display())));
        }
        let node = session.node()?;
        let listener = node.listen(self.port).map_err(failure)?;
        let mut err = io::stderr();
        let _ = writeln!(err, "waiting at port {} of {}", self.port, node.name().map_err(failure)?);
        loop {
            let (fd, remote) = accept(&listener).map_err(|why| Failure::new(format!("port {}: {why}", self.port)))?;
            let sender = remote.and_then(|remote| node.name_of(remote.ip()).ok().flatten());
            let sender = sender.unwrap_or_else(|| "an unknown node".to_owned());
            let mut stream = UnixStream::from(fd);
            let taken = if self.from.as_ref().is_some_and(|from| *from != sender) {
                refuse(&mut stream, "files are not taken from this node")
            } else {
                take(&mut stream, &self.directory)
            };
            match taken {
                Ok(name) => {
                    writeln!(io::stdout(), "{name} from {sender}").context("standard output")?;
                    if !self.keep_on {
                        return Ok(());
                    }
                }
                Err(why) => {
                    let _ = writeln!(err, "{sender}: {why}; what came is kept, waiting on");
                }
            }
        }
    }
}

fn refuse(stream: &mut UnixStream, why: &str) -> Result<String, Failure> {
    let _ = message::write(stream, &Reply::Refused(why.to_owned()));
    // A connection that is closed with something unread ends with a reset, which takes the answer with it.
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.set_read_timeout(Some(PATIENCE));
    let _ = io::copy(&mut stream.take(MOST_UNREAD), &mut io::sink());
    Err(Failure::new(why))
}

/// Takes one file; gives its name.
fn take(stream: &mut UnixStream, directory: &Path) -> Result<String, Failure> {
    let lost = "the connection";
    let offer: Offer = message::read(stream).context(lost)?;
    if !is_plain(&offer.name) {
        return refuse(stream, "the name is no plain file name");
    }
    let whole = directory.join(&offer.name);
    if whole.exists() {
        return refuse(stream, "a file of this name exists already");
    }
    let part = directory.join(format!("{}.part", offer.name));
    let local = part.display().to_string();
    let mut options = OpenOptions::new();
    let mut file = options.read(true).write(true).create(true).truncate(false).open(&part).context(&local)?;
    let have = file.metadata().context(&local)?.len().min(offer.size);
    let digest = message::digest(&mut file, have).context(&local)?;
    message::write(stream, &Reply::Have { size: have, digest }).context(lost)?;
    let Begin { from } = message::read(stream).context(lost)?;
    if from != have && from != 0 {
        return refuse(stream, "a beginning that was not offered");
    }
    file.set_len(from).and_then(|()| file.seek(SeekFrom::Start(from))).context(&local)?;
    receive(stream, &mut file, &offer, from)?;
    file.rewind().context(&local)?;
    if message::digest(&mut file, offer.size).context(&local)? != offer.digest {
        // Another part that was changed meanwhile would be in the way for ever.
        let _ = fs::remove_file(&part);
        return refuse(stream, "what came is not what was offered");
    }
    file.sync_all().and_then(|()| fs::rename(&part, &whole)).context(&local)?;
    message::write(stream, &Reply::Kept).context(lost)?;
    Ok(offer.name)
}

fn receive(stream: &mut UnixStream, file: &mut File, offer: &Offer, from: u64) -> Result<(), Failure> {
    let mut progress = Progress::begin(&offer.name, from, offer.size);
    let mut done = from;
    let mut room = vec![0; ROOM];
    while done < offer.size {
        let most = usize::try_from(offer.size - done).map_or(ROOM, |left| left.min(ROOM));
        let got = stream.read(&mut room[..most]).context("the connection")?;
        if got == 0 {
            return Err(Failure::new("the sender ended before the file did"));
        }
        file.write_all(&room[..got]).context(&offer.name)?;
        done += got as u64;
        progress.at(done);
    }
    progress.end();
    Ok(())
}

/// Whether a name stays in the directory, in sight.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0', '\n'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_nowhere_else() {
        assert!(is_plain("report.pdf"));
        assert!(["", ".", "..", ".ssh", "../x", "/etc/passwd", "a/b", "a\nb"].iter().all(|name| !is_plain(name)));
    }
}
