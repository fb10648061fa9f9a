//! What runs over a connection: streams whose every byte is checked.

use smoltcp::socket::tcp::{Socket, State};

/// One end's application: sends so many bytes and closes, reads and checks what the other end sends.
#[derive(Clone, Debug, Default)]
pub struct Application {
    /// Bytes that it will send.
    pub to_send: u64,
    pub sent: u64,
    pub received: u64,
    /// Nothing is read for now.
    pub lazy: bool,
    /// The stream from the other end is over.
    pub ended: bool,
    closed: bool,
}

/// The byte at a position of every stream: no period that a slip could hide in.
fn byte_at(position: u64) -> u8 {
    let mixed = position.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 56) as u8
}

impl Application {
    pub fn sending(bytes: u64) -> Self {
        Self { to_send: bytes, ..Self::default() }
    }

    /// Does what the socket allows; whether it did anything.
    ///
    /// # Panics
    /// Where a byte is not the one that was sent.
    pub fn act(&mut self, socket: &mut Socket<'_>) -> bool {
        let mut acted = false;
        while !self.lazy && socket.can_recv() {
            let received = &mut self.received;
            let got = socket.recv(|data| {
                for byte in data.iter() {
                    assert_eq!(*byte, byte_at(*received), "the byte at {received}");
                    *received += 1;
                }
                (data.len(), data.len())
            });
            acted |= got.is_ok_and(|length| length > 0);
        }
        while self.sent < self.to_send && socket.can_send() {
            let left = self.to_send - self.sent;
            let sent = &mut self.sent;
            let gave = socket.send(|room| {
                let length = room.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                for byte in &mut room[..length] {
                    *byte = byte_at(*sent);
                    *sent += 1;
                }
                (length, length)
            });
            acted |= gave.is_ok_and(|length| length > 0);
        }
        let open = matches!(socket.state(), State::Established | State::CloseWait);
        if open && self.sent == self.to_send && !self.closed {
            self.closed = true;
            socket.close();
            acted = true;
        }
        let over = matches!(
            socket.state(),
            State::CloseWait | State::LastAck | State::Closing | State::TimeWait | State::Closed
        );
        self.ended |= self.closed && over && !socket.can_recv();
        acted
    }
}
