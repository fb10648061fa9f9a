//! Every number that NTMfw assigns on the wire, in one place.
//!
//! A number is never used again for something else. What a receiver does with a number that stands
//! in none of these tables is the rule of the place it was met in; see `docs/protocol/README.md`.

/// Declares an enumeration whose numbers travel: the type, its numbers and their way back.
macro_rules! numbers {
    (
        $(#[$meta:meta])*
        pub enum $name:ident: $repr:ty {
            $($(#[$variant_meta:meta])* $variant:ident = $number:literal,)+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr($repr)]
        pub enum $name {
            $($(#[$variant_meta])* $variant = $number,)+
        }

        impl $name {
            /// Every assigned number, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The number on the wire.
            pub const fn number(self) -> $repr {
                self as $repr
            }

            /// What a number stands for, if it is assigned.
            pub const fn from_number(number: $repr) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

numbers! {
    /// The first byte of every outer datagram.
    pub enum OuterType: u8 {
        HandshakeInit = 1,
        HandshakeResponse = 2,
        CookieReply = 3,
        Data = 4,
        Relayed = 5,
        RelayBind = 6,
        RelayBound = 7,
        RelayPing = 8,
        RelayPong = 9,
        Punch = 10,
    }
}

numbers! {
    /// Whom a datagram in a stream is for, or from.
    pub enum StreamEnd: u8 {
        Relay = 0,
        Director = 1,
    }
}

numbers! {
    /// The first byte of a frame that is no virtual packet.
    ///
    /// Numbers from 0x40 to 0x4f and from 0x60 to 0x6f are never assigned: they begin an IPv4 or
    /// IPv6 packet.
    pub enum FrameType: u8 {
        Signal = 1,
        PathChallenge = 2,
        PathResponse = 3,
        Fragment = 4,
        KeepAlive = 5,
        InterfaceNotice = 6,
    }
}

numbers! {
    /// The first byte of every signalling message. The high nibble names the family.
    pub enum MessageType: u8 {
        RegistrationRequest = 0x10,
        RegistrationResponse = 0x11,
        Deregistration = 0x12,
        KeepAlive = 0x13,
        KeepAliveAck = 0x14,
        DirectionRequest = 0x20,
        NodeInformationRequest = 0x21,
        NodeInformationResponse = 0x22,
        RouteDirection = 0x23,
        RouteDirectionAck = 0x24,
        RelayReport = 0x30,
        RelayDirection = 0x31,
        RelayAck = 0x32,
        TunnelRequest = 0x40,
        TunnelResponse = 0x41,
        Wake = 0x42,
        ServerHello = 0x50,
        Error = 0x70,
    }
}

numbers! {
    /// What a TLV holds. Bit 15 is the critical bit and no part of the number.
    pub enum FieldType: u16 {
        /// A node record.
        Record = 0x01,
        /// A ticket as the AS sealed it.
        Ticket = 0x02,
        /// A sequence number that strictly rises.
        Sequence = 0x03,
        /// An interface's number alone.
        InterfaceId = 0x04,
        /// An interface's number and generation.
        InterfaceState = 0x05,
        /// One interface with all that is known of it.
        Interface = 0x06,
        /// An interface's name: the papers' `NTM_EX_DEV_NAME`.
        DeviceName = 0x07,
        /// Addresses with their ports.
        Addresses = 0x08,
        /// Addresses and ports as others see them.
        Reflexive = 0x09,
        /// Round-trip times to relays.
        RelayRtts = 0x0a,
        /// What a push gateway wakes the node by.
        WakeToken = 0x0b,
        /// A virtual IPv4 address.
        Virtual4 = 0x0c,
        /// A virtual IPv6 address.
        Virtual6 = 0x0d,
        /// How long a registration lasts.
        Lease = 0x0e,
        /// The time between two keep-alives.
        KeepAliveInterval = 0x0f,
        /// Where the other end's datagram came from.
        Observed = 0x10,
        /// One relay as nodes need to know it.
        RelayInfo = 0x11,
        /// Calendar time.
        Time = 0x12,
        /// Which communication it is about.
        PathId = 0x13,
        /// What a direction is asked for.
        Target = 0x14,
        /// A node as a DC describes it.
        NodeDescription = 0x15,
        /// A pre-shared key for the two nodes' handshake.
        Psk = 0x16,
        /// One relay grant.
        RelayGrant = 0x17,
        /// Which end of the communication the receiver is.
        Side = 0x18,
        /// One candidate pair: the papers' `NTM_EX_RT_DIR_DEV_NAME`.
        CandidatePair = 0x19,
        /// A server certificate.
        ServerCert = 0x1a,
        /// A relay's number and load.
        RelayLoad = 0x1b,
        /// A node's identifier.
        NodeId = 0x1c,
        /// An error code.
        ErrorCode = 0x1d,
        /// Text for people.
        ErrorText = 0x1e,
        /// In how many shards a relay keeps the rates of accounts.
        RelayShards = 0x1f,
    }
}

numbers! {
    /// What an `Error` says.
    pub enum ErrorCode: u16 {
        /// The name or address belongs to no node.
        NoSuchNode = 1,
        /// The node exists and is not registered now.
        NodeOffline = 2,
        /// The ticket has expired, or is for another domain: log in again.
        TicketExpired = 3,
        /// The node was revoked.
        Revoked = 4,
        /// The same identity registered from elsewhere and took over.
        Superseded = 5,
        /// A bound was reached: try later.
        Busy = 6,
        /// The DC does not know the sender: register first.
        NotRegistered = 7,
        /// The other domain's DC cannot be reached.
        DomainUnreachable = 8,
        /// The asker may not.
        Forbidden = 9,
        /// The message made no sense here.
        BadMessage = 10,
    }
}

numbers! {
    /// What a NAT does with the port of one local socket towards several destinations (RFC 4787, 4.1).
    #[derive(Default)]
    pub enum NatMapping: u8 {
        #[default]
        Unknown = 0,
        /// No translation: the outside sees the interface's own address.
        None = 1,
        /// One outer port for every destination: can be punched.
        EndpointIndependent = 2,
        /// Another outer port for each destination: cannot be foretold.
        EndpointDependent = 3,
    }
}

numbers! {
    /// Which end of a relayed path a grant is for.
    pub enum Side: u8 {
        Initiator = 1,
        Responder = 2,
    }
}

numbers! {
    /// How a `Target` names a node.
    pub enum TargetKind: u8 {
        Name = 1,
        Node = 2,
        Virtual4 = 4,
        Virtual6 = 6,
    }
}

#[cfg(test)]
mod tests {
    use std::format;

    use super::super::outer;
    use super::*;
    use crate::session::RelayToken;

    const OUTER: &str = include_str!("../../../docs/protocol/outer.md");
    const FRAMES: &str = include_str!("../../../docs/protocol/frames.md");
    const MESSAGES: &str = include_str!("../../../docs/protocol/messages.md");

    fn assert_row(document: &str, row: &str) {
        let rows = document.lines().filter(|line| line.starts_with(row)).count();
        assert_eq!(rows, 1, "rows that begin with {row:?}");
    }

    #[test]
    fn the_documents_list_every_assigned_number() {
        for kind in OuterType::ALL {
            assert_row(OUTER, &format!("| {} | {kind:?} |", kind.number()));
        }
        for kind in FrameType::ALL {
            assert_row(FRAMES, &format!("| {} | {kind:?} |", kind.number()));
        }
        for kind in MessageType::ALL {
            assert_row(MESSAGES, &format!("| {:#04x} | {kind:?} |", kind.number()));
        }
        for kind in FieldType::ALL {
            assert_row(MESSAGES, &format!("| {:#04x} | {kind:?} |", kind.number()));
        }
        for code in ErrorCode::ALL {
            assert_row(MESSAGES, &format!("| {} | {code:?} |", code.number()));
        }
    }

    #[test]
    fn the_documents_say_how_long_datagrams_are() {
        assert_row(OUTER, &format!("| 1 | HandshakeInit | ≥ {} |", outer::INIT_HEADER + outer::MIN_NOISE_INIT + 32));
        assert_row(OUTER, &format!("| 3 | CookieReply | {} |", outer::COOKIE_REPLY));
        assert_row(OUTER, &format!("| 4 | Data | ≥ {} |", outer::DATA_OVERHEAD));
        assert_row(OUTER, &format!("| 6 | RelayBind | ≥ {} |", outer::RELAY_BIND));
        assert_row(OUTER, &format!("| 7 | RelayBound | {} |", outer::RELAY_BOUND));
        assert_row(OUTER, &format!("- `token`: {} bytes", RelayToken::LEN));
        assert!(MESSAGES.contains(&format!("relay(4) side(1) token({})", RelayToken::LEN)));
    }

    #[test]
    fn the_documents_list_no_other_number() {
        let rows = |document: &str, start: &str| document.lines().filter(|line| line.starts_with(start)).count();
        assert_eq!(rows(MESSAGES, "| 0x"), MessageType::ALL.len() + FieldType::ALL.len());
        let numbered = |document: &str| (0..10).map(|digit| rows(document, &format!("| {digit}"))).sum::<usize>();
        assert_eq!(numbered(OUTER), OuterType::ALL.len());
        assert_eq!(numbered(FRAMES) - rows(FRAMES, "| 0x"), FrameType::ALL.len());
        assert_eq!(numbered(MESSAGES) - rows(MESSAGES, "| 0x"), ErrorCode::ALL.len());
    }

    #[test]
    fn every_number_stands_for_itself() {
        for number in 0..=u8::MAX {
            assert!(MessageType::from_number(number).is_none_or(|kind| kind.number() == number));
        }
        assert!(FieldType::ALL.iter().all(|kind| kind.number() & super::super::tlv::CRITICAL == 0));
        assert_eq!(FieldType::ALL.len(), (0..=u16::MAX).filter_map(FieldType::from_number).count());
    }
}
