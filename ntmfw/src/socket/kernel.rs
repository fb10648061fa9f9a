//! Sockets that turn out to be the kernel's: the first address they meet is not virtual.
//!
//! The descriptor stays the same number and stays in every epoll set of this process: the sets are found through
//! `/proc`, and the new socket is entered again with the same events and the same data.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use libc::c_int;

use crate::errno::{Errno, Result};
use crate::socket::options::Options;

/// Puts a kernel socket of the same kind behind `fd`, with the same flags and options.
pub(crate) fn replace(fd: RawFd, family: c_int, kind: c_int, protocol: c_int, options: &Options) -> Result<()> {
    // SAFETY: only numbers go in and come out.
    let status = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    if status < 0 {
        return Err(Errno::last());
    }
    let nonblocking = if status & libc::O_NONBLOCK != 0 { libc::SOCK_NONBLOCK } else { 0 };
    // SAFETY: only numbers go in and come out.
    let made = unsafe { libc::socket(family, kind | nonblocking | libc::SOCK_CLOEXEC, protocol) };
    if made < 0 {
        return Err(Errno::last());
    }
    // SAFETY: the system just made it, and nobody else has it.
    let made = unsafe { OwnedFd::from_raw_fd(made) };
    options.apply_to_kernel(made.as_raw_fd(), family);
    put_behind(fd, &made)
}

/// Puts another file behind `fd`, which keeps its number, whether it closes on exec, and its places in epoll sets.
pub(crate) fn put_behind(fd: RawFd, made: &OwnedFd) -> Result<()> {
    // SAFETY: only numbers go in and come out.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    if flags < 0 {
        return Err(Errno::last());
    }
    let watched = epoll_entries(fd);
    let close_on_exec = if flags & libc::FD_CLOEXEC != 0 { libc::O_CLOEXEC } else { 0 };
    // SAFETY: `fd` is the application's socket, which the call that is made is asked to change.
    if unsafe { libc::dup3(made.as_raw_fd(), fd, close_on_exec) } < 0 {
        return Err(Errno::last());
    }
    for entry in watched {
        let mut event = libc::epoll_event { events: entry.events, u64: entry.data };
        // SAFETY: `event` lives for the call.
        unsafe { libc::epoll_ctl(entry.set, libc::EPOLL_CTL_ADD, fd, &raw mut event) };
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    set: RawFd,
    events: u32,
    data: u64,
}

/// The epoll sets of this process in which the descriptor stands.
fn epoll_entries(fd: RawFd) -> Vec<Entry> {
    let Ok(descriptors) = std::fs::read_dir("/proc/self/fd") else { return Vec::new() };
    let sets = descriptors.flatten().filter_map(|entry| {
        let target = std::fs::read_link(entry.path()).ok()?;
        let is_set = target.to_str() == Some("anon_inode:[eventpoll]");
        is_set.then(|| entry.file_name().to_str()?.parse::<RawFd>().ok())?
    });
    sets.filter_map(|set| {
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{set}")).ok()?;
        info.lines().find_map(|line| parse_entry(line, set, fd))
    })
    .collect()
}

/// `tfd:        5 events:       19 data:                5  pos:0 ino:… sdev:…`: events and data are hexadecimal.
fn parse_entry(line: &str, set: RawFd, fd: RawFd) -> Option<Entry> {
    let mut words = line.split_whitespace();
    let mut value =
        |name: &str| -> Option<&str> { words.next().filter(|word| *word == name).and_then(|_| words.next()) };
    let watched: RawFd = value("tfd:")?.parse().ok()?;
    let events = u32::from_str_radix(value("events:")?, 16).ok()?;
    let data = u64::from_str_radix(value("data:")?, 16).ok()?;
    (watched == fd).then_some(Entry { set, events, data })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_of_an_epoll_set_is_read_as_the_kernel_writes_it() {
        let line = "tfd:        5 events:       1d data:         deadbeef  pos:0 ino:2a51 sdev:9";
        assert_eq!(parse_entry(line, 3, 5), Some(Entry { set: 3, events: 0x1d, data: 0xdead_beef }));
        assert_eq!(parse_entry(line, 3, 6), None);
        assert_eq!(parse_entry("pos:\t0", 3, 5), None);
    }
}
