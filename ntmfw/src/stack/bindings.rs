//! Who has which port.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::errno::{Errno, Result};
use crate::sync::Shared;

/// Where the system gives a port itself: Linux's default range.
const EPHEMERAL: std::ops::RangeInclusive<u16> = 32_768..=60_999;
/// Sockets that may share one port.
const MAX_SHARED: usize = 1_024;

/// A place that a socket has taken: an address, or any of the node's, and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Unspecified: any.
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
    /// An IPv6 socket that does not take IPv4.
    pub(crate) only_v6: bool,
    pub(crate) sharing: Sharing,
}

/// With whom a place may be shared: with those who say the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sharing {
    /// The last one hears everything (`SO_REUSEADDR`).
    pub(crate) by_last: bool,
    /// Each hears a part, which goes by who sends (`SO_REUSEPORT`).
    pub(crate) by_part: bool,
}

impl Place {
    fn takes(&self, local: SocketAddr) -> bool {
        match (self.address, local.ip()) {
            (IpAddr::V6(any), IpAddr::V4(_)) => any.is_unspecified() && !self.only_v6,
            (mine, theirs) if mine.is_unspecified() => mine.is_ipv4() == theirs.is_ipv4(),
            (mine, theirs) => mine == theirs,
        }
    }

    fn conflicts(&self, other: &Self) -> bool {
        let overlap = match (self.address, other.address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => a.is_unspecified() || b.is_unspecified() || a == b,
            (IpAddr::V6(a), IpAddr::V6(b)) => a.is_unspecified() || b.is_unspecified() || a == b,
            (IpAddr::V6(a), IpAddr::V4(_)) => a.is_unspecified() && !self.only_v6,
            (IpAddr::V4(_), IpAddr::V6(b)) => b.is_unspecified() && !other.only_v6,
        };
        let shared = (self.sharing.by_last && other.sharing.by_last) || (self.sharing.by_part && other.sharing.by_part);
        overlap && !shared
    }
}

/// What holds a place: told what it holds, and asked whom it wants to hear.
pub(crate) trait Holder {
    /// How well the sender of a datagram fits; `None`: not at all.
    fn fits(&self, remote: Option<SocketAddr>) -> Option<u8>;
}

#[derive(Debug)]
pub(crate) struct Bindings<T>(Shared<Table<T>>);

/// By port.
type Table<T> = HashMap<u16, Vec<(Place, Option<Arc<T>>)>>;

impl<T> Default for Bindings<T> {
    fn default() -> Self {
        Self(Shared::default())
    }
}

impl<T: Holder> Bindings<T> {
    /// Takes a place. With port zero, one that is free; `EADDRINUSE` where there is none.
    pub(crate) fn take(&self, mut place: Place, holder: Option<Arc<T>>) -> Result<Place> {
        let mut table = self.0.write();
        let free = |table: &Table<T>, place: &Place| {
            table
                .get(&place.port)
                .is_none_or(|held| held.len() < MAX_SHARED && !held.iter().any(|(other, _)| other.conflicts(place)))
        };
        if place.port == 0 {
            let count = EPHEMERAL.end() - EPHEMERAL.start() + 1;
            let start = random_below(count);
            let mut ports = (0..count).map(|step| EPHEMERAL.start() + (start + step) % count);
            place.port = ports.find(|&port| !table.contains_key(&port)).ok_or(Errno(libc::EADDRINUSE))?;
        } else if !free(&table, &place) {
            return Err(Errno(libc::EADDRINUSE));
        }
        table.entry(place.port).or_default().push((place, holder));
        Ok(place)
    }

    /// Puts somebody into a place that was taken.
    pub(crate) fn put(&self, place: &Place, holder: Arc<T>) {
        let mut table = self.0.write();
        let Some(held) = table.get_mut(&place.port) else { return };
        if let Some((_, free)) = held.iter_mut().find(|(other, holder)| other == place && holder.is_none()) {
            *free = Some(holder);
        }
    }

    /// Takes somebody out of a place that stays taken.
    pub(crate) fn withdraw(&self, place: &Place, holder: &Arc<T>) {
        let mut table = self.0.write();
        let held = table.get_mut(&place.port).into_iter().flatten();
        let mine = held.filter_map(|(_, who)| who.as_ref().is_some_and(|who| Arc::ptr_eq(who, holder)).then_some(who));
        mine.for_each(|who| *who = None);
    }

    /// Gives a place back. `holder` tells who, where several share it.
    pub(crate) fn release(&self, place: &Place, holder: Option<&Arc<T>>) {
        let mut table = self.0.write();
        let Some(held) = table.get_mut(&place.port) else { return };
        let same = |other: &Option<Arc<T>>| match (other, holder) {
            (Some(other), Some(holder)) => Arc::ptr_eq(other, holder),
            (None, None) => true,
            _ => false,
        };
        if let Some(at) = held.iter().position(|(other, who)| other == place && same(who)) {
            held.swap_remove(at);
        }
        if held.is_empty() {
            table.remove(&place.port);
        }
    }

    /// Who hears what comes to `local`: the one it fits best, an exact address before any.
    pub(crate) fn find(&self, local: SocketAddr, remote: Option<SocketAddr>) -> Option<Arc<T>> {
        let table = self.0.read();
        let held = table.get(&local.port())?;
        let fitting = || {
            held.iter().filter(|(place, _)| place.takes(local)).filter_map(|(place, holder)| {
                let holder = holder.as_ref()?;
                Some(((holder.fits(remote)?, !place.address.is_unspecified()), place.sharing, holder))
            })
        };
        let best = fitting().map(|(rank, ..)| rank).max()?;
        let equal = || fitting().filter(|(rank, ..)| *rank == best);
        let (_, sharing, last) = equal().last()?;
        if !sharing.by_part {
            return Some(last.clone());
        }
        let part = part_of(&(local, remote), equal().count().max(1));
        equal().nth(part).map(|(.., holder)| holder.clone())
    }
}

