//! `ntm send`.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use clap::Args;
use ntm_program::{Failure, ResultExt as _};

use super::message::{self, Begin, Offer, Reply};
use super::{PORT, ROOM};
use crate::open::{self, Family};
use crate::session::Session;
use crate::terminal::Progress;

/// Send a file to a node where `ntm recv` waits; one that broke off goes on where it was
#[derive(Debug, Args)]
pub(crate) struct Send {
    /// The file
    file: PathBuf,
    /// The node
    name: String,
    /// The port at which it waits
    #[arg(long, short, default_value_t = PORT)]
    port: u16,
    #[command(flatten)]
    family: Family,
}

impl Send {
    pub(crate) fn carry_out(self, session: Session) -> Result<(), Failure> {
        let path = self.file.display();
        let mut file = File::open(&self.file).context(&path)?;
        let about = file.metadata().context(&path)?;
        let name = self.file.file_name().and_then(|name| name.to_str());
        let Some(name) = name.filter(|_| about.is_file()) else {
            return Err(Failure::usage(format!("{path}: no file with a name that can be sent")));
        };
        let digest = message::digest(&mut file, about.len()).context(&path)?;
        let node = session.node()?;
        let address = self.family.of(&open::find(&*node, &self.name)?);
        let mut stream = open::stream(&*node, address, self.port)?;
        let offer = Offer { name: name.to_owned(), size: about.len(), digest };
        send(&mut stream, &mut file, &offer)
            .map_err(|failure| failure.way_out("the same command goes on where this ended"))
    }
}

fn send(stream: &mut UnixStream, file: &mut File, offer: &Offer) -> Result<(), Failure> {
    let lost = "the connection";
    message::write(stream, offer).context(lost)?;
    let (size, digest) = match message::read(stream).context(lost)? {
        Reply::Have { size, digest } => (size, digest),
        Reply::Kept => return Err(Failure::new("the receiver answered what was not asked")),
        Reply::Refused(why) => return Err(Failure::new(format!("the receiver refused: {why}"))),
    };
    file.rewind().context(&offer.name)?;
    let same = size <= offer.size && message::digest(file, size).context(&offer.name)? == digest;
    let from = if same { size } else { 0 };
    file.seek(SeekFrom::Start(from)).context(&offer.name)?;
    message::write(stream, &Begin { from }).context(lost)?;
    let mut progress = Progress::begin(&offer.name, from, offer.size);
    let mut done = from;
    let mut room = vec![0; ROOM];
    while done < offer.size {
        let most = usize::try_from(offer.size - done).map_or(ROOM, |left| left.min(ROOM));
        let got = file.read(&mut room[..most]).context(&offer.name)?;
        if got == 0 {
            return Err(Failure::new(format!("{}: became shorter while it was sent", offer.name)));
        }
        stream.write_all(&room[..got]).context(lost)?;
        done += got as u64;
        progress.at(done);
    }
    let _ = stream.shutdown(Shutdown::Write);
    match message::read(stream).context(lost)? {
        Reply::Kept => {
            progress.end();
            writeln!(io::stdout(), "{}: arrived whole", offer.name).context("standard output")
        }
        Reply::Refused(why) => Err(Failure::new(format!("the receiver refused: {why}"))),
        Reply::Have { .. } => Err(Failure::new("the receiver answered what was not asked")),
    }
}
