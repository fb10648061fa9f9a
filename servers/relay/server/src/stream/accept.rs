//! Taking connections in: so many altogether, so many from one address, and only so long for a handshake.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::{Streams, connection, count};
use crate::workers::Post;

/// Connections from one address (an IPv6 /64): a household or an office behind one NAT.
const MAX_FROM_ONE: usize = 64;
/// How long a connection may take until its TLS is up.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// After `accept` has failed, which it does for want of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// How many connections each source has open.
#[derive(Debug, Default)]
struct Sources(Mutex<HashMap<IpAddr, usize>>);

/// A connection's place among those of its source.
#[derive(Debug)]
struct Place {
    sources: Arc<Sources>,
    source: IpAddr,
}

impl Sources {
    fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let source = match address.to_canonical() {
            IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() >> 64 << 64).into()),
            ip => ip,
        };
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let places = open.entry(source).or_default();
        if *places >= MAX_FROM_ONE {
            return None;
        }
        *places += 1;
        Some(Place { sources: self.clone(), source })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.sources.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(places) = open.get_mut(&self.source) {
            *places -= 1;
            if *places == 0 {
                open.remove(&self.source);
            }
        }
    }
}

/// Serves what connects to the listeners, at most `most` connections at a time, until the runtime ends.
pub(crate) fn serve(
    listeners: Vec<TcpListener>,
    acceptor: &TlsAcceptor,
    most: usize,
    streams: &Arc<Streams>,
    post: &Arc<Post>,
) {
    let all = Arc::new(Semaphore::new(most));
    let sources = Arc::new(Sources::default());
    for listener in listeners {
        let (acceptor, all, sources) = (acceptor.clone(), all.clone(), sources.clone());
        let (streams, post) = (streams.clone(), post.clone());
        tokio::spawn(async move {
            loop {
                let Ok((stream, address)) = listener.accept().await else {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                };
                let places = all.clone().try_acquire_owned().ok().zip(sources.take(address.ip()));
                let Some(places) = places else {
                    count(&streams.counts.refused);
                    continue;
                };
                tokio::spawn(welcome(stream, address, acceptor.clone(), streams.clone(), post.clone(), places));
            }
        });
    }
}

async fn welcome(
    stream: TcpStream,
    address: SocketAddr,
    acceptor: TlsAcceptor,
    streams: Arc<Streams>,
    post: Arc<Post>,
    places: (OwnedSemaphorePermit, Place),
) {
    // Datagrams do not wait for one another.
    let _ = stream.set_nodelay(true);
    let address = SocketAddr::new(address.ip().to_canonical(), address.port());
    match timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            count(&streams.counts.accepted);
            connection::serve(stream, address, &streams, &post).await;
        }
        _ => count(&streams.counts.handshakes_failed),
    }
    drop(places);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_source_takes_no_more_places_than_its_own_and_gives_them_back() {
        let sources = Arc::new(Sources::default());
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let mut places: Vec<_> = (0..MAX_FROM_ONE).map(|_| sources.take(address("2001:db8::1"))).collect();
        assert!(places.iter().all(Option::is_some));
        assert!(sources.take(address("2001:db8::2")).is_none(), "the same network");
        assert!(sources.take(address("2001:db8:1::1")).is_some());
        places.pop();
        assert!(sources.take(address("2001:db8::1")).is_some());
        drop(places);
        assert!(sources.0.lock().expect("no panic").is_empty());
    }
}
