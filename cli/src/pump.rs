//! Bytes from here to there and back, until both ends have said all.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;

const ROOM: usize = 64 * 1024;

/// An end of a stream whose two directions end by themselves.
pub(crate) trait End: Read + Write + Send + Sized + 'static {
    fn twin(&self) -> io::Result<Self>;
    fn end_writing(&self);
}

impl End for UnixStream {
    fn twin(&self) -> io::Result<Self> {
        self.try_clone()
    }

    fn end_writing(&self) {
        let _ = self.shutdown(Shutdown::Write);
    }
}

impl End for TcpStream {
    fn twin(&self) -> io::Result<Self> {
        self.try_clone()
    }

    fn end_writing(&self) {
        let _ = self.shutdown(Shutdown::Write);
    }
}

/// Joins two streams; back when both directions have ended.
pub(crate) fn join<A: End, B: End>(a: A, b: B) -> io::Result<()> {
    let (mut from_a, mut to_b) = (a.twin()?, b.twin()?);
    let there = std::thread::Builder::new().name("ntm-pump".to_owned()).spawn(move || {
        let _ = copy(&mut from_a, &mut to_b);
        to_b.end_writing();
    })?;
    let (mut from_b, mut to_a) = (b, a);
    let _ = copy(&mut from_b, &mut to_a);
    to_a.end_writing();
    let _ = there.join();
    Ok(())
}

/// Copies until the end, each read passed on at once.
pub(crate) fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<u64> {
    let mut room = vec![0; ROOM];
    let mut copied = 0;
    loop {
        let got = match from.read(&mut room) {
            Ok(0) => return Ok(copied),
            Ok(got) => got,
            Err(why) if why.kind() == io::ErrorKind::Interrupted => continue,
            Err(why) => return Err(why),
        };
        to.write_all(&room[..got])?;
        to.flush()?;
        copied += got as u64;
    }
}
