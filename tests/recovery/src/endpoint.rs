//! One end of a connection: a smoltcp socket, the recovery beside it, an application on top.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::time::Duration;

use ntm_proto::time::Instant;
use ntm_recovery::{Config, Ecn, Recovery};
use smoltcp::iface::{Config as InterfaceConfig, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{ChecksumCapabilities, Device, DeviceCapabilities, Medium, PacketMeta, RxToken, TxToken};
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer};
use smoltcp::time::Instant as StackInstant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr, IpEndpoint};

use crate::application::Application;
use crate::packets;

const PORT: u16 = 5_000;
const MTU: usize = 1_400;
const LARGEST: usize = 60_000;

/// A packet on its way, and whether it may be marked.
pub(crate) type Packet = (Vec<u8>, bool);

pub(crate) struct Endpoint {
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    pub(crate) recovery: Recovery,
    pub(crate) application: Application,
    pub(crate) wakes_at: Option<Instant>,
}

impl Endpoint {
    pub(crate) fn new(now: Instant, side: u8, config: Config, buffer: usize, seed: u64) -> Self {
        let mut interface_config = InterfaceConfig::new(HardwareAddress::Ip);
        interface_config.random_seed = seed;
        let mut recovery = Recovery::new(config);
        let mut wire = Wire { now, incoming: VecDeque::new(), recovery: &mut recovery, out: &mut Vec::new() };
        let mut interface = Interface::new(interface_config, &mut wire, stack_time(now));
        interface.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::new(address(side), 0)).expect("the first address fits");
        });
        let room = |size: usize| SocketBuffer::new(vec![0; size]);
        let mut socket = Socket::new(room(buffer), room(buffer));
        socket.set_congestion_control(CongestionControl::None);
        if side == 0 {
            let remote = IpEndpoint::new(address(1), PORT);
            socket.connect(interface.context(), remote, IpEndpoint::new(address(0), PORT)).expect("it is closed");
        } else {
            socket.listen(PORT).expect("it is closed");
        }
        let mut sockets = SocketSet::new(Vec::new());
        let handle = sockets.add(socket);
        Self { interface, sockets, handle, recovery, application: Application::default(), wakes_at: None }
    }

    /// Takes packets, lets everything act, and gives what leaves.
    pub(crate) fn turn(&mut self, now: Instant, packets: Vec<(Vec<u8>, Ecn)>) -> Vec<Packet> {
        let mut incoming = VecDeque::new();
        for (packet, ecn) in packets {
            if self.recovery.handle_incoming(now, &packet, ecn) {
                incoming.push_back(packet);
            }
            incoming.extend(std::iter::from_fn(|| self.recovery.poll_inward()));
        }
        if self.recovery.poll_timeout().is_some_and(|at| at <= now) {
            self.recovery.handle_timeout(now);
        }
        let mut out = Vec::new();
        loop {
            let mut wire =
                Wire { now, incoming: std::mem::take(&mut incoming), recovery: &mut self.recovery, out: &mut out };
            self.interface.poll(stack_time(now), &mut wire, &mut self.sockets);
            wire.drain();
            let before = self.application.received;
            let acted = self.application.act(self.sockets.get_mut::<Socket<'_>>(self.handle));
            let read = usize::try_from(self.application.received - before).expect("what lay in a buffer");
            let tells = read > 0 && self.recovery.handle_read(now, read);
            if !acted && !tells {
                break;
            }
        }
        let stack = self.interface.poll_delay(stack_time(now), &self.sockets);
        let stack = stack.map(|delay| now + Duration::from_micros(delay.total_micros().max(1)));
        self.wakes_at = match (stack, self.recovery.poll_timeout()) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        out
    }
}

fn address(side: u8) -> IpAddress {
    IpAddress::v4(198, 18, 0, side + 1)
}

fn stack_time(now: Instant) -> StackInstant {
    StackInstant::from_micros(i64::try_from(now.as_nanos() / 1_000).expect("far future"))
}

struct Wire<'a> {
    now: Instant,
    incoming: VecDeque<Vec<u8>>,
    recovery: &'a mut Recovery,
    out: &'a mut Vec<Packet>,
}

impl Wire<'_> {
    fn drain(&mut self) {
        while let Some(transmit) = self.recovery.poll_transmit(self.now) {
            let capable = transmit.ecn_capable;
            packets::cut(&transmit, |packet| self.out.push((packet, capable)));
        }
    }
}

struct Incoming(Vec<u8>);

struct Outgoing<'a, 'b> {
    wire: &'a mut Wire<'b>,
    segment: Option<usize>,
}

impl<'w> Device for Wire<'w> {
    type RxToken<'b>
        = Incoming
    where
        Self: 'b;
    type TxToken<'b>
        = Outgoing<'b, 'w>
    where
        Self: 'b;

    fn receive(&mut self, _: StackInstant) -> Option<(Incoming, Outgoing<'_, 'w>)> {
        let packet = self.incoming.pop_front()?;
        Some((Incoming(packet), Outgoing { wire: self, segment: None }))
    }

    fn transmit(&mut self, _: StackInstant) -> Option<Outgoing<'_, 'w>> {
        Some(Outgoing { wire: self, segment: None })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = MTU;
        capabilities.checksum = ChecksumCapabilities::ignored();
        capabilities.segmentation.tcpv4 = NonZeroUsize::new(LARGEST);
        capabilities
    }
}

impl RxToken for Incoming {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Outgoing<'_, '_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        let mut buffer = self.wire.recovery.buffer(length);
        let result = f(&mut buffer[..length]);
        self.wire.recovery.handle_outgoing(self.wire.now, buffer, length, self.segment);
        self.wire.drain();
        result
    }

    fn set_meta(&mut self, meta: PacketMeta) {
        self.segment = meta.segmentation_offload_size.map(|size| usize::from(size.get()));
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let socket = self.sockets.get::<Socket<'_>>(self.handle);
        f.debug_struct("Endpoint")
            .field("state", &socket.state())
            .field("application", &self.application)
            .field("recovery", &self.recovery)
            .finish_non_exhaustive()
    }
}
