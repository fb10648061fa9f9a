//! A coordinator among strangers: whatever datagrams come, from wherever and whenever, and whatever one
//! registered node with its own keys says, an honest node stays registered where it is and is
//! directed; nobody who has not asked is sent more than three times what came from there; the
//! coordinator's state stays within bounds.
//!
//! The input is a list of actions: one byte that chooses, then what the action takes.
#![no_main]

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;

use libfuzzer_sys::fuzz_target;
use ntm_direction::testing::{Domain, Net, Node, Received, fqdn};
use ntm_direction::{Config, Coordinator, ForeignDc, LookupFailed, limits};
use ntm_proto::id::{NodeId, PathId};
use ntm_proto::time::Instant;
use ntm_proto::wire::message::{DirectionRequest, Envelope, Message, RegistrationRequest, Target};

const FOREIGN: &str = "192.0.2.2:4500";
const MAX_NODES: usize = 4;
/// Addresses that exist only as somebody's forgery: nobody there ever answers.
const VICTIMS: u8 = 4;
/// How often an honest node renews its keys.
const RENEW: Duration = Duration::from_secs(100);

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn bytes(&mut self, most: usize) -> &'a [u8] {
        let len = usize::from(self.byte().unwrap_or(0)).min(self.0.len()).min(most);
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        taken
    }
}

struct World {
    net: Net,
    domain: Domain,
    found: ForeignDc,
    honest: [usize; 2],
    /// Is registered, and has no manners.
    rogue: usize,
    renewed: Instant,
}

/// What is the same in every run and takes signatures to make.
struct Cast {
    domain: Domain,
    config: Config,
    found: ForeignDc,
    nodes: [Node; 3],
}

impl Cast {
    fn new() -> Self {
        let domain = Domain::new("ntm.example", 1, "192.0.2.1:4500");
        let foreign = Domain::new("foreign.example", 2, FOREIGN);
        let mut config = domain.config();
        config.max_nodes = MAX_NODES;
        let nodes = [domain.node(1, "a"), domain.node(2, "b"), domain.node(3, "rogue")];
        let found = ForeignDc { cert: foreign.cert(), domain_key: *foreign.key.public() };
        Self { domain, config, found, nodes }
    }
}

thread_local! {
    static CAST: Cast = Cast::new();
}

fn victim(number: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 100 + number % VICTIMS)), 53)
}

impl World {
    fn new(cast: &Cast) -> Self {
        let mut net = Net::default();
        let domain = cast.domain.clone();
        net.add_coordinator(domain.address, Coordinator::new(net.now, cast.config.clone(), [1; 32]));
        let places = ["198.51.100.1:6000", "198.51.100.2:5000", "198.51.100.66:666"];
        let own = ["10.0.0.1:5000", "198.51.100.2:5000", "198.51.100.66:666"];
        let mut nodes = [0; 3];
        for (number, template) in cast.nodes.iter().enumerate() {
            let mut node = template.fresh();
            node.attach(1, &[own[number]]);
            nodes[number] = net.add_host(&domain, node, places[number].parse().expect("an address"));
            net.adopt(nodes[number]);
        }
        let [a, b, rogue] = nodes;
        Self { net, domain, found: cast.found.clone(), honest: [a, b], rogue, renewed: Instant::ZERO }
    }

    fn act(&mut self, input: &mut Input<'_>) -> Option<()> {
        match input.byte()? % 10 {
            0 => {
                let from = self.place(input.byte()?);
                let datagram = input.bytes(255).to_vec();
                self.input(from, datagram);
            }
            1 => {
                let number = u64::from(input.byte()?);
                self.pass(Duration::from_millis(number * number));
            }
            // Any frame, sealed by the rogue, from anywhere.
            2 => {
                let from = self.place(input.byte()?);
                let plaintext = input.bytes(255);
                let datagram = self.net.host(self.rogue).node.seal_bytes(plaintext);
                self.input(from, datagram);
            }
            // A good datagram but for a bit, or cut short.
            3 => {
                let (from, at, bit) = (self.place(input.byte()?), usize::from(input.byte()?), input.byte()?);
                let mut datagram = self.net.host(self.rogue).node.keep_alive(1);
                let at = at % datagram.len();
                if bit & 8 == 0 {
                    datagram[at] ^= 1 << (bit % 8);
                } else {
                    datagram.truncate(at);
                }
                self.input(from, datagram);
            }
            // A handshake that carries anything.
            4 => {
                let from = self.place(input.byte()?);
                let payload = input.bytes(255);
                let datagram = self.net.host(self.rogue).node.handshake_carrying(payload);
                self.input(from, datagram);
            }
            // A registration from anywhere, by either way.
            5 => {
                let (from, by_handshake) = (self.place(input.byte()?), input.byte()? % 4 == 0);
                let node = &mut self.net.host(self.rogue).node;
                node.renumber(1, &["192.168.0.9:5000"]);
                let datagram = if by_handshake { node.register(1) } else { node.register_again(1) };
                self.input(from, datagram);
            }
            // A question about anybody.
            6 => {
                let (from, path, whom) = (self.place(input.byte()?), input.byte()?, input.byte()?);
                let target = self.target(whom);
                let datagram = self.net.host(self.rogue).node.direction(path, target);
                self.input(from, datagram);
            }
            // A registration with an old or early number.
            7 => {
                let from = self.place(input.byte()?);
                let number = u64::from(input.byte()?);
                let node = &mut self.net.host(self.rogue).node;
                let request = RegistrationRequest { sequence: number, ..node.request(1, None) };
                let datagram = node.seal(Message::RegistrationRequest(request));
                self.input(from, datagram);
            }
            8 => self.answer_lookup(input.byte()?),
            // The rogue hears and answers what was said to it, or is deaf.
            _ => self.net.host(self.rogue).answers ^= true,
        }
        Some(())
    }