/// Which of `count` parts this belongs to: the same one each time.
fn part_of(who: &impl Hash, count: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    who.hash(&mut hasher);
    usize::try_from(hasher.finish() % count as u64).unwrap_or_default()
}

fn random_below(bound: u16) -> u16 {
    let mut bytes = [0; 4];
    // Without randomness the first free port is as good.
    let _ = getrandom::fill(&mut bytes);
    u16::try_from(u32::from_be_bytes(bytes) % u32::from(bound.max(1))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Hears(Option<SocketAddr>);

    impl Holder for Hears {
        fn fits(&self, remote: Option<SocketAddr>) -> Option<u8> {
            match self.0 {
                None => Some(0),
                only => (only == remote).then_some(1),
            }
        }
    }

    fn place(address: &str, port: u16) -> Place {
        let address = address.parse().expect("an address");
        Place { address, port, only_v6: false, sharing: Sharing::default() }
    }

    const LAST: Sharing = Sharing { by_last: true, by_part: false };
    const PART: Sharing = Sharing { by_last: false, by_part: true };

    fn end(text: &str) -> SocketAddr {
        text.parse().expect("an address with a port")
    }

    #[test]
    fn a_place_is_taken_once_and_free_again_when_it_is_given_back() {
        let table = Bindings::<Hears>::default();
        let mine = table.take(place("0.0.0.0", 80), None).expect("free");
        for taken in ["0.0.0.0", "198.18.0.1", "::"] {
            assert_eq!(table.take(place(taken, 80), None), Err(Errno(libc::EADDRINUSE)), "{taken}");
        }
        let only_v6 = Place { only_v6: true, ..place("::", 80) };
        assert!(table.take(only_v6, None).is_ok(), "nothing that is IPv4's");
        table.release(&mine, None);
        assert!(table.take(place("198.18.0.1", 80), None).is_ok());
        assert!(table.take(place("198.18.0.2", 80), None).is_ok(), "another address");
    }

    #[test]
    fn a_place_is_shared_only_by_those_who_all_say_so() {
        let table = Bindings::<Hears>::default();
        let last = Place { sharing: LAST, ..place("0.0.0.0", 80) };
        assert!(table.take(last, None).is_ok() && table.take(last, None).is_ok());
        assert!(table.take(place("0.0.0.0", 80), None).is_err());
        assert!(table.take(Place { sharing: PART, ..last }, None).is_err(), "in another way");
    }

    #[test]
    fn of_those_who_share_the_last_one_hears_or_each_its_part() {
        for (sharing, hearing) in [(LAST, 1), (PART, 3)] {
            let table = Bindings::<Hears>::default();
            let place = Place { sharing, ..place("0.0.0.0", 80) };
            let holders: Vec<_> = (0..3).map(|_| Arc::new(Hears(None))).collect();
            for holder in &holders {
                table.take(place, Some(holder.clone())).expect("shared");
            }
            let mut heard = [0; 3];
            for port in 1..=600 {
                let remote = SocketAddr::new([198, 18, 0, 9].into(), port);
                let find = || table.find(end("198.18.0.1:80"), Some(remote)).expect("somebody hears");
                assert!(Arc::ptr_eq(&find(), &find()), "always the same for one sender");
                heard[holders.iter().position(|holder| Arc::ptr_eq(holder, &find())).expect("one of them")] += 1;
            }
            assert_eq!(heard.iter().filter(|count| **count > 100).count(), hearing, "{heard:?}");
            assert!(heard[2] > 0);
        }
    }

    #[test]
    fn the_system_gives_every_port_of_its_range_once_and_then_says_so() {
        let table = Bindings::<Hears>::default();
        let mut given = std::collections::BTreeSet::new();
        for _ in EPHEMERAL {
            let place = table.take(place("0.0.0.0", 0), None).expect("one is free");
            assert!(EPHEMERAL.contains(&place.port) && given.insert(place.port));
        }
        assert_eq!(table.take(place("0.0.0.0", 0), None), Err(Errno(libc::EADDRINUSE)));
    }

    #[test]
    fn a_datagram_finds_who_is_connected_to_its_sender_then_the_exact_address_then_any() {
        let table = Bindings::<Hears>::default();
        let shared = |address: &str| Place { sharing: LAST, ..place(address, 7) };
        let (any, exact) = (Arc::new(Hears(None)), Arc::new(Hears(None)));
        let connected = Arc::new(Hears(Some(end("198.18.0.9:9"))));
        table.take(shared("::"), Some(any.clone())).expect("free");
        table.take(shared("198.18.0.1"), Some(exact.clone())).expect("shared");
        table.take(shared("0.0.0.0"), Some(connected.clone())).expect("shared");
        let found = |local: &str, remote: &str| table.find(end(local), Some(end(remote))).expect("somebody hears");
        assert!(Arc::ptr_eq(&found("198.18.0.1:7", "198.18.0.9:9"), &connected));
        assert!(Arc::ptr_eq(&found("198.18.0.1:7", "198.18.0.9:8"), &exact));
        assert!(Arc::ptr_eq(&found("198.18.0.2:7", "198.18.0.9:8"), &any));
        assert!(Arc::ptr_eq(&found("[fd4e:544d::1]:7", "[fd4e:544d::2]:8"), &any));
        assert!(table.find(end("198.18.0.1:8"), None).is_none());
    }
}
