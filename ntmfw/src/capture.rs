//! Virtual packets as they come and go, in the format of pcap: before they are sealed, and after they were opened.
//!
//! ```text
//! file    magic(4) version(2+2) 0(4) 0(4) longest(4) link type(4): 101, packets of IPv4 and IPv6 without more
//! packet  seconds(4) microseconds(4) length here(4) whole length(4) bytes
//! ```
//!
//! While nobody captures that costs a look at one bit a call.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Sender, bounded};

use crate::negotiation::start::become_own_thread;
use crate::stack::ip::Segments;
use crate::sync::Lock;

/// Packets that wait to be written; what comes on top is missing in the file.
const MAX_WAITING: usize = 8_192;
const MAGIC: u32 = 0xa1b2_c3d4;
const VERSION: [u16; 2] = [2, 4];
const LONGEST: u32 = 65_535;
const LINK_TYPE_RAW: u32 = 101;

static ON: AtomicBool = AtomicBool::new(false);
static SINKS: Lock<Vec<Sender<Vec<u8>>>> = Lock::new(Vec::new());

/// Packets are written to `to` from now on, until its other end is closed.
pub(crate) fn begin(mut to: UnixStream) -> io::Result<()> {
    let (sender, receiver) = bounded::<Vec<u8>>(MAX_WAITING);
    std::thread::Builder::new().name("ntmfw-capture".to_owned()).spawn(move || {
        become_own_thread();
        if to.write_all(&head()).is_ok() {
            while let Ok(record) = receiver.recv() {
                if to.write_all(&record).is_err() {
                    break;
                }
            }
        }
    })?;
    SINKS.lock().push(sender);
    ON.store(true, Ordering::Release);
    Ok(())
}

/// These came.
pub(crate) fn received(packets: &[&[u8]]) {
    if ON.load(Ordering::Relaxed) {
        packets.iter().for_each(|packet| tell(packet));
    }
}

/// This goes.
pub(crate) fn sent(cut: &Segments<'_>) {
    if ON.load(Ordering::Relaxed) {
        for number in 0..cut.count() {
            let mut packet = vec![0; cut.length(number)];
            cut.write(number, &mut packet);
            tell(&packet);
        }
    }
}

fn tell(packet: &[u8]) {
    let record = record(SystemTime::now(), packet);
    let mut sinks = SINKS.lock();
    // A full queue loses the packet; one that nobody reads any more goes.
    sinks
        .retain(|sink| !matches!(sink.try_send(record.clone()), Err(crossbeam_channel::TrySendError::Disconnected(_))));
    ON.store(!sinks.is_empty(), Ordering::Release);
}

fn head() -> Vec<u8> {
    let mut head = MAGIC.to_ne_bytes().to_vec();
    VERSION.iter().for_each(|part| head.extend(part.to_ne_bytes()));
    [0, 0, LONGEST, LINK_TYPE_RAW].iter().for_each(|word: &u32| head.extend(word.to_ne_bytes()));
    head
}

fn record(at: SystemTime, packet: &[u8]) -> Vec<u8> {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    // The format has 32 bits for seconds.
    let seconds = since.as_secs() as u32;
    let length = u32::try_from(packet.len()).unwrap_or(LONGEST);
    let words = [seconds, since.subsec_micros(), length, length];
    words.iter().flat_map(|word| word.to_ne_bytes()).chain(packet.iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_begins_with_its_kind_and_each_packet_with_its_length() {
        assert_eq!(head().len(), 24);
        assert_eq!(head()[20..], 101_u32.to_ne_bytes());
        let record = record(UNIX_EPOCH + std::time::Duration::from_micros(3_000_007), b"packet");
        let words: Vec<u32> =
            record[..16].chunks(4).filter_map(|word| word.try_into().ok().map(u32::from_ne_bytes)).collect();
        assert_eq!(words, [3, 7, 6, 6]);
        assert_eq!(&record[16..], b"packet");
    }
}