    fn input(&mut self, from: SocketAddr, datagram: Vec<u8>) {
        let to = self.domain.address;
        self.net.send_from(from, to, datagram);
    }

    /// Time passes, and the honest do their duty.
    fn pass(&mut self, by: Duration) {
        self.net.advance(by);
        let renew = self.net.now.since(self.renewed) >= RENEW;
        for node in self.honest {
            if renew {
                self.net.register(node);
            } else {
                self.net.keep_alive(node);
            }
        }
        if renew {
            self.renewed = self.net.now;
        }
    }

    fn answer_lookup(&mut self, number: u8) {
        let now = self.net.now;
        let name = fqdn(["foreign.example", "x.foreign.example", "ntm.example", "example"][usize::from(number % 4)]);
        let found = if number & 16 == 0 { Ok(self.found.clone()) } else { Err(LookupFailed) };
        self.net.dc(&self.domain).handle_domain_found(now, &name, found);
        self.net.settle();
    }

    fn target(&mut self, number: u8) -> Target {
        match number % 7 {
            0 => Target::Node(self.net.host(self.honest[0]).node.id()),
            1 => Target::Name(fqdn("b.ntm.example")),
            2 => Target::Name(fqdn("rogue.ntm.example")),
            3 => Target::Name(fqdn("c.foreign.example")),
            4 => Target::Name(fqdn("c.x.foreign.example")),
            5 => Target::Virtual4([198, 18, 0, number].into()),
            _ => Target::Node(NodeId([number; 32])),
        }
    }

    fn place(&mut self, number: u8) -> SocketAddr {
        match number % 8 {
            0 | 1 => self.net.host(self.rogue).address,
            2 => self.net.host(self.honest[0]).address,
            3 => FOREIGN.parse().expect("an address"),
            victims => victim(victims),
        }
    }

    fn check(&mut self) {
        let gauges = self.net.dc(&self.domain).gauges();
        assert!(gauges.nodes <= MAX_NODES && gauges.half_open <= MAX_NODES);
        assert!(gauges.sessions <= 3 * MAX_NODES + 2 * gauges.peers + 2);
        assert!(gauges.deliveries <= MAX_NODES * usize::from(limits::MAX_DELIVERIES_PER_NODE) + 256);
        assert!(gauges.held <= limits::MAX_HELD && gauges.paths <= 256 && gauges.reassemblers <= 3 * MAX_NODES);
        for number in 0..VICTIMS {
            let traffic = self.net.traffic.get(&victim(number)).copied().unwrap_or_default();
            assert!(traffic.sent_to <= limits::AMPLIFICATION * traffic.received_from, "{traffic:?}");
        }
        self.net.events(&self.domain);
        self.net.lost.clear();
        for node in self.honest {
            self.net.take(node);
            self.net.keep_alive(node);
            let heard = self.net.take(node).into_iter().any(|received| {
                matches!(received, Received::Message(Envelope { message: Message::KeepAliveAck(_), .. }))
            });
            assert!(heard, "an honest node is not heard");
        }
    }

    /// The honest are directed to each other where they are.
    fn check_direction(&mut self) {
        self.pass(Duration::from_secs(20));
        let target = Target::Node(self.net.host(self.honest[0]).node.id());
        // A path id that the rogue's bytes do not name.
        let path_id = PathId([0xee, 1, 0xee, 2, 0xee, 3, 0xee, 4, 0xee, 5, 0xee, 6, 0xee, 7, 0xee, 8]);
        let request = DirectionRequest { path_id, target };
        let asker = self.honest[1];
        let datagram = self.net.host(asker).node.seal(Message::DirectionRequest(request));
        self.net.send(asker, datagram);
        let directed = self.net.take(asker).into_iter().any(|received| match received {
            Received::Message(Envelope { message: Message::RouteDirection(direction), .. }) => {
                direction.pairs.iter().any(|pair| pair.remote == SocketAddr::from(([198, 51, 100, 1], 6_000)))
            }
            _ => false,
        });
        assert!(directed, "an honest node is not directed");
    }
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let mut world = CAST.with(World::new);
    while world.act(&mut input).is_some() {
        world.check();
        // The tickets are good for a day.
        if world.net.now.since(Instant::ZERO) > Duration::from_secs(80_000) {
            return;
        }
    }
    world.check_direction();
});
