//! Cutting large segments into packets, as the tunnel does.

use ntm_recovery::Transmit;

const FIN_AND_PUSH: u8 = 0x09;

/// The packets of one transmission, each with its IP header's length and its sequence number.
pub(crate) fn cut(transmit: &Transmit<'_>, mut give: impl FnMut(Vec<u8>)) {
    if transmit.payload.is_empty() {
        give(transmit.headers.to_vec());
        return;
    }
    let count = transmit.payload.len().div_ceil(transmit.segment);
    for (number, part) in transmit.payload.chunks(transmit.segment).enumerate() {
        let mut packet = Vec::with_capacity(transmit.headers.len() + part.len());
        packet.extend_from_slice(&*transmit.headers);
        packet.extend_from_slice(part);
        let total = packet.len();
        let tcp = if packet[0] >> 4 == 4 {
            packet[2..4].copy_from_slice(&u16::try_from(total).expect("cut small").to_be_bytes());
            20
        } else {
            packet[4..6].copy_from_slice(&u16::try_from(total - 40).expect("cut small").to_be_bytes());
            40
        };
        let sequence: [u8; 4] = packet[tcp + 4..tcp + 8].try_into().expect("four bytes");
        let skipped = u32::try_from(number * transmit.segment).expect("one segment is short");
        packet[tcp + 4..tcp + 8].copy_from_slice(&u32::from_be_bytes(sequence).wrapping_add(skipped).to_be_bytes());
        if number + 1 < count {
            packet[tcp + 13] &= !FIN_AND_PUSH;
        }
        give(packet);
    }
}
