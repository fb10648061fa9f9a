//! The sender and the receiver.

use std::io::{ErrorKind, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quinn_udp::{RecvMeta, Transmit, UdpSocketState};

use crate::scene::{LOAD_IP, processor_time};
use crate::{Outcome, Peer, Traffic, rs, turn};

/// Bytes of each datagram that the server is sent.
pub(crate) const SIZE: usize = 1_400;
/// Datagrams that one call sends.
const TRAIN: usize = 44;
/// Datagrams on their way at a time: what fits the sockets' buffers.
const WINDOW: u64 = 704;
/// Room for what waits at the receiver.
const BUFFER: usize = 4 << 20;
/// Without an arrival for this long, what is on its way counts as lost.
const LOST: Duration = Duration::from_millis(200);
const WARM_UP: Duration = Duration::from_millis(500);
const MEASURED: Duration = Duration::from_millis(2_000);

/// A flow: the socket of its sender, the server's address, and its datagram.
pub(crate) struct Flow {
    pub(crate) socket: UdpSocket,
    pub(crate) server: SocketAddr,
    pub(crate) datagram: Vec<u8>,
}

pub(crate) fn socket() -> Outcome<UdpSocket> {
    let socket = UdpSocket::bind((LOAD_IP, 0))?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    Ok(socket)
}

pub(crate) fn run(arguments: &[String]) -> Outcome<()> {
    let [peer, traffic, process] = arguments else { return Err("load PEER TRAFFIC PROCESS".into()) };
    let process: u32 = process.parse()?;
    let traffic = if *traffic == format!("{:?}", Traffic::Bulk) { Traffic::Bulk } else { Traffic::Small };
    let receiver = socket()?;
    let flows = if *peer == format!("{:?}", Peer::Relay) {
        rs::flows(traffic.flows(), &receiver)?
    } else {
        turn::flows(traffic.flows(), &receiver)?
    };
    let arrived = Arc::new(AtomicU64::new(0));
    let ended = Arc::new(AtomicBool::new(false));
    let receiving = std::thread::spawn({
        let (arrived, ended) = (arrived.clone(), ended.clone());
        move || receive(&receiver, &arrived, &ended)
    });
    let sending = std::thread::spawn({
        let (arrived, ended) = (arrived.clone(), ended.clone());
        move || send(&flows, traffic, &arrived, &ended)
    });
    std::thread::sleep(WARM_UP);
    let (packets, seconds, start) = (arrived.load(Ordering::Relaxed), processor_time(process)?, Instant::now());
    std::thread::sleep(MEASURED);
    let packets = arrived.load(Ordering::Relaxed) - packets;
    let seconds = processor_time(process)? - seconds;
    let elapsed = start.elapsed().as_secs_f64();
    ended.store(true, Ordering::Relaxed);
    receiving.join().map_err(|_| "the receiver ended")??;
    let sent = sending.join().map_err(|_| "the sender ended")??;
    println!("{packets} packets {seconds:.3} s of {elapsed:.3} s, lost {}", sent - arrived.load(Ordering::Relaxed));
    Ok(())
}

/// Sends as fast as what is on its way allows.
fn send(flows: &[Flow], traffic: Traffic, arrived: &AtomicU64, ended: &AtomicBool) -> std::io::Result<u64> {
    let states = flows.iter().map(|flow| UdpSocketState::new((&flow.socket).into()));
    let states = states.collect::<Result<Vec<_>, _>>()?;
    let count = if traffic == Traffic::Bulk { TRAIN } else { 1 };
    let trains: Vec<Vec<u8>> = flows.iter().map(|flow| flow.datagram.repeat(count)).collect();
    // `on_its_way` is what was sent less what has arrived and what was given up.
    let (mut sent, mut lost) = (0_u64, 0);
    let (mut seen, mut since) = (0, Instant::now());
    for turn in 0.. {
        while sent - lost.min(sent) > arrived.load(Ordering::Relaxed) + WINDOW {
            if ended.load(Ordering::Relaxed) {
                return Ok(sent);
            }
            let now = arrived.load(Ordering::Relaxed);
            if now != seen {
                (seen, since) = (now, Instant::now());
            } else if since.elapsed() > LOST {
                lost = sent - now;
                since = Instant::now();
            }
            std::thread::yield_now();
        }
        if ended.load(Ordering::Relaxed) {
            break;
        }
        let at = turn % flows.len();
        let transmit = Transmit {
            destination: flows[at].server,
            ecn: None,
            contents: &trains[at],
            segment_size: (count > 1).then_some(SIZE),
            src_ip: None,
        };
        match states[at].try_send((&flows[at].socket).into(), &transmit) {
            Ok(()) => sent += count as u64,
            Err(why) if why.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
            Err(why) => return Err(why),
        }
    }
    Ok(sent)
}

fn receive(socket: &UdpSocket, arrived: &AtomicU64, ended: &AtomicBool) -> std::io::Result<()> {
    const SLOT: usize = 65_536 + 17 * 64;
    let state = UdpSocketState::new(socket.into())?;
    let _ = state.set_recv_buffer_size(socket.into(), BUFFER);
    let mut buffer = vec![0; 32 * SLOT];
    let mut metas = [RecvMeta::default(); 32];
    while !ended.load(Ordering::Relaxed) {
        let mut slots: Vec<IoSliceMut<'_>> = buffer.chunks_exact_mut(SLOT).map(IoSliceMut::new).collect();
        match state.recv(socket.into(), &mut slots, &mut metas) {
            Ok(received) => {
                let packets = metas[..received].iter().map(|meta| meta.len.div_ceil(meta.stride.max(1)) as u64);
                arrived.fetch_add(packets.sum(), Ordering::Relaxed);
            }
            Err(why) if why.kind() == ErrorKind::WouldBlock => {
                std::thread::yield_now();
            }
            Err(why) => return Err(why),
        }
    }
    Ok(())
}
